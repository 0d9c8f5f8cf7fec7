"""Servers under load, one after the other on the same model, threads and machine: real processes and sockets.

    python -m benchmarks.serve MODEL --llama-server PATH --llama-cpp-python PYTHON --json out.json

Four questions, each asked of every server in every round, in changing order; medians and ratios are printed:
  crowd    how many tokens a second (prompts and answers) many clients get together
  quiet    how much longer others wait between two tokens while a long prompt arrives
  shared   how soon a request starts whose beginning a running one shares, against the cold start
  brief    how soon a short prompt is answered that arrives while a long one is read
With --small MODEL also, on a model that costs almost nothing: requests and streamed tokens a second by
number of clients, and the time to first token, beside the engine's own and that of a socket with nothing
behind it: what is above both is the server's.

Every answer must have the number of tokens asked for, or nothing is printed. Needs `pip install '.[bench]'`.
"""

import argparse
import asyncio
import json
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from statistics import median

import aiohttp
import numpy as np

from benchmarks.report import heading
from benchmarks.serving.clients import Answer, Client, crowd, make_prompt
from benchmarks.serving.first_token import bare_first_token, engine_first_token, server_first_token
from benchmarks.serving.processes import (
    Peer,
    llama_cpp_python_peer,
    llama_server_peer,
    llmcore_peer,
    serving,
)

Figures = dict[str, float]
_TIMEOUT = aiohttp.ClientTimeout(total=3600)
_QUIET_CLIENTS = 4
_QUIET_TOKENS = 96
_LONG_PROMPT = 2000
_SHARED_PREFIX = 1500
_BRIEF_PROMPT = 40
_DONOR_TOKENS = 64
_SMALL_SECONDS = 4.0
_SMALL_TOKENS = 16
_SMALL_CLIENTS = (1, 16, 64)
_KEPT_OPTIONS = ("clients", "prompt_tokens", "tokens", "turns", "threads", "rounds", "llmcore_option")


async def _words_for(client: Client, tokens: int) -> int:
    """Words of `make_prompt` that come to about `tokens` tokens of this model."""
    probe = 64
    answer = await client.complete(make_prompt(probe, 1), 1, stream=False)
    return max(1, round(tokens * probe / answer.prompt_tokens))


async def measure_crowd(client: Client, options: argparse.Namespace, seed: int) -> Figures:
    """Tokens a second of `--clients` clients together."""
    words = await _words_for(client, options.prompt_tokens)
    prompts = [
        [make_prompt(words, seed + 100 * turn + number) for turn in range(options.turns)]
        for number in range(options.clients)
    ]
    answers, seconds = await crowd(client, prompts, options.tokens, stream=True)
    made = sum(answer.completion_tokens for answer in answers)
    read = sum(answer.prompt_tokens for answer in answers)
    return {
        "total tokens/s": (made + read) / seconds,
        "generated tokens/s": made / seconds,
        "prompt tokens a request": read / len(answers),
        "time to first token, median s": median(answer.first for answer in answers),
    }


async def measure_quiet(client: Client, options: argparse.Namespace, seed: int) -> Figures:
    """99th percentile of the time between tokens of a few clients, alone and while a long prompt arrives."""
    short, long = await _words_for(client, options.prompt_tokens), await _words_for(client, _LONG_PROMPT)
    figures = {}
    for name, disturbed in (("quiet", False), ("disturbed", True)):
        prompts = [[make_prompt(short, seed + number + 50 * disturbed)] for number in range(_QUIET_CLIENTS)]
        talk = asyncio.ensure_future(crowd(client, prompts, _QUIET_TOKENS, stream=True))
        long_answer: Answer | None = None
        if disturbed:
            await asyncio.sleep(0.5)
            long_answer = await client.complete(make_prompt(long, seed + 99), 2, stream=True)
        answers, _ = await talk
        gaps = [
            gap
            for answer in answers
            for gap, at in zip(answer.gaps, answer.pieces[1:], strict=True)
            # Between a client's first token and another's the prompts are still being read.
            if at > max(other.pieces[0] for other in answers)
            and (long_answer is None or long_answer.started < at < long_answer.pieces[0])
        ]
        if not gaps:
            raise RuntimeError("no token came while the long prompt was read")
        figures[f"{name} p99 ms"] = 1000 * float(np.percentile(gaps, 99))
        if long_answer is not None:
            figures["long prompt's first token s"] = long_answer.first
    figures["disturbed / quiet"] = figures["disturbed p99 ms"] / figures["quiet p99 ms"]
    return figures


