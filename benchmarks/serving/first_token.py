"""Time to first token with as little client as possible: through a server's socket, of the engine, and of a
socket with nothing behind it."""

import asyncio
import http.client
import json
import multiprocessing
import socket
import time
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks.serving.clients import make_prompt
from llmcore import AsyncEngine, SamplingParams

_REPEATS = 200
_TOKENS = 2
_EVENT = b'data: {"choices": [{"index": 0, "text": "a"}]}\n\n'
_BARE_ANSWER = (
    b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
    b"%x\r\n%s\r\n0\r\n\r\n" % (len(_EVENT), _EVENT)
)


def server_first_token(address: str, extra_body: dict[str, Any]) -> float:
    """Median seconds from sending a request on a kept connection to the first event with text."""
    connection = http.client.HTTPConnection(address.removeprefix("http://"), timeout=60)
    samples = []
    for number in range(_REPEATS):
        body = {
            "model": "default",
            "prompt": make_prompt(4, number),
            "max_tokens": _TOKENS,
            "temperature": 0.0,
        }
        payload = json.dumps(body | {"stream": True, **extra_body})
        started = time.perf_counter()
        try:
            response = _ask(connection, payload)
        except ConnectionError:  # not every server keeps one after every stream: anew, with its own clock
            connection.close()
            connection.connect()
            started = time.perf_counter()
            response = _ask(connection, payload)
        seen = 0.0
        for line in response:
            if not seen and line.startswith(b"data: {"):
                seen = time.perf_counter()
        if not seen:
            raise RuntimeError("a stream without an event")
        samples.append(seen - started)
    connection.close()
    return median(samples)


def _ask(connection: http.client.HTTPConnection, payload: str) -> http.client.HTTPResponse:
    connection.request("POST", "/v1/completions", payload, {"Content-Type": "application/json"})
    return connection.getresponse()


def engine_first_token(model: Path, threads: int) -> float:
    """Median seconds from submitting the same text to the first output, in this process."""

    async def measure() -> float:
        samples = []
        params = SamplingParams(max_tokens=_TOKENS, temperature=0.0, ignore_eos=True)
        engine = AsyncEngine(str(model), threads=threads)
        try:
            for number in range(_REPEATS):
                started = time.perf_counter()
                seen = 0.0
                async for _ in engine.generate(make_prompt(4, number), params):
                    seen = seen or time.perf_counter()
                samples.append(seen - started)
        finally:
            engine.close()
        return median(samples)

    return asyncio.run(measure())


def bare_first_token() -> float:
    """`server_first_token` of a process that answers whatever it receives: what client and sockets take."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        process = multiprocessing.Process(target=_answer_at_once, args=(listener,), daemon=True)
        process.start()
        try:
            return server_first_token(f"http://127.0.0.1:{listener.getsockname()[1]}", {})
        finally:
            process.terminate()
            process.join()


def _answer_at_once(listener: socket.socket) -> None:
    connection, _ = listener.accept()
    received = b""
    while piece := connection.recv(65536):
        received += piece
        # http.client sends a head and then a body, which ends with the prompt's object.
        if received.endswith(b"}"):
            received = b""
            connection.sendall(_BARE_ANSWER)
