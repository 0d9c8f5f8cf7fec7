"""Limits of requests, tokens and concurrency, for each key, token's subject or address."""

from __future__ import annotations

import logging
import math
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, cast

from limits import RateLimitItem, RateLimitItemPerSecond
from limits.aio.storage import Storage
from limits.aio.strategies import SlidingWindowCounterRateLimiter
from limits.errors import ConfigurationError, StorageError
from limits.storage import storage_from_string

from llmcore_server.authentication import Principal
from llmcore_server.errors import ApiError, Text
from llmcore_server.local_windows import LocalWindows

logger = logging.getLogger(__name__)

Closer = Callable[[], Awaitable[None]]
Rate = tuple[int, int]
"""A number, and the seconds it is for."""

_LOG_INTERVAL = 60.0
_INSTANT = 0.05


class LimitStorageError(ValueError):
    """The place that counts requests cannot be used; the message says why."""


@dataclass(frozen=True)
class LimitSettings:
    """What everybody may do who has no limits of their own. ``storage``: ``memory://``, or ``redis://host:port``
    to count together with other processes; concurrency is counted in each process."""

    requests: Rate = (60_000, 60)
    tokens: Rate | None = None
    concurrency: int | None = None
    storage: str = "memory://"


@dataclass(frozen=True)
class Window:
    """What is left of a limit. ``reset``: when there is more again, in seconds since the epoch."""

    limit: int
    remaining: int
    reset: float

    @property
    def wait(self) -> int:
        """Whole seconds until there is more."""
        return max(1, math.ceil(self.reset - time.time()))


_UNKNOWN = Window(0, 0, 0.0)


@dataclass
class Admission:
    """What became of a request; ``refusal`` says why it may not go on."""

    principal: Principal
    requests: Window = _UNKNOWN
    tokens: Window | None = None
    refusal: ApiError | None = None


class RateLimiter:
    """Counts on sliding windows: two numbers for each limit and principal, whatever the limit is."""

    def __init__(self, settings: LimitSettings) -> None:
        self._settings = settings
        self._windows, self._closer = _windows(settings.storage)
        self._running: Counter[str] = Counter()
        self._logged_at = -math.inf

    async def admit(self, principal: Principal) -> Admission:
        """Count a request that begins; if it is not refused, `finish` must follow."""
        admission = Admission(principal)
        tokens = self._token_limit(principal)
        if tokens is not None:
            admission.tokens = await self._window(tokens, principal)
        concurrency = principal.limits.concurrency or self._settings.concurrency
        if concurrency is not None and self._running[principal.identity] >= concurrency:
            admission.refusal = _refusal(
                "concurrency", 1, f"同时最多 {concurrency} 个请求", f"at most {concurrency} at the same time"
            )
        elif admission.tokens is not None and admission.tokens.remaining < 1:
            admission.refusal = _rate_refusal("token_limit", admission.tokens, "个 token", "tokens")
        if admission.refusal is None:
            await self.charge(admission)
        else:
            admission.requests = await self._window(self._request_limit(principal), principal)
        if admission.refusal is None:
            self._running[principal.identity] += 1
        return admission

    async def charge(self, admission: Admission, requests: int = 1) -> None:
        """Count more requests of the same principal, all of them or none with a refusal."""
        limit = self._request_limit(admission.principal)
        try:
            taken = await self._windows.hit(limit, admission.principal.identity, cost=requests)
        except StorageError as error:
            taken = True
            self._tell(error)
        admission.requests = await self._window(limit, admission.principal)
        if not taken:
            admission.refusal = _rate_refusal("rate_limit", admission.requests, "个请求", "requests")

    async def finish(self, admission: Admission, tokens: int) -> None:
        """Count what an admitted request has used, as it ends."""
        identity = admission.principal.identity
        self._running[identity] -= 1
        if self._running[identity] <= 0:
            del self._running[identity]
        limit = self._token_limit(admission.principal)
        if limit is not None and tokens > 0:
            # What exceeds the limit would not be counted at all.
            left = (await self._window(limit, admission.principal)).remaining
            try:
                await self._windows.hit(limit, identity, cost=min(tokens, left))
            except StorageError as error:
                self._tell(error)

    async def close(self) -> None:
        """Close the connections to the counter; the last thing a limiter does."""
        if self._closer is not None:
            await self._closer()

    def _request_limit(self, principal: Principal) -> RateLimitItem:
        own = principal.limits.requests_per_minute
        return _item((own, 60) if own is not None else self._settings.requests, "requests")

    def _token_limit(self, principal: Principal) -> RateLimitItem | None:
        own = principal.limits.tokens_per_minute
        rate = (own, 60) if own is not None else self._settings.tokens
        return None if rate is None else _item(rate, "tokens")

    async def _window(self, limit: RateLimitItem, principal: Principal) -> Window:
        now = time.time()
        try:
            stats = await self._windows.get_window_stats(limit, principal.identity)
        except StorageError as error:
            self._tell(error)
            return Window(limit.amount, limit.amount, now)
        # At the very instant told the window has not moved yet.
        reset = max(stats.reset_time, now) + _INSTANT
        return Window(limit.amount, max(0, int(stats.remaining)), reset)

    def _tell(self, error: Exception) -> None:
        """A counter that is gone stops nobody, but it is told."""
        if time.monotonic() - self._logged_at > _LOG_INTERVAL:
            self._logged_at = time.monotonic()
            logger.error("requests are not limited while their counter cannot be reached: %s", error)


def _item(rate: Rate, namespace: str) -> RateLimitItem:
    amount, seconds = rate
    return RateLimitItemPerSecond(amount, seconds, namespace=f"llmcore-{namespace}")


def _windows(uri: str) -> tuple[LocalWindows | SlidingWindowCounterRateLimiter, Closer | None]:
    """What counts at a URI, and what closes its connections."""
    if uri == "memory://":
        return LocalWindows(), None
    options: dict[str, Any] = {"wrap_exceptions": True}
    closer: Closer | None = None
    try:
        if uri.startswith(("redis://", "rediss://", "unix://")):
            from redis.asyncio import ConnectionPool  # noqa: PLC0415 - an extra

            pool = ConnectionPool.from_url(uri)
            options |= {"implementation": "redispy", "connection_pool": pool}
            closer = pool.disconnect
        storage = cast("Storage", storage_from_string(f"async+{uri}", **options))
        return SlidingWindowCounterRateLimiter(storage), closer
    except ImportError:
        raise LimitStorageError(f"'{uri}' needs the package redis: pip install 'llmcore[redis]'") from None
    except (ConfigurationError, ValueError) as error:
        raise LimitStorageError(f"'{uri}' cannot count requests: {error}") from None


def _rate_refusal(reason: str, window: Window, zh: str, en: str) -> ApiError:
    return _refusal(
        reason,
        window.wait,
        f"超过每个时间窗口 {window.limit} {zh}的上限，请在 {window.wait} 秒后重试",
        f"more than {window.limit} {en} in the time allowed; try again in {window.wait} s",
    )


def _refusal(reason: str, wait: int, zh: str, en: str) -> ApiError:
    return ApiError("TOO_MANY_REQUESTS", Text(zh, en), retry_after=wait, reason=reason)