async def measure_shared(client: Client, options: argparse.Namespace, seed: int) -> Figures:
    """First token of a long prompt read cold, and of another that begins like it while it still runs."""
    del options
    beginning = make_prompt(await _words_for(client, _SHARED_PREFIX), seed)
    # The donor's first token tells that it has read its prompt; it goes on while the second arrives.
    has_read = asyncio.Event()
    donor = asyncio.ensure_future(
        client.complete(
            beginning + make_prompt(8, seed + 1), _DONOR_TOKENS, stream=True, first_piece=has_read
        )
    )
    waiting = asyncio.ensure_future(has_read.wait())
    await asyncio.wait((donor, waiting), return_when=asyncio.FIRST_COMPLETED)
    waiting.cancel()
    second = await client.complete(beginning + make_prompt(8, seed + 2), 2, stream=True)
    still_running = not donor.done()
    first = await donor
    return {
        "cold s": first.first,
        "shared s": second.first,
        "shared / cold": second.first / first.first,
        "donor still ran": float(still_running),
    }


async def measure_brief(client: Client, options: argparse.Namespace, seed: int) -> Figures:
    """First token of a short prompt, alone and while a long one is read."""
    del options
    words, long = await _words_for(client, _BRIEF_PROMPT), await _words_for(client, _LONG_PROMPT)
    alone = await client.complete(make_prompt(words, seed), 2, stream=True)
    reading = asyncio.ensure_future(client.complete(make_prompt(long, seed + 1), 2, stream=True))
    await asyncio.sleep(0.5)
    behind = await client.complete(make_prompt(words, seed + 2), 2, stream=True)
    other = await reading
    return {
        "alone s": alone.first,
        "behind s": behind.first,
        "long prompt's first token s": other.first,
    }


async def measure_small(client: Client, options: argparse.Namespace, seed: int) -> Figures:
    """Requests and streamed tokens a second on a model that costs almost nothing."""
    del options
    figures: Figures = {}
    for clients in _SMALL_CLIENTS:
        for name, stream in (("requests/s", False), ("streamed tokens/s", True)):
            ends = asyncio.get_running_loop().time() + _SMALL_SECONDS

            async def one(number: int, stream: bool = stream, ends: float = ends) -> int:
                done = 0
                while asyncio.get_running_loop().time() < ends:
                    await client.complete(make_prompt(4, seed + number), _SMALL_TOKENS, stream)
                    done += 1
                return done

            started = asyncio.get_running_loop().time()
            finished = sum(await asyncio.gather(*(one(number) for number in range(clients))))
            seconds = asyncio.get_running_loop().time() - started
            figures[f"{name}, {clients} clients"] = finished * (_SMALL_TOKENS if stream else 1) / seconds
    return figures


Question = Callable[[Client, argparse.Namespace, int], Awaitable[Figures]]
_QUESTIONS: dict[str, Question] = {
    "crowd": measure_crowd,
    "quiet": measure_quiet,
    "shared": measure_shared,
    "brief": measure_brief,
}


async def ask(
    question: Question, peer: Peer, address: str, options: argparse.Namespace, seed: int
) -> Figures:
    """One question of one running server."""
    connector = aiohttp.TCPConnector(limit=0)
    async with aiohttp.ClientSession(connector=connector, timeout=_TIMEOUT) as session:
        return await question(Client(address, peer.extra_body, session), options, seed)


