"""Whose a generation is, how urgent, and until when: what the engine schedules it by."""

from __future__ import annotations

import time
from dataclasses import dataclass

import falcon.asgi

from llmcore_server.config import ServerConfig
from llmcore_server.errors import ApiError
from llmcore_server.schemas import SchedulingFields

_NOTHING_ASKED = SchedulingFields()


@dataclass(frozen=True)
class Scheduling:
    """``tenant``: whose it is; prefixes in the cache are shared, and the engine's time divided, by tenant.
    ``priority``: lower is admitted first. ``deadline``: of `time.perf_counter`, or None."""

    tenant: str | None = None
    priority: int = 0
    deadline: float | None = None

    def seconds_left(self) -> float | None:
        """Return the seconds until the deadline, None without one. Raises `ApiError` once it has passed."""
        if self.deadline is None:
            return None
        left = self.deadline - time.perf_counter()
        if left <= 0:
            raise ApiError("DEADLINE_EXCEEDED")
        return left


NO_DEADLINE = Scheduling()


def schedule(
    req: falcon.asgi.Request, config: ServerConfig, asked: SchedulingFields = _NOTHING_ASKED
) -> Scheduling:
    """Return how a request's generation is scheduled.

    The tenant is who the request counts for: key, subject of a token, or address. Nothing in the body changes
    it, for a client that could name another's would learn from the cache what that one asked. The time
    allowed counts from the request's beginning: what the client asks for, the server's own at most.
    """
    allowed = [seconds for seconds in (asked.timeout, config.request_timeout) if seconds is not None]
    return Scheduling(
        tenant=req.context.identity,
        priority=asked.priority or 0,
        deadline=req.context.started_at + min(allowed) if allowed else None,
    )
