def test_unknown(no_such_fixture):
    pass


def test_known():
    pass
