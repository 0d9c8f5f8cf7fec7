"""Server-sent events: encoding, and streams that Falcon closes whatever becomes of the client."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator

import falcon.asgi
import msgspec

DONE = b"data: [DONE]\n\n"

_encode = msgspec.json.Encoder().encode


def event(payload: object) -> bytes:
    """Return one event whose data is ``payload`` as JSON; it leaves as one chunk."""
    return b"data: " + _encode(payload) + b"\n\n"


def named_event(name: str, payload: object) -> bytes:
    """Return one event of that name."""
    return b"event: " + name.encode() + b"\n" + event(payload)


class EventStream:
    """An async iterable of events with the ``close`` that Falcon awaits when the response ends."""

    def __init__(self, events: AsyncGenerator[bytes, None]) -> None:
        self._events = events

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self._events

    async def close(self) -> None:
        await self._events.aclose()


def send_events(resp: falcon.asgi.Response, events: AsyncGenerator[bytes, None]) -> None:
    """Answer with a stream of events that no proxy should hold back."""
    # Named, for clients such as requests take text of an unnamed encoding for Latin-1.
    resp.content_type = "text/event-stream; charset=utf-8"
    resp.set_header("Cache-Control", "no-cache")
    resp.set_header("X-Accel-Buffering", "no")
    resp.stream = EventStream(events)  # type: ignore[assignment]


class Pacer:
    """Keeps writes at least ``interval`` seconds apart, the second one twice as far from the first.

    Readers that parse one event a read, as the documented JavaScript does, break when two arrive merged; a
    browser takes longest to take up the first.
    """

    def __init__(self, interval: float) -> None:
        self._interval = interval
        self._due = 0.0
        self._writes = 0

    async def wait(self) -> None:
        """Return when the next write may leave."""
        now = asyncio.get_running_loop().time
        while (left := self._due - now()) > 0:
            await asyncio.sleep(left + 0.0005)

    def written(self) -> None:
        """Note that a write has just left."""
        self._writes += 1
        self._due = asyncio.get_running_loop().time() + self._interval * (2 if self._writes == 1 else 1)
