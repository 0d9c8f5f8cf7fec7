"""Sliding windows in this process: as the package's own count, without its look through every key."""

import asyncio
import random
import time

import pytest
from limits import RateLimitItemPerSecond
from limits.aio.storage import MemoryStorage
from limits.aio.strategies import SlidingWindowCounterRateLimiter

from llmcore_server import local_windows
from llmcore_server.local_windows import LocalWindows

START = 1_800_000_000.123  # Off the limits' grid, where two roundings of one formula may differ.
LIMIT = RateLimitItemPerSecond(7, 60, namespace="test")


class Clock:
    """`time.time` that stands until it is moved."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = START
        monkeypatch.setattr(time, "time", lambda: self.now)


@pytest.mark.parametrize("seed", range(5))
def test_equals_the_package(monkeypatch, seed):
    clock, choices = Clock(monkeypatch), random.Random(seed)

    async def scenario():
        ours, theirs = LocalWindows(), SlidingWindowCounterRateLimiter(MemoryStorage())
        taken = []
        for _ in range(300):
            clock.now += choices.choice((0.0, 0.5, 3.0, 11.0, 40.0))
            who, cost = choices.choice("ab"), choices.choice((1, 1, 2, 5, 8))
            taken.append(await ours.hit(LIMIT, who, cost=cost))
            assert taken[-1] == await theirs.hit(LIMIT, who, cost=cost)
            mine, other = await ours.get_window_stats(LIMIT, who), await theirs.get_window_stats(LIMIT, who)
            assert mine.remaining == other.remaining
            assert mine.reset_time == pytest.approx(other.reset_time, rel=0, abs=1e-3)
        assert set(taken) == {True, False}

    asyncio.run(scenario())


def test_keys_of_passed_windows_are_dropped(monkeypatch):
    clock = Clock(monkeypatch)

    async def scenario():
        windows = LocalWindows()
        for number in range(20_000):
            clock.now += 0.1
            await windows.hit(LIMIT, f"address {number}")
        # Two windows hold 1,200 of them.
        assert len(windows._counts) < 4 * local_windows._FEWEST_SWEPT
        assert (await windows.get_window_stats(LIMIT, "address 19999")).remaining == 6

    asyncio.run(scenario())
