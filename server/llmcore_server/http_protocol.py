"""uvicorn's HTTP protocol with what a public port needs: heads bounded in size and time, errors in shape."""

from __future__ import annotations

import asyncio
from typing import Any

import msgspec
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

from llmcore_server.errors import ApiError

_REASONS = {400: "Bad Request", 431: "Request Header Fields Too Large"}


class BoundedHttpProtocol(HttpToolsProtocol):
    """Closes a connection whose request line and headers are too long, or take too long to arrive."""

    max_head_bytes = 64 * 1024
    head_timeout = 30.0

    _head_bytes = 0
    _in_head = True
    _head_timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._start_timer()

    def connection_lost(self, exc: Exception | None) -> None:
        self._stop_timer()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        if self._in_head and self.parser is not None and not self.transport.is_closing():
            # What httptools holds back until a header is complete.
            self._head_bytes += len(data)
            if self._head_bytes > self.max_head_bytes:
                self.send_400_response("")

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self._head_bytes, self._in_head = 0, True
        self._start_timer()

    def on_url(self, url: bytes) -> None:
        super().on_url(url)
        self._count(len(url))

    def on_header(self, name: bytes, value: bytes) -> None:
        super().on_header(name, value)
        self._count(len(name) + len(value) + 4)

    def on_headers_complete(self) -> None:
        self._in_head, self._head_bytes = False, 0
        self._stop_timer()
        super().on_headers_complete()
        if self.parser.get_http_version() != "1.1" and self.cycle.scope is self.scope:
            _send_unchunked(self.cycle)

    def send_400_response(self, msg: str) -> None:
        """Refuse what is no request this server reads, in the documented shape, and close."""
        del msg
        error = ApiError("HEADERS_TOO_LARGE" if self._head_bytes > self.max_head_bytes else "MALFORMED_HTTP")
        body = msgspec.json.encode(error.native_body("zh"))
        head = (
            f"HTTP/1.1 {error.status} {_REASONS[error.status]}\r\ncontent-type: application/json\r\n"
            f"content-length: {len(body)}\r\nconnection: close\r\n\r\n"
        )
        self.transport.write(head.encode("ascii") + body)
        self.transport.close()

    def _count(self, size: int) -> None:
        self._head_bytes += size
        if self._head_bytes > self.max_head_bytes:
            raise ValueError("the head of the request is too long")  # Ends the parsing; answered above.

    def _start_timer(self) -> None:
        if self._head_timer is None:
            self._head_timer = self.loop.call_later(self.head_timeout, self.transport.close)

    def _stop_timer(self) -> None:
        if self._head_timer is not None:
            self._head_timer.cancel()
            self._head_timer = None


def _send_unchunked(cycle: RequestResponseCycle) -> None:
    """Let the connection's end be that of a body of unknown length: before HTTP/1.1 there were no chunks."""
    send, unsized = cycle.send, False

    async def send_plainly(message: Any) -> None:
        nonlocal unsized
        if message["type"] == "http.response.start":
            unsized = all(name.lower() != b"content-length" for name, _ in message.get("headers", ()))
            if unsized:
                cycle.chunked_encoding = False
        elif unsized:
            cycle.expected_content_length = len(message.get("body", b""))
        await send(message)

    cycle.send = send_plainly  # type: ignore[method-assign]


def bounded_protocol(max_head_bytes: int, head_timeout: float) -> type[Any]:
    """Return the protocol with these bounds, in bytes and seconds."""
    bounds = {"max_head_bytes": max_head_bytes, "head_timeout": head_timeout}
    return type("BoundedHttpProtocol", (BoundedHttpProtocol,), bounds)