def run(peers: list[Peer], options: argparse.Namespace) -> dict[str, dict[str, list[Figures]]]:
    """All rounds: figures by question and server."""
    found: dict[str, dict[str, list[Figures]]] = {}
    for round_number in range(options.rounds):
        for peer in peers if round_number % 2 == 0 else peers[::-1]:
            with serving(
                peer, options.model, options.threads, options.clients, _LONG_PROMPT + 500
            ) as address:
                for number, name in enumerate(options.questions):
                    seed = 10_000 * round_number + 1_000 * number
                    figures = asyncio.run(ask(_QUESTIONS[name], peer, address, options, seed))
                    found.setdefault(name, {}).setdefault(peer.name, []).append(figures)
                    print(f"round {round_number + 1} {name} {peer.name}: {figures}", file=sys.stderr)
            if options.small:
                with serving(peer, options.small, options.threads, max(_SMALL_CLIENTS), 256) as address:
                    figures = asyncio.run(ask(measure_small, peer, address, options, round_number))
                    figures["first token, ms"] = 1000 * server_first_token(address, peer.extra_body)
                    found.setdefault("small", {}).setdefault(peer.name, []).append(figures)
                    print(f"round {round_number + 1} small {peer.name}: {figures}", file=sys.stderr)
        if options.small:
            alone = {"first token, ms": 1000 * engine_first_token(options.small, options.threads)}
            found["small"].setdefault("llmcore's engine alone", []).append(alone)
            bare = {"first token, ms": 1000 * bare_first_token()}
            found["small"].setdefault("a bare socket", []).append(bare)
    return found


def markdown(found: dict[str, dict[str, list[Figures]]]) -> str:
    """Medians by server, and how many times llmcore's they are (llmcore / other)."""
    lines = []
    for question, by_server in found.items():
        names = list(by_server)
        medians = {
            name: {key: median(f[key] for f in samples) for key in samples[0]}
            for name, samples in by_server.items()
        }
        lines += ["", f"| {question} | " + " | ".join(names) + " |", "|---" * (len(names) + 1) + "|"]
        for key in medians[names[0]]:
            cells = []
            for name in names:
                value = medians[name].get(key)
                ratio = medians["llmcore"].get(key, 0.0) / value if value else 0.0
                cells.append(
                    ""
                    if value is None
                    else f"{value:.4g}" + ("" if name == "llmcore" else f" ({ratio:.2f}x)")
                )
            lines.append(f"| {key} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def main() -> None:
    """Starts the servers, asks, prints."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("model", type=Path)
    parser.add_argument("--small", type=Path, help="a model so small that its engine is nearly free")
    parser.add_argument("--llama-server", type=Path, help="llama.cpp's llama-server")
    parser.add_argument("--llama-cpp-python", help="an interpreter that has llama-cpp-python[server]")
    parser.add_argument(
        "--llmcore-option", action="append", default=[], help="another word for llmcore serve"
    )
    parser.add_argument("-q", "--questions", nargs="*", choices=_QUESTIONS, default=list(_QUESTIONS))
    parser.add_argument("-c", "--clients", type=int, default=16)
    parser.add_argument("-p", "--prompt-tokens", type=int, default=128)
    parser.add_argument("-n", "--tokens", type=int, default=64)
    parser.add_argument("--turns", type=int, default=2, help="requests of each client")
    parser.add_argument("-t", "--threads", type=int, default=2)
    parser.add_argument("-r", "--rounds", type=int, default=3)
    parser.add_argument("--json", type=Path, help="write all samples here")
    options = parser.parse_args()
    peers = [llmcore_peer(tuple(options.llmcore_option))]
    if options.llama_server:
        peers.append(llama_server_peer(options.llama_server))
    if options.llama_cpp_python:
        peers.append(llama_cpp_python_peer(options.llama_cpp_python))
    found = run(peers, options)
    print(
        f"{options.model.name}, {options.threads} threads, {options.clients} clients, {options.rounds} rounds"
    )
    print(markdown(found))
    if options.json:
        report = {
            "model": options.model.name,
            **heading(),
            "options": {key: str(value) for key, value in vars(options).items() if key in _KEPT_OPTIONS},
            "found": found,
        }
        options.json.write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
