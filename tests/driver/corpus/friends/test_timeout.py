import time

import pytest


@pytest.mark.timeout(0.2)
def test_too_long():
    time.sleep(20)


@pytest.mark.timeout(20)
def test_in_time():
    pass
