"""Cancels a request's work the moment its client is gone, or will not read.

Falcon itself tells neither a plain responder nor a byte stream that the client left, so this ASGI layer
owns ``receive``: once the request body is in, it waits for ``http.disconnect`` and cancels what serves the
request, whether it is queued, in prefill, decoding or blocked in ``send``.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from contextvars import ContextVar
from typing import Any, Protocol

Message = dict[str, Any]
Scope = dict[str, Any]
Receive = Callable[[], Awaitable[Mapping[str, Any]]]
Send = Callable[[Message], Awaitable[None]]
ASGIApp = Callable[[Scope, Receive, Send], Coroutine[Any, Any, None]]
Closer = Callable[[], Awaitable[None]]

_closers: ContextVar[AsyncExitStack] = ContextVar("closers")
_HTTP_VERSIONS = frozenset({"1.0", "1.1"})


class ActiveRequests(Protocol):
    """Told when a request starts and when its last byte is out."""

    def inc(self) -> None: ...
    def dec(self) -> None: ...


@asynccontextmanager
async def closing_scope() -> AsyncIterator[None]:
    """What is given to `close_with_request` within ends with this block: a request, or what outlives it."""
    async with AsyncExitStack() as closers:
        outer = _closers.set(closers)
        try:
            yield
        finally:
            _closers.reset(outer)


def close_with_request(closer: Closer) -> None:
    """Have ``closer`` awaited when the request that the current task serves ends, however it ends.

    What was opened last is closed first."""
    _closers.get().push_async_callback(closer)


class DisconnectGuard:
    """Outermost ASGI layer: cancels what serves a request on disconnect, and closes what it opened."""

    def __init__(
        self, app: ASGIApp, active: ActiveRequests, stall_timeout: float, uncounted: frozenset[str]
    ) -> None:
        self._app = app
        self._active = active
        self._stall_timeout = stall_timeout
        self._uncounted = uncounted

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        if scope.get("http_version") not in _HTTP_VERSIONS:
            # Falcon fails on requests such as HTTP/0.9's, which may name no version.
            scope["http_version"] = "1.0"
        if scope.get("method") == "HEAD":
            # As GET (RFC 9110, 9.3.2): the server, which keeps its own scope, leaves the body out.
            scope = {**scope, "method": "GET"}
        counted = scope["path"] not in self._uncounted
        if counted:
            self._active.inc()
        try:
            await _GuardedRequest(self._app, scope, receive, send, self._stall_timeout).serve()
        finally:
            if counted:
                self._active.dec()


class _GuardedRequest:
    def __init__(
        self, app: ASGIApp, scope: Scope, receive: Receive, send: Send, stall_timeout: float
    ) -> None:
        self._app = app
        self._scope = scope
        self._receive = receive
        self._send = send
        self._stall_timeout = stall_timeout
        self._body_received = False
        self._disconnected = asyncio.Event()
        self._watcher: asyncio.Task[None] | None = None
        self._working: asyncio.Task[Any] | None = None
        """The task that serves, as long as it may be cancelled."""
        self._cancelled = False
        self._response_complete = False

    async def serve(self) -> None:
        async with closing_scope():
            await self._work()

    async def _work(self) -> None:
        task = self._working = asyncio.current_task()
        assert task is not None
        try:
            await self._app(self._scope, self._watched_receive, self._timed_send)
        except asyncio.CancelledError:
            if not self._cancelled:
                raise
            # From Python 3.11 on a task counts what cancelled it.
            getattr(task, "uncancel", int)()
        finally:
            self._working = None
            if self._watcher is not None:
                self._watcher.cancel()
                # What ends it holds frames that lead back here: no cycle may keep them.
                self._watcher = None

    async def _watched_receive(self) -> Mapping[str, Any]:
        if self._body_received:
            await self._disconnected.wait()
            return {"type": "http.disconnect"}
        message = await self._receive()
        if message["type"] == "http.disconnect":
            # Nothing is left to be done, and this is the task that would do it.
            self._cancelled = True
            raise asyncio.CancelledError
        if not message.get("more_body", False):
            self._body_received = True
            self._watcher = asyncio.ensure_future(self._watch())
        return message

    async def _watch(self) -> None:
        try:
            while (await self._receive())["type"] != "http.disconnect":
                pass
        finally:
            self._disconnected.set()
            if not self._response_complete:
                self._cancel()

    async def _timed_send(self, message: Message) -> None:
        """Send, but give up on a client that accepts nothing for the stall timeout."""
        if message["type"] == "http.response.body" and not message.get("more_body", False):
            self._response_complete = True
        stalled = asyncio.get_running_loop().call_later(self._stall_timeout, self._cancel)
        try:
            await self._send(message)
        finally:
            stalled.cancel()

    def _cancel(self) -> None:
        if self._working is not None:
            self._cancelled = True
            self._working.cancel()
