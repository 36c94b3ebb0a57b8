import pytest


@pytest.mark.parametrize("text", ["a::b", "[x]", "ä", "\udcff", "a b", "x" * 300, "", "\x00", "new\nline"])
def test_text(text):
    assert "known" in text or len(text) >= 0


@pytest.mark.parametrize("value", [b"\xff", 1.5, None, object, (1, 2)], ids=["same", "same", None, None, "z"])
def test_value(value):
    pass


@pytest.mark.parametrize("value", [1, 2], ids=["{", "%s"])
def test_fails(value):
    assert value == "\udc80"
