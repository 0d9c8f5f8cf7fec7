"""Whether memory grows with the number of requests: a process's resident set after some and after many.

    python -m benchmarks.memory [--first 500] [--requests 10000] [--http] [--json]

Requests of all kinds, 12 at a time, against the embedded model: sampled and greedy, with stops, log-
probabilities, grammars, tenants, some cancelled half-way; over HTTP through a server of its own, plain and
streamed, also to models that do not exist and by clients that leave. Exit code 1 if it grew by more than 2
%.
"""

import argparse
import asyncio
import contextlib
import json
import os
import random
import re
import subprocess
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path

import httpx

from llmcore import AsyncEngine, SamplingParams, StructuredOutput

_AT_ONCE = 12
_MOST_GROWTH = 0.02
_MOST_WORDS = 40
_WORDS = [
    "red",
    "blue",
    "sky",
    "why",
    "how",
    "what",
    "is",
    "the",
    "a tree",
    "云",
    "天空",
    "please",
    "explain",
]

Request = Callable[[random.Random, int], Awaitable[None]]


def resident_bytes(process: int | str) -> int:
    """Of a process, "self" for this one."""
    pages = Path(f"/proc/{process}/statm").read_text(encoding="ascii").split()[1]
    return int(pages) * os.sysconf("SC_PAGE_SIZE")


def prompt(dice: random.Random, number: int) -> str:
    """Few words in any order: beginnings are shared at times.

    The first requests, which come at once, are as long as any: a step of theirs touches all the memory that
    steps have.
    """
    length = _MOST_WORDS if number <= _AT_ONCE else dice.randrange(1, _MOST_WORDS)
    return " ".join(dice.choice(_WORDS) for _ in range(length))


async def growth(send: Request, process: int | str, first: int, n_requests: int) -> dict[int, int]:
    """Resident bytes by the number of requests so far."""
    found = {}
    sent = 0

    async def client(until: int, seed: int) -> None:
        nonlocal sent
        dice = random.Random(seed)
        while sent < until:
            sent += 1
            await send(dice, sent)

    for until in sorted({first, *range(2000, n_requests, 2000), n_requests}):
        await asyncio.gather(*[client(until, sent + place) for place in range(_AT_ONCE)])
        await asyncio.sleep(0.5)  # what was cancelled ends between two steps
        found[until] = resident_bytes(process)
        print(f"{until:6} requests: {found[until] / 1e6:.1f} MB", file=sys.stderr)
    return found


async def of_engine(first: int, n_requests: int) -> dict[int, int]:
    """Of the engine in this process."""
    with contextlib.closing(AsyncEngine(threads=1, max_queue=1000)) as engine:

        async def send(dice: random.Random, number: int) -> None:
            params = SamplingParams(
                max_tokens=dice.randrange(1, 12),
                temperature=dice.choice([0, 0.8]),
                top_p=0.9,
                repetition_penalty=dice.choice([1.0, 1.1]),
                logprobs=dice.choice([None, None, 2]),
                stop=dice.choice([(), ("e",)]),
                structured=StructuredOutput("regex", "[a-z ]{3,8}") if number % 20 == 0 else None,
            )
            stream = engine.generate(
                prompt(dice, number), params, tenant=dice.choice([None, f"tenant {number}"])
            )
            left = dice.choice([1, 1000, 1000, 1000])
            async for _ in stream:
                left -= 1
                if left == 0:
                    await stream.aclose()  # type: ignore[attr-defined]

        return await growth(send, "self", first, n_requests)


async def of_server(first: int, n_requests: int) -> dict[int, int]:
    """Of a server in a process of its own."""
    server = subprocess.Popen(
        [sys.executable, "-m", "llmcore_server.cli", "--port", "0", "--threads", "1"],
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONUNBUFFERED": "1"},
    )
    try:
        assert server.stdout is not None
        greeting = server.stdout.readline()
        url = re.search(r"https?://\S+", greeting)
        if url is None:
            raise SystemExit(f"the server did not start: {greeting}")
        limits = httpx.Limits(max_connections=_AT_ONCE)
        async with httpx.AsyncClient(base_url=url[0], timeout=120, trust_env=False, limits=limits) as client:
            while (await client.get("/health/ready")).status_code != 200:
                await asyncio.sleep(0.1)

            async def send(dice: random.Random, number: int) -> None:
                await send_over_http(client, dice, number)

            return await growth(send, server.pid, first, n_requests)
    finally:
        server.terminate()
        server.wait()
        if server.stdout is not None:
            server.stdout.close()


async def send_over_http(client: httpx.AsyncClient, dice: random.Random, number: int) -> None:
    """One request of the mix; its answer is not looked at."""
    n, text = dice.randrange(1, 12), prompt(dice, number)
    chat = {"model": "default", "messages": [{"role": "user", "content": text}], "max_tokens": n}
    kind = number % 10
    if kind < 3:
        await client.post("/api/v1/generate", json={"prompt": text, "max_tokens": n})
    elif kind < 5:
        body = {"model": "default", "prompt": text, "max_tokens": n, "logprobs": 2, "user": f"user {number}"}
        await client.post("/v1/completions", json=body)
    elif kind < 6:
        await client.post("/v1/chat/completions", json=chat)
    elif kind < 7:
        await client.post("/v1/chat/completions", json={"model": f"absent {number}", "messages": []})
    else:
        leaves = dice.random() < 0.3
        async with client.stream("POST", "/v1/chat/completions", json={**chat, "stream": True}) as answer:
            async for _ in answer.aiter_lines():
                if leaves:
                    break


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--first", type=int, default=500, help="requests before the first measurement")
    parser.add_argument("--requests", type=int, default=10000, help="in all")
    parser.add_argument("--http", action="store_true", help="through a server")
    parser.add_argument("--json", action="store_true", help="resident bytes by number of requests, as JSON")
    arguments = parser.parse_args()
    if arguments.requests <= arguments.first:
        parser.error("--requests must be more than --first")
    measure = of_server if arguments.http else of_engine
    found = asyncio.run(measure(arguments.first, arguments.requests))
    grown = found[arguments.requests] / found[arguments.first] - 1
    print(json.dumps(found) if arguments.json else f"grown by {100 * grown:.2f} %")
    return 1 if grown > _MOST_GROWTH else 0


if __name__ == "__main__":
    sys.exit(main())
