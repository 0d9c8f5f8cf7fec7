"""Counts what was refused, by reason."""

from __future__ import annotations

from typing import Any

import falcon.asgi
from prometheus_client import Counter

from llmcore_server.errors import ApiError


def note_refusal(req: falcon.asgi.Request, error: ApiError) -> None:
    """Say why a request was refused; reasons are few, for they become labels."""
    req.context.refusal_reason = error.reason or error.code.lower()


class RejectionCounter:
    """Counts each refusal that was noted."""

    def __init__(self, rejected: Counter) -> None:
        self._rejected = rejected

    async def process_response(
        self, req: falcon.asgi.Request, _resp: falcon.asgi.Response, _resource: Any, _succeeded: bool
    ) -> None:
        reason = req.context.get("refusal_reason")
        if reason is not None:
            self._rejected.labels(reason).inc()
