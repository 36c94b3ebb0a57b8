def check_quick_more():
    pass


def check_other():
    pass
