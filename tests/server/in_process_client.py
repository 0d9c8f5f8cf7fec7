"""Sends requests to the application in this process, without a socket."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import Any

import httpx
from fake_engine import FakeEngine, fake_registry
from falcon import testing

from llmcore_server.app import create_app
from llmcore_server.config import ServerConfig


@dataclass
class InProcessClient:
    """Sends one request to a fresh application over `engine`; the model is loaded unless told otherwise."""

    engine: FakeEngine
    config: ServerConfig = field(default_factory=ServerConfig)
    registry_options: dict[str, Any] = field(default_factory=dict)

    def request(self, method: str, path: str, **options: Any) -> httpx.Response:
        async def send() -> httpx.Response:
            app = create_app(fake_registry(self.engine, **self.registry_options), self.config)
            # Falcon's own test client disconnects as soon as its body is sent, which is what cancels here.
            transport = httpx.ASGITransport(app, raise_app_exceptions=False)
            async with (
                testing.ASGIConductor(app),
                httpx.AsyncClient(transport=transport, base_url="http://test") as http,
            ):
                return await http.request(method, path, **options)

        return asyncio.run(send())

    def requests(self, *requests: tuple[str, str, dict[str, Any]]) -> list[httpx.Response]:
        """Send several requests, one after another, to one application."""

        async def send() -> list[httpx.Response]:
            app = create_app(fake_registry(self.engine, **self.registry_options), self.config)
            transport = httpx.ASGITransport(app, raise_app_exceptions=False)
            async with (
                testing.ASGIConductor(app),
                httpx.AsyncClient(transport=transport, base_url="http://test") as http,
            ):
                return [await http.request(method, path, **options) for method, path, options in requests]

        return asyncio.run(send())

    def get(self, path: str, **options: Any) -> httpx.Response:
        return self.request("GET", path, **options)

    def post(self, path: str, body: Any, **options: Any) -> httpx.Response:
        return self.request("POST", path, json=body, **options)
