"""``GET /docs`` and ``/openapi.json``: the routes, described by what checks them."""

from __future__ import annotations

from importlib import resources

import falcon.asgi
import msgspec

from llmcore_server.documented_app import DocumentedApp
from llmcore_server.openapi import openapi_document


class OpenApiResource:
    """The OpenAPI document of every route, made when it is first asked for."""

    def __init__(self, app: DocumentedApp, version: str, keys_required: bool) -> None:
        self._app = app
        self._version = version
        self._keys_required = keys_required
        self._document: bytes | None = None

    async def on_get(self, req: falcon.asgi.Request, resp: falcon.asgi.Response) -> None:  # noqa: ARG002
        if self._document is None:
            document = openapi_document(self._app.routes, self._version, self._keys_required)
            self._document = msgspec.json.encode(document)
        resp.content_type = falcon.MEDIA_JSON
        resp.data = self._document


class DocsResource:
    """A page that shows the OpenAPI document; everything it needs is on it."""

    def __init__(self) -> None:
        page = resources.files("llmcore_server") / "pages" / "docs.html"
        self._page = page.read_bytes()

    async def on_get(self, req: falcon.asgi.Request, resp: falcon.asgi.Response) -> None:  # noqa: ARG002
        resp.content_type = "text/html; charset=utf-8"
        resp.set_header(
            "Content-Security-Policy", "default-src 'self' 'unsafe-inline'; frame-ancestors 'none'"
        )
        resp.set_header("X-Content-Type-Options", "nosniff")
        resp.data = self._page
