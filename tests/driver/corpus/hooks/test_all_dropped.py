def test_dropped_one():
    assert False
