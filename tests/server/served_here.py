"""A server over a real engine on sockets, in a thread of this process: a test can watch the engine."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import uvicorn

from llmcore import AsyncEngine
from llmcore_server.app import create_app
from llmcore_server.config import ServerConfig
from llmcore_server.http_protocol import bounded_protocol
from llmcore_server.model_file import ModelFile
from llmcore_server.process import listen
from llmcore_server.registry import EngineRegistry


class ServedHere:
    """`engine` is what answers at `url`."""

    def __init__(self, engine: AsyncEngine, config: ServerConfig) -> None:
        self.engine = engine
        listener = listen("127.0.0.1", 0)
        self.url = f"http://127.0.0.1:{listener.getsockname()[1]}"
        registry = EngineRegistry([ModelFile("m", None, 1, 1)], load=lambda _plan: engine, preload=["m"])
        self._server = uvicorn.Server(
            uvicorn.Config(
                create_app(registry, config),
                http=bounded_protocol(config.max_head_bytes, config.head_timeout),
                ws="none",
                log_config=None,
                access_log=False,
                timeout_graceful_shutdown=2,
            )
        )
        self._thread = threading.Thread(target=self._run, args=(listener,))
        self._thread.start()

    def _run(self, listener: socket.socket) -> None:
        self._server.run(sockets=[listener])

    def wait_for(self, condition: Any, limit: float = 10.0) -> float:
        """Wait until the engine's statistics meet a condition; return the seconds that took."""
        began = time.perf_counter()
        while not condition(self.engine.stats()):
            assert time.perf_counter() - began < limit, self.engine.stats()
            time.sleep(0.0005)
        return time.perf_counter() - began

    def stop(self) -> None:
        self._server.should_exit = True
        self._thread.join(20)
        assert not self._thread.is_alive()


@contextmanager
def served_here(model: Path, config: ServerConfig | None = None, **engine: Any) -> Iterator[ServedHere]:
    server = ServedHere(AsyncEngine(model, threads=1, **engine), config or ServerConfig())
    try:
        yield server
    finally:
        server.stop()
