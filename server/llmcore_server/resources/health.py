"""``GET /health``: whether the process serves, and what it holds."""

from __future__ import annotations

import falcon.asgi

from llmcore_server import process_memory
from llmcore_server.metrics import Metrics
from llmcore_server.registry import EngineRegistry


class HealthResource:
    """Answers 200 as soon as the process listens, also while a model loads."""

    def __init__(self, registry: EngineRegistry, metrics: Metrics) -> None:
        self._registry = registry
        self._metrics = metrics
        self._limit = process_memory.gigabytes(process_memory.limit_bytes())

    async def on_get(self, req: falcon.asgi.Request, resp: falcon.asgi.Response) -> None:  # noqa: ARG002
        resident = process_memory.gigabytes(process_memory.resident_bytes())
        resp.media = {
            "status": "healthy",
            "model_loaded": any(model.loaded for model in self._registry.known),
            "memory_usage": f"{resident}/{self._limit}",
            "active_connections": self._metrics.in_flight.count,
        }
