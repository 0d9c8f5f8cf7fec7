"""A model's LoRA adapters: ``POST /api/v1/models/{name}/adapters`` and ``DELETE …/adapters/{adapter}``."""

from __future__ import annotations

import falcon.asgi

from llmcore_server.adapter_service import AdapterService
from llmcore_server.config import ServerConfig
from llmcore_server.request_body import read_request
from llmcore_server.resources.models import model_detail
from llmcore_server.schemas import AdapterRequest, BodyDecoder


class AdaptersResource:
    """Adapters come and go while the model serves."""

    def __init__(self, adapters: AdapterService, config: ServerConfig) -> None:
        self._adapters = adapters
        self._registry = adapters.registry
        self._config = config
        self._decoder = BodyDecoder(AdapterRequest, {})

    async def on_post(self, req: falcon.asgi.Request, resp: falcon.asgi.Response, name: str) -> None:
        request = await read_request(req, resp, self._decoder, self._config)
        model = await self._registry.find(name)
        scale = 1.0 if request.scale is None else request.scale
        await self._adapters.load(model, request.name, request.path, scale)
        resp.media = model_detail(self._registry, model, req)

    async def on_delete_one(
        self, req: falcon.asgi.Request, resp: falcon.asgi.Response, name: str, adapter: str
    ) -> None:
        model = await self._registry.find(name)
        await self._adapters.unload(model, adapter)
        resp.media = model_detail(self._registry, model, req)
