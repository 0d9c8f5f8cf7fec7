"""Whether pages of other origins may ask (CORS)."""

from __future__ import annotations

from typing import Any

import falcon

# What a page may read beside the headers that it always may.
_EXPOSED = (
    "X-Request-ID",
    "Request-ID",
    "X-RateLimit-Limit",
    "X-RateLimit-Remaining",
    "X-RateLimit-Reset",
    *(
        f"x-ratelimit-{part}-{what}"
        for what in ("requests", "tokens")
        for part in ("limit", "remaining", "reset")
    ),
    "openai-processing-ms",
    "Retry-After",
    "X-LLMCore-Warnings",
)


def cross_origin(origins: tuple[str, ...] | None, keys_required: bool) -> list[Any]:
    """Return the middleware for these origins; ``*`` alone stands for all, none at all for same-origin only.
    Without a choice: all where nothing needs a key, none where something does.

    Credentials that browsers keep are never allowed: a page that has a key sends it itself.
    """
    if origins is None:
        origins = () if keys_required else ("*",)
    if not origins:
        return []
    if origins == ("*",):
        return [falcon.CORSMiddleware("*", expose_headers=_EXPOSED)]
    return [_ListedOrigins(origins, expose_headers=_EXPOSED)]


class _ListedOrigins(falcon.CORSMiddleware):  # type: ignore[type-arg]
    """Tells caches that the answer for one origin is not that for another."""

    def process_response(
        self, req: falcon.Request, resp: falcon.Response, resource: object, req_succeeded: bool
    ) -> None:
        super().process_response(req, resp, resource, req_succeeded)
        resp.append_header("Vary", "Origin")
