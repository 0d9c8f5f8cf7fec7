"""Admits requests: credentials, rights, limits; every answer of a generating route tells the limits."""

from __future__ import annotations

import math
from typing import Any

import falcon.asgi

from llmcore_server.authentication import Authenticator, Principal, anonymous, check_scope
from llmcore_server.bodies.choices import invalid
from llmcore_server.disconnect import close_with_request
from llmcore_server.errors import ApiError, is_openai_path
from llmcore_server.rate_limits import Admission, RateLimiter, Window
from llmcore_server.route_kinds import is_generating
from llmcore_server.usage_meter import start_metering


class AccessControl:
    """Refuses with 401, 403 or 429 before a resource sees the request."""

    def __init__(self, authenticator: Authenticator, limiter: RateLimiter) -> None:
        self._authenticator = authenticator
        self._limiter = limiter

    async def process_request(self, req: falcon.asgi.Request, resp: falcon.asgi.Response) -> None:
        if req.method == "OPTIONS":
            # A browser's question whether it may ask; it carries no credentials.
            return
        # Of those without credentials too, who come no further.
        req.context.identity = anonymous(req).identity
        public = self._authenticator.is_public(req.path)
        principal = anonymous(req) if public else self._authenticator.principal(req)
        if is_generating(req.path):
            # Those without credentials count too: trying keys is a request.
            await self._limit(req, principal or anonymous(req))
        if principal is None:
            resp.set_header("WWW-Authenticate", "Bearer")
            raise ApiError("AUTHENTICATION_FAILED")
        req.context.identity = principal.identity
        if not public:
            check_scope(principal, req.path)

    async def process_shutdown(self, scope: dict[str, Any], event: dict[str, Any]) -> None:  # noqa: ARG002
        await self._limiter.close()

    async def process_response(
        self, req: falcon.asgi.Request, resp: falcon.asgi.Response, _resource: Any, _succeeded: bool
    ) -> None:
        admission: Admission | None = req.context.get("admission")
        if admission is None:
            return
        requests = admission.requests
        resp.set_header("X-RateLimit-Limit", str(requests.limit))
        resp.set_header("X-RateLimit-Remaining", str(requests.remaining))
        resp.set_header("X-RateLimit-Reset", str(math.ceil(requests.reset)))
        if is_openai_path(req.path):
            _tell_openai(resp, requests, "requests")
            if admission.tokens is not None:
                _tell_openai(resp, admission.tokens, "tokens")

    async def _limit(self, req: falcon.asgi.Request, principal: Principal) -> None:
        admission = await self._limiter.admit(principal)
        req.context.admission = admission
        req.context.limiter = self._limiter
        if admission.refusal is not None:
            raise admission.refusal
        meter = start_metering()
        finished = False

        async def finish() -> None:
            nonlocal finished
            if not finished:
                finished = True
                await self._limiter.finish(admission, meter.tokens)

        close_with_request(finish)


async def charge_requests(req: falcon.asgi.Request, requests: int) -> None:
    """Count further requests that ``requests`` of one body holds. Raises `ApiError` if they are too many."""
    admission: Admission | None = req.context.get("admission")
    if admission is not None and requests > 0:
        most = admission.requests.limit
        if 0 < most <= requests:
            # To try again would never help.
            raise invalid(
                "requests", f"最多 {most} 项（速率限制）", f"holds at most {most}, for the rate limit"
            )
        await req.context.limiter.charge(admission, requests)
        if admission.refusal is not None:
            raise admission.refusal


def _tell_openai(resp: falcon.asgi.Response, window: Window, what: str) -> None:
    resp.set_header(f"x-ratelimit-limit-{what}", str(window.limit))
    resp.set_header(f"x-ratelimit-remaining-{what}", str(window.remaining))
    resp.set_header(f"x-ratelimit-reset-{what}", f"{window.wait}s")
