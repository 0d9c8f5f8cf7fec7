"""Cancels a request's work the moment its client is gone, or will not read.

Falcon itself tells neither a plain responder nor a byte stream that the client left, so this ASGI layer
owns ``receive``: once the request body is in, it waits for ``http.disconnect`` and cancels the task that
serves the request, whether it is queued, in prefill, decoding or blocked in ``send``.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from typing import Any, Protocol

Message = dict[str, Any]
Scope = dict[str, Any]
Receive = Callable[[], Awaitable[Mapping[str, Any]]]
Send = Callable[[Message], Awaitable[None]]
ASGIApp = Callable[[Scope, Receive, Send], Coroutine[Any, Any, None]]
Closer = Callable[[], Awaitable[None]]

_CLOSERS = "llmcore.closers"
_HTTP_VERSIONS = frozenset({"1.0", "1.1"})


class ActiveRequests(Protocol):
    """Told when a request starts and when its last byte is out."""

    def inc(self) -> None: ...
    def dec(self) -> None: ...


def close_with_request(scope: Scope, closer: Closer) -> None:
    """Have ``closer`` awaited when the request ends, however it ends; it must be safe to call twice.

    What was opened last is closed first."""
    scope.setdefault(_CLOSERS, []).append(closer)


class DisconnectGuard:
    """Outermost ASGI layer: serves each request in a task of its own and cancels that task on disconnect."""

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
        self._scope = scope
        self._receive = receive
        self._send = send
        self._stall_timeout = stall_timeout
        self._body_received = asyncio.Event()
        self._disconnected = asyncio.Event()
        self._response_complete = False
        self._work = asyncio.ensure_future(app(scope, self._watched_receive, self._timed_send))

    async def serve(self) -> None:
        watcher = asyncio.ensure_future(self._watch())
        try:
            await asyncio.wait({self._work, watcher}, return_when=asyncio.FIRST_COMPLETED)
            if self._response_complete:
                await asyncio.wait({self._work})
        finally:
            watcher.cancel()
            self._work.cancel()
            await asyncio.gather(self._work, watcher, return_exceptions=True)
            for closer in reversed(self._scope.get(_CLOSERS, [])):
                await closer()
        if not self._work.cancelled():
            self._work.result()

    async def _watched_receive(self) -> Mapping[str, Any]:
        if self._body_received.is_set():
            await self._disconnected.wait()
            return {"type": "http.disconnect"}
        message = await self._receive()
        if message["type"] == "http.disconnect":
            self._disconnected.set()
            self._body_received.set()
        elif not message.get("more_body", False):
            self._body_received.set()
        return message

    async def _watch(self) -> None:
        await self._body_received.wait()
        while not self._disconnected.is_set():
            if (await self._receive())["type"] == "http.disconnect":
                self._disconnected.set()

    async def _timed_send(self, message: Message) -> None:
        """Send, but give up on a client that accepts nothing for the stall timeout."""
        if message["type"] == "http.response.body" and not message.get("more_body", False):
            self._response_complete = True
        stalled = asyncio.get_running_loop().call_later(self._stall_timeout, self._work.cancel)
        try:
            await self._send(message)
        finally:
            stalled.cancel()
