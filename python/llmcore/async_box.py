"""Where the event loop puts a request's outputs, and its task takes them."""

from __future__ import annotations

import asyncio

from llmcore import _core


class AsyncBox:
    """What the engine has said of one request and nobody has taken yet; for one task of the event loop."""

    __slots__ = ("_outputs", "_waiter")

    def __init__(self) -> None:
        self._outputs: list[_core.Output] = []
        self._waiter: asyncio.Future[None] | None = None

    def put(self, output: _core.Output) -> None:
        self._outputs.append(output)
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    async def take(self) -> list[_core.Output]:
        """All outputs there are, in order, waiting for one at least."""
        if not self._outputs:
            self._waiter = asyncio.get_running_loop().create_future()
            try:
                await self._waiter
            finally:
                self._waiter = None
        outputs, self._outputs = self._outputs, []
        return outputs
