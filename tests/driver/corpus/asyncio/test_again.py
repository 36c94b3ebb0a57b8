async def test_more():
    pass
