"""uvicorn's HTTP protocol with what a public port needs: heads bounded in size and time, errors in shape."""

from __future__ import annotations

import asyncio
import uuid
from http import HTTPStatus
from typing import Any

import msgspec
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

from llmcore_server.errors import ApiError, Text, is_openai_path, preferred_language
from llmcore_server.middleware.request_identity import shown_id
from llmcore_server.route_kinds import is_generating

_CUT = Text("请求不完整", "The request is incomplete")
_LATE = Text("请求行和请求头未及时到达", "The request line and headers did not arrive in time")


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

    def eof_received(self) -> bool:  # type: ignore[override]
        """The client sends no more. Whether it stays to read nobody can tell: what costs little is answered,
        a generation is not. Return whether the connection stays open."""
        if self.parser is None or self.transport.is_closing() or self.pipeline:
            return False
        if self._between_answers:
            if self._in_head and self._head_bytes:
                self._refuse(ApiError("MALFORMED_HTTP", _CUT))
            return False
        cycle = self.cycle
        if cycle.more_body:
            if not cycle.response_started:
                self._refuse(ApiError("MALFORMED_HTTP", _CUT))
                # What serves it need not wait for the rest.
                cycle.disconnected = True
                cycle.message_event.set()
            return False
        if self.scheme != "http" or self._in_head or is_generating(cycle.scope["path"].rstrip("/")):
            return False
        cycle.keep_alive = False
        return True

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
        """Refuse what is no request this server reads."""
        del msg
        self._refuse(
            ApiError("HEADERS_TOO_LARGE" if self._head_bytes > self.max_head_bytes else "MALFORMED_HTTP")
        )

    @property
    def _between_answers(self) -> bool:
        return self.cycle is None or self.cycle.response_complete

    def _refuse(self, error: ApiError) -> None:
        """Answer in the shape that what has arrived of the request asks for, and close."""
        path = getattr(self, "url", b"").partition(b"?")[0].decode("latin-1")
        headers = {name: value.decode("latin-1") for name, value in self.headers or ()}
        body = msgspec.json.encode(error.body(path, preferred_language(headers.get(b"accept-language"))))
        request_id = shown_id(headers.get(b"x-request-id", ""), uuid.uuid4().hex)
        openai = f"request-id: {request_id}\r\n" if is_openai_path(path) else ""
        head = (
            f"HTTP/1.1 {error.status} {HTTPStatus(error.status).phrase}\r\ncontent-type: application/json\r\n"
            f"content-length: {len(body)}\r\nx-request-id: {request_id}\r\n{openai}connection: close\r\n\r\n"
        )
        self.transport.write(head.encode("ascii") + body)
        self.transport.close()

    def _give_up(self) -> None:
        """The head did not arrive in time; who has sent nothing of it is told nothing."""
        if self._head_bytes and self._between_answers and not self.transport.is_closing():
            self._refuse(ApiError("REQUEST_TIMEOUT", _LATE))
        self.transport.close()

    def _count(self, size: int) -> None:
        self._head_bytes += size
        if self._head_bytes > self.max_head_bytes:
            raise ValueError("the head of the request is too long")  # Ends the parsing; answered above.

    def _start_timer(self) -> None:
        if self._head_timer is None:
            self._head_timer = self.loop.call_later(self.head_timeout, self._give_up)

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
