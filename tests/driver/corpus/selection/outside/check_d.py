def check_outside():
    assert False
