def double(n):
    """
    >>> double(2)
    4
    """
    return 2 * n


def half(n):
    """
    >>> half(2)
    2
    """
    return n // 2
