"""Time to first token with as little client as possible: through a server's socket, and of the engine."""

import asyncio
import http.client
import json
import time
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks.serving.clients import make_prompt
from llmcore import AsyncEngine, SamplingParams

_REPEATS = 200
_TOKENS = 2


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
        connection.request("POST", "/v1/completions", payload, {"Content-Type": "application/json"})
        response = connection.getresponse()
        seen = 0.0
        for line in response:
            if not seen and line.startswith(b"data: {"):
                seen = time.perf_counter()
        if not seen:
            raise RuntimeError("a stream without an event")
        samples.append(seen - started)
    connection.close()
    return median(samples)


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
