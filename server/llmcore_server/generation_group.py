"""Several generations that make one response: a list of prompts."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from llmcore_server.engine_protocol import Delta
from llmcore_server.generation import Generation, TokenCount


class GenerationGroup:
    """Feeds the deltas of several generations to one response, each with the number of its generation.

    The first failure ends the group; `close` ends every generation and may be called twice.
    """

    def __init__(self, generations: Sequence[Generation]) -> None:
        self._generations = generations
        self._waiting: dict[int, asyncio.Task[list[Delta]]] = {}
        self._running = set(range(len(generations)))

    @property
    def usage(self) -> TokenCount:
        counts = [generation.usage for generation in self._generations]
        return TokenCount(
            sum(count.prompt_tokens for count in counts),
            sum(count.completion_tokens for count in counts),
            sum(count.cached_tokens for count in counts),
        )

    async def admitted(self, wait: float) -> None:
        """Return once the engine has begun to answer all, or after ``wait`` seconds; raise a refusal."""
        if len(self._generations) == 1:
            await self._generations[0].admitted(wait)
        else:
            await asyncio.gather(*(generation.admitted(wait) for generation in self._generations))

    async def next_deltas(self) -> list[tuple[int, Delta]]:
        """Return all deltas that have arrived, waiting for one at least; empty at the end.

        Raises the `ApiError` that ended one of the generations.
        """
        if len(self._generations) == 1:
            return [(0, delta) for delta in await self._generations[0].next_deltas()]
        while self._running:
            for number in self._running - self._waiting.keys():
                self._waiting[number] = asyncio.ensure_future(self._generations[number].next_deltas())
            await asyncio.wait(self._waiting.values(), return_when=asyncio.FIRST_COMPLETED)
            arrived: list[tuple[int, Delta]] = []
            for number, task in list(self._waiting.items()):
                if task.done():
                    del self._waiting[number]
                    deltas = task.result()
                    arrived += [(number, delta) for delta in deltas]
                    if not deltas:
                        self._running.discard(number)
            if arrived:
                return arrived
        return []

    async def whole(self) -> list[tuple[int, Delta]]:
        """Return every delta once the last has arrived. Raises the first `ApiError` that ended one."""
        wholes = await asyncio.gather(*(generation.whole() for generation in self._generations))
        return [(number, delta) for number, deltas in enumerate(wholes) for delta in deltas]

    async def close(self) -> None:
        """End every generation that is not finished."""
        for task in self._waiting.values():
            task.cancel()
        await asyncio.gather(*self._waiting.values(), return_exceptions=True)
        for generation in self._generations:
            await generation.close()
