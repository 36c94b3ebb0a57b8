"""Both kinds.

>>> value
3
"""

value = 3


def test_value():
    assert value == 3
