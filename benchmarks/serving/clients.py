"""Clients of an OpenAI-style server: what they send, when tokens came, whether the answers are whole."""

import asyncio
import json
import random
import time
from dataclasses import dataclass, field
from typing import Any

import aiohttp

# Letters that no tokenizer is likely to join over many words; the servers count the tokens themselves.
_WORDS = ("river", "stone", "paper", "green", "seven", "night", "cloud", "bread", "music", "house", "light")
_STALE_CONNECTIONS = 64  # that one request may meet: as many as there are clients


@dataclass(frozen=True)
class Answer:
    """One finished request. Times are seconds on this process's monotonic clock."""

    started: float
    pieces: tuple[float, ...]  # arrival of each event that carries text
    ended: float
    prompt_tokens: int
    completion_tokens: int

    @property
    def first(self) -> float:
        """Time to first token in seconds."""
        return self.pieces[0] - self.started

    @property
    def gaps(self) -> list[float]:
        """Seconds between one piece and the next."""
        return [later - sooner for sooner, later in zip(self.pieces, self.pieces[1:], strict=False)]


@dataclass
class Client:
    """Sends completions to one server over kept connections."""

    address: str
    extra_body: dict[str, Any]
    session: aiohttp.ClientSession = field(repr=False)

    async def complete(
        self, prompt: str, tokens: int, stream: bool, first_piece: asyncio.Event | None = None
    ) -> Answer:
        """Greedy completion of exactly `tokens` tokens; RuntimeError if the answer is any other.

        `first_piece` is set when a stream's first text arrives. A kept connection that the server closed
        as the request was sent is tried anew, in the request's time."""
        started = time.monotonic()
        for _ in range(_STALE_CONNECTIONS):
            try:
                return await self._complete(prompt, tokens, stream, first_piece, started)
            except aiohttp.ClientConnectionError:
                continue
        return await self._complete(prompt, tokens, stream, first_piece, started)

    async def _complete(
        self, prompt: str, tokens: int, stream: bool, first_piece: asyncio.Event | None, started: float
    ) -> Answer:
        body: dict[str, Any] = {
            "model": "default",
            "prompt": prompt,
            "max_tokens": tokens,
            "temperature": 0.0,
        }
        body |= {"stream": stream, **self.extra_body}
        if stream:
            body["stream_options"] = {"include_usage": True}
        pieces: list[float] = []
        usage: dict[str, int] = {}
        async with self.session.post(self.address + "/v1/completions", json=body) as response:
            if response.status != 200:
                raise RuntimeError(f"{response.status}: {(await response.text())[:500]}")
            if stream:
                async for line in response.content:
                    if line.startswith(b"data: {"):
                        event = json.loads(line[6:])
                        usage = event.get("usage") or usage
                        if event.get("choices") and event["choices"][0].get("text"):
                            pieces.append(time.monotonic())
                            if first_piece is not None:
                                first_piece.set()
            else:
                usage = (await response.json())["usage"]
        ended = time.monotonic()
        made = usage.get("completion_tokens", len(pieces))
        if made != tokens:
            raise RuntimeError(f"{made} tokens where {tokens} were asked for")
        return Answer(started, tuple(pieces), ended, usage.get("prompt_tokens", 0), made)


def make_prompt(words: int, seed: int) -> str:
    """A text of that many words; different seeds share no beginning."""
    draw = random.Random(seed)
    return " ".join(f"{draw.choice(_WORDS)}{draw.randrange(10)}" for _ in range(words))


async def crowd(
    client: Client, prompts: list[list[str]], tokens: int, stream: bool
) -> tuple[list[Answer], float]:
    """One client for each list of prompts, which it sends one after the other; answers and wall seconds."""

    async def one(own: list[str]) -> list[Answer]:
        return [await client.complete(prompt, tokens, stream) for prompt in own]

    started = time.monotonic()
    answers = await asyncio.gather(*(one(own) for own in prompts))
    return [answer for own in answers for answer in own], time.monotonic() - started
