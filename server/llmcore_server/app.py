"""Wires the HTTP application: routes, middleware, errors, and the guard around them."""

from __future__ import annotations

import logging
from typing import Any

import falcon
import falcon.asgi
import falcon.media
import msgspec

from llmcore_server.config import ServerConfig
from llmcore_server.disconnect import DisconnectGuard
from llmcore_server.documented_app import DocumentedApp
from llmcore_server.errors import ApiError, error_from_engine, is_openai_path, preferred_language
from llmcore_server.exact_router import ExactRouter
from llmcore_server.metrics import Metrics
from llmcore_server.middleware.access_control import AccessControl
from llmcore_server.middleware.cross_origin import cross_origin
from llmcore_server.middleware.engine_lifespan import EngineLifespan
from llmcore_server.middleware.rejections import RejectionCounter, note_refusal
from llmcore_server.middleware.request_identity import RequestIdentity
from llmcore_server.native_routes import add_native_routes
from llmcore_server.openai_routes import add_openai_routes
from llmcore_server.rate_limits import RateLimiter
from llmcore_server.registry import EngineRegistry
from llmcore_server.version import VERSION

logger = logging.getLogger(__name__)

# Asked by machines that watch the server: not counted among its active connections.
_MONITORING = frozenset(
    prefix + path
    for prefix in ("", "/api/v1")
    for path in ("/health", "/health/live", "/health/ready", "/metrics")
)

_FALCON_CODES = {
    400: "INVALID_REQUEST",
    404: "NOT_FOUND",
    405: "METHOD_NOT_ALLOWED",
    413: "PAYLOAD_TOO_LARGE",
    415: "UNSUPPORTED_MEDIA_TYPE",
}


def create_app(registry: EngineRegistry, config: ServerConfig | None = None) -> DisconnectGuard:
    """Return the ASGI application that serves the registry's models; loading starts with its lifespan."""
    config = config or ServerConfig()
    metrics = Metrics(VERSION, registry)
    middleware: list[Any] = [
        RequestIdentity(),
        RejectionCounter(metrics.rejected),
        *cross_origin(config.cors_origins, config.authenticator.required),
        AccessControl(config.authenticator, RateLimiter(config.limits)),
        EngineLifespan(registry),
    ]
    app = DocumentedApp(middleware=middleware, router=ExactRouter())
    app.req_options.strip_url_path_trailing_slash = True

    # Strict JSON: what is not a number becomes null.
    json_handler = falcon.media.JSONHandler(dumps=msgspec.json.encode, loads=msgspec.json.decode)
    app.resp_options.media_handlers[falcon.MEDIA_JSON] = json_handler

    add_native_routes(app, registry, metrics, config)
    add_openai_routes(app, registry, metrics, config)

    app.add_error_handler(ApiError, _answer_api_error)
    app.add_error_handler(falcon.HTTPError, _answer_falcon_error)
    app.add_error_handler(Exception, _answer_unexpected_error)
    return DisconnectGuard(app, metrics.in_flight, config.stall_timeout, uncounted=_MONITORING)


async def _answer_api_error(
    req: falcon.asgi.Request, resp: falcon.asgi.Response, error: ApiError, _params: dict[str, Any]
) -> None:
    note_refusal(req, error)
    resp.status = error.status
    resp.stream = None
    resp.media = error.body(req.path, preferred_language(req.get_header("Accept-Language")))
    resp.content_type = falcon.MEDIA_JSON
    if error.retry_after is not None:
        resp.set_header("Retry-After", str(error.retry_after))
    elif is_openai_path(req.path) and error.status >= 500:
        # OpenAI's clients run the whole generation again on a 5xx unless told not to.
        resp.set_header("x-should-retry", "false")
    if error.status in (408, 413):
        resp.set_header("Connection", "close")


async def _answer_falcon_error(
    req: falcon.asgi.Request, resp: falcon.asgi.Response, error: falcon.HTTPError, params: dict[str, Any]
) -> None:
    if error.headers:
        resp.set_headers(error.headers)
    unlisted = "INTERNAL_ERROR" if error.status_code >= 500 else "INVALID_REQUEST"
    code = _FALCON_CODES.get(error.status_code, unlisted)
    await _answer_api_error(req, resp, ApiError(code), params)


async def _answer_unexpected_error(
    req: falcon.asgi.Request, resp: falcon.asgi.Response, error: Exception, params: dict[str, Any]
) -> None:
    known = error_from_engine(error)
    if known is None:
        logger.error("%s %s failed", req.method, req.path, exc_info=error)
    await _answer_api_error(req, resp, known or ApiError("INTERNAL_ERROR"), params)
