"""A Falcon application that remembers its routes, so that their documentation cannot leave one out."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import falcon.asgi

_METHODS = ("get", "post", "delete")


@dataclass(frozen=True)
class Route:
    """One operation: a method of a path template, and what answers it."""

    path: str
    method: str
    resource: object
    suffix: str | None


class DocumentedApp(falcon.asgi.App[Any, Any]):
    """Falcon's application; ``routes`` are those added so far, in their order."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.routes: list[Route] = []

    def add_route(self, uri_template: str, resource: object, **kwargs: Any) -> None:
        """Add a route as Falcon does, and note it."""
        super().add_route(uri_template, resource, **kwargs)
        suffix = kwargs.get("suffix")
        ending = f"_{suffix}" if suffix else ""
        for method in _METHODS:
            if hasattr(resource, f"on_{method}{ending}"):
                self.routes.append(Route(uri_template, method, resource, suffix))
