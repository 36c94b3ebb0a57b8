import os


def test_one():
    os.environ["LEFT"] = "x"


def test_two():
    assert "LEFT" not in os.environ


def test_fails():
    assert False


def test_dies():
    os._exit(3)
