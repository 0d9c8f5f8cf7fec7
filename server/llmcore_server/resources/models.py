"""The lists of models, in the specification's shape and in OpenAI's."""

from __future__ import annotations

import falcon.asgi

from llmcore_server.process_memory import readable_size
from llmcore_server.registry import EngineRegistry, KnownModel


class ModelsResource:
    """``GET /api/v1/models``."""

    def __init__(self, registry: EngineRegistry) -> None:
        self._registry = registry

    async def on_get(self, req: falcon.asgi.Request, resp: falcon.asgi.Response) -> None:  # noqa: ARG002
        resp.media = {"models": [model_body(model) for model in self._registry.known]}


def model_body(model: KnownModel) -> dict[str, object]:
    """Return the specification's object for a model."""
    return {
        "name": model.name,
        "format": "gguf",
        "size": readable_size(model.file.size),
        "loaded": model.loaded,
        "memory_usage": readable_size(model.memory if model.loaded else 0),
    }


class OpenAIModelsResource:
    """``GET /v1/models``, with aliases, and ``GET /v1/models/{name}``."""

    def __init__(self, registry: EngineRegistry) -> None:
        self._registry = registry

    async def on_get(self, req: falcon.asgi.Request, resp: falcon.asgi.Response) -> None:  # noqa: ARG002
        names = {model.name: model for model in self._registry.known}
        names |= {alias: self._registry.resolve(alias) for alias in self._registry.aliases}
        resp.media = {
            "object": "list",
            "data": [openai_model_body(name, model) for name, model in names.items()],
        }

    async def on_get_one(self, req: falcon.asgi.Request, resp: falcon.asgi.Response, name: str) -> None:  # noqa: ARG002
        resp.media = openai_model_body(name, self._registry.resolve(name))


def openai_model_body(name: str, model: KnownModel) -> dict[str, object]:
    """Return OpenAI's object for a model under one of its names."""
    return {"id": name, "object": "model", "created": model.file.created, "owned_by": "llmcore"}
