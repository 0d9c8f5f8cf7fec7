"""Starts the registry's loads with the application and closes its engines after the last request."""

from __future__ import annotations

from typing import Any

from llmcore_server.registry import EngineRegistry


class EngineLifespan:
    """ASGI lifespan handlers, which Falcon calls on middleware."""

    def __init__(self, registry: EngineRegistry) -> None:
        self._registry = registry

    async def process_startup(self, scope: dict[str, Any], event: dict[str, Any]) -> None:  # noqa: ARG002
        self._registry.start()

    async def process_shutdown(self, scope: dict[str, Any], event: dict[str, Any]) -> None:  # noqa: ARG002
        self._registry.close()
