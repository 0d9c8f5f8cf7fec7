"""A request leaves nothing that only the cyclic collector frees.

Such garbage waits, memory grows by it, and to find it holds up other requests."""

from __future__ import annotations

import gc
from collections import Counter

import pytest
from served_here import ServedHere, served_here
from served_process import send_raw

from llmcore.tools.shapes import Shape
from llmcore.tools.synthesize import synthesize

PROMPT = {"prompt": "hello", "max_tokens": 4}
CHAT = {"messages": [{"role": "user", "content": "hello"}], "max_tokens": 4}
ENDLESS = {"prompt": "hello", "max_tokens": 8000, "ignore_eos": True}
EXCHANGES = {
    "an answer": ("/api/v1/generate", PROMPT),
    "a stream": ("/v1/chat/completions", {**CHAT, "model": "m", "stream": True}),
    "a refusal": ("/v1/chat/completions", {**CHAT, "model": "absent"}),
    "a bad body": ("/api/v1/generate", {"prompt": 3}),
}


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    path = tmp_path_factory.mktemp("models") / "tiny.gguf"
    synthesize(path, Shape("llama", 64, 2, 2, 1, 32, 128, 4000, 8192), "F16")
    with served_here(path, max_batch=2) as server:
        yield server


def exchange(server: ServedHere, path: str, body: dict[str, object], *, leaves: bool) -> bytes:
    """Send a request and return the answer; ``leaves``: go while it is being made."""
    before = server.engine.stats()
    with send_raw(server, path, body, "Connection: close") as client:
        if leaves:
            server.wait_for(lambda stats: stats.steps >= before.steps + 3)
            return b""
        return b"".join(iter(lambda: client.recv(1 << 16), b""))


def left_behind(server: ServedHere, path: str, body: dict[str, object], *, leaves: bool) -> Counter[str]:
    """What ten such requests leave for the collector, by type."""
    exchange(server, path, body, leaves=leaves)  # what is made once is made now
    server.wait_for(lambda stats: stats.running == 0)
    gc.collect()
    gc.disable()
    gc.set_debug(gc.DEBUG_SAVEALL)
    try:
        for _ in range(10):
            exchange(server, path, body, leaves=leaves)
        server.wait_for(lambda stats: stats.running == 0)
        gc.collect()
        return Counter(type(one).__qualname__ for one in gc.garbage)
    finally:
        gc.set_debug(0)
        gc.garbage.clear()
        gc.enable()


@pytest.mark.parametrize("kind", EXCHANGES)
def test_what_ends_leaves_no_cycles(server: ServedHere, kind: str) -> None:
    path, body = EXCHANGES[kind]
    assert exchange(server, path, body, leaves=False).startswith(b"HTTP/1.1 ")
    assert not left_behind(server, path, body, leaves=False)


@pytest.mark.parametrize("path", ["/api/v1/generate", "/api/v1/generate/stream"])
def test_whom_the_client_leaves_leaves_no_cycles(server: ServedHere, path: str) -> None:
    assert not left_behind(server, path, ENDLESS, leaves=True)
