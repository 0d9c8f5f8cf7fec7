"""Sliding windows that count in this process."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass

from limits import RateLimitItem, WindowStats

_FEWEST_SWEPT = 1024


@dataclass
class _Counts:
    """Of one key: what its window ``number``, of ``length`` seconds, and the one before it hold."""

    length: int
    number: int
    current: int = 0
    previous: int = 0

    def move_to(self, number: int) -> None:
        # A clock that is set back a little gives nobody a fresh window.
        if number > self.number or number < self.number - 1:
            self.previous = self.current if number == self.number + 1 else 0
            self.number, self.current = number, 0


class LocalWindows:
    """As `limits.aio.strategies.SlidingWindowCounterRateLimiter`, by the same formula: the counts of a window
    and, by the share of it that is still seen, of the one before.

    That package's own memory looks through every key for each hit, which took 2 ms with 10,000 of them; here
    keys whose windows have passed are dropped whenever their number has doubled.
    """

    def __init__(self) -> None:
        self._counts: dict[str, _Counts] = {}
        self._sweep_at = _FEWEST_SWEPT

    async def hit(self, item: RateLimitItem, identifier: str, cost: int = 1) -> bool:
        """Count ``cost`` if that stays within the limit, and return whether it did."""
        now = time.time()
        counts = self._of(item, identifier, now)
        if math.floor(_weighted(counts, now)) + cost > item.amount:
            return False
        counts.current += cost
        return True

    async def get_window_stats(self, item: RateLimitItem, identifier: str) -> WindowStats:
        """Return when there is more again, in seconds since the epoch, and how much is left."""
        now = time.time()
        counts = self._of(item, identifier, now)
        resets = []
        if counts.previous:
            resets.append(_left(counts, now) % (counts.length / counts.previous))
        if counts.current:
            resets.append(_left(counts, now))
        remaining = max(0, item.amount - math.floor(_weighted(counts, now)))
        return WindowStats(now + min(resets, default=0.0), remaining)

    def _of(self, item: RateLimitItem, identifier: str, now: float) -> _Counts:
        key = item.key_for(identifier)
        length = item.get_expiry()
        number = int(now // length)
        counts = self._counts.get(key)
        if counts is None:
            if len(self._counts) >= self._sweep_at:
                self._sweep(now)
            counts = self._counts[key] = _Counts(length, number)
        counts.move_to(number)
        return counts

    def _sweep(self, now: float) -> None:
        self._counts = {
            key: counts for key, counts in self._counts.items() if now // counts.length <= counts.number + 1
        }
        self._sweep_at = max(_FEWEST_SWEPT, 2 * len(self._counts))


def _left(counts: _Counts, now: float) -> float:
    """Seconds until the window ends."""
    return counts.length - now % counts.length


def _weighted(counts: _Counts, now: float) -> float:
    return counts.previous * _left(counts, now) / counts.length + counts.current
