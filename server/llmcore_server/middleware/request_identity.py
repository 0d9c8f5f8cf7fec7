"""Gives each request its id, and tells it and the time taken to the client."""

from __future__ import annotations

import re
import time
import uuid
from typing import Any

import falcon.asgi

from llmcore_server.errors import is_openai_path

_ACCEPTABLE = re.compile(r"[A-Za-z0-9._-]{1,128}")


def shown_id(given: str, unique: str) -> str:
    """Return the id that a client is told: its own, if it may stand in a log."""
    return given if _ACCEPTABLE.fullmatch(given) else f"req_{unique}"


class RequestIdentity:
    """Takes a well-formed ``X-Request-ID`` over and makes one otherwise.

    The engine's id, ``req.context.request_id``, is never the client's: two requests may carry the same one.
    """

    async def process_request(self, req: falcon.asgi.Request, resp: falcon.asgi.Response) -> None:
        unique = uuid.uuid4().hex
        shown = shown_id(req.get_header("X-Request-ID") or "", unique)
        req.context.request_id = unique
        req.context.started_at = time.perf_counter()
        resp.set_header("x-request-id", shown)
        if is_openai_path(req.path):
            # openai before 1.0 reads request-id.
            resp.set_header("request-id", shown)
            resp.set_header("openai-version", "2020-10-01")

    async def process_response(
        self, req: falcon.asgi.Request, resp: falcon.asgi.Response, _resource: Any, _succeeded: bool
    ) -> None:
        if is_openai_path(req.path):
            elapsed = time.perf_counter() - req.context.started_at
            resp.set_header("openai-processing-ms", str(round(elapsed * 1000)))
