def test_one():
    assert __name__
