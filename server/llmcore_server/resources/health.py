"""``GET /health``: whether the process serves, what it holds, and whether it may be sent requests."""

from __future__ import annotations

import falcon
import falcon.asgi

from llmcore_server import process_memory
from llmcore_server.answers import Condition, Health
from llmcore_server.metrics import Metrics
from llmcore_server.registry import EngineRegistry


class HealthResource:
    """Answers 200 as soon as the process listens, also while a model loads."""

    def __init__(self, registry: EngineRegistry, metrics: Metrics, memory_limit: int | None = None) -> None:
        self._registry = registry
        self._metrics = metrics
        self._limit = process_memory.gigabytes(memory_limit or process_memory.limit_bytes())

    async def on_get(self, req: falcon.asgi.Request, resp: falcon.asgi.Response) -> None:  # noqa: ARG002
        resident = process_memory.gigabytes(process_memory.resident_bytes())
        resp.media = Health(
            status="healthy",
            model_loaded=any(model.loaded for model in self._registry.known),
            memory_usage=f"{resident}/{self._limit}",
            active_connections=self._metrics.in_flight.count,
        )

    async def on_get_live(self, req: falcon.asgi.Request, resp: falcon.asgi.Response) -> None:  # noqa: ARG002
        resp.media = Condition("live")

    async def on_get_ready(self, req: falcon.asgi.Request, resp: falcon.asgi.Response) -> None:  # noqa: ARG002
        """Answers 200 once every model named at start has made its first step, 503 before."""
        if self._registry.ready:
            resp.media = Condition("ready")
            return
        loading = [model for model in self._registry.known if model.is_loading]
        resp.status = falcon.HTTP_503
        resp.media = Condition("not ready", "a model is loading" if loading else "a model is not loaded")
