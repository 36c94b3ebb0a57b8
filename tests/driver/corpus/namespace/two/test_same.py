def test_two():
    assert False, "two"
