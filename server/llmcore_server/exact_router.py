"""The router: every route has one path alone."""

from __future__ import annotations

from typing import Any

import falcon.asgi
from falcon.routing import DefaultRouter


class ExactRouter(DefaultRouter):
    """Falcon's, but that a path with an empty part is no route.

    Falcon drops slashes before a path and lets a field be empty. Rights and limits go by the path: one that
    is served by ``/api/v1/generate`` without being it would have neither.
    """

    def find(self, uri: str, req: falcon.asgi.Request | None = None) -> tuple[Any, ...] | None:  # type: ignore[override]
        """Return the route of a path, None if there is none."""
        return None if "//" in uri else super().find(uri, req)
