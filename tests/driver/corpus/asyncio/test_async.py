import asyncio

import pytest


@pytest.fixture
async def number():
    await asyncio.sleep(0)
    yield 3


async def test_passes(number):
    await asyncio.sleep(0)
    assert number == 3


async def test_fails():
    await asyncio.sleep(0)
    assert False


class TestLoop:
    async def test_one(self, number):
        pass

    @pytest.mark.parametrize("n", [1, 2])
    async def test_two(self, n):
        pass


def test_plain(number):
    pass
