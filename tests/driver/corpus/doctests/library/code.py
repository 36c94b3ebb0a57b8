def double(n):
    """Twice.

    >>> double(2)
    4
    >>> double("a")
    'ab'
    """
    return n * 2


def fine():
    """
    >>> fine()
    >>> getfixture("tmp_path").exists()
    True
    """
