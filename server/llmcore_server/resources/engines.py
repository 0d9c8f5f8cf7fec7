"""The routes under ``/v1/engines``, by which openai before 1.0 names a model in the path."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

import falcon
import falcon.asgi
import msgspec

from llmcore_server.errors import ApiError
from llmcore_server.registry import EngineRegistry
from llmcore_server.resources.models import served_model
from llmcore_server.v1_answers.models import ListedEngine, ListedEngines, ServedEngine


class PostResource(Protocol):
    """A resource that can be told the model's name."""

    async def on_post(
        self, req: falcon.asgi.Request, resp: falcon.asgi.Response, engine: str | None = None
    ) -> None: ...


class EnginesResource:
    """``/v1/engines``, ``/v1/engines/{name}`` and ``/v1/engines/{name}/{route}``; names may hold slashes."""

    def __init__(self, registry: EngineRegistry, routes: Mapping[str, PostResource]) -> None:
        self._registry = registry
        self._routes = routes

    async def on_get(self, req: falcon.asgi.Request, resp: falcon.asgi.Response) -> None:  # noqa: ARG002
        await self._registry.refresh()
        resp.media = ListedEngines(
            [ListedEngine(model.name, owner="llmcore", ready=True) for model in self._registry.known]
        )

    async def on_get_one(self, req: falcon.asgi.Request, resp: falcon.asgi.Response, path: str) -> None:  # noqa: ARG002
        model = served_model(path, await self._registry.choose(path))
        resp.media = ServedEngine(owner="llmcore", ready=True, **msgspec.structs.asdict(model))

    async def on_post_one(self, req: falcon.asgi.Request, resp: falcon.asgi.Response, path: str) -> None:
        for route, resource in self._routes.items():
            name = path.removesuffix(f"/{route}")
            if name != path:
                await resource.on_post(req, resp, engine=name)
                return
        raise ApiError("NOT_FOUND")
