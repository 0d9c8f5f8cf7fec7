"""Reads a request's JSON body within its bounds of size, time and type."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import TypeVar

import falcon.asgi
from msgspec import Struct

from llmcore_server.config import ServerConfig
from llmcore_server.errors import ApiError, Text
from llmcore_server.schemas import BodyDecoder

_T = TypeVar("_T", bound=Struct)

# A refused body is read on up to this many times the limit: a client that is still sending when the
# connection closes sees a reset instead of the answer.
_DISCARDED_MULTIPLE = 8

_MOST_LISTED = 16


async def read_request(
    req: falcon.asgi.Request,
    resp: falcon.asgi.Response,
    decoder: BodyDecoder[_T],
    config: ServerConfig,
    *,
    default: _T | None = None,
) -> _T:
    """Return the decoded body; names of fields that were ignored go into ``X-LLMCore-Warnings``.

    default: what no body at all means, where that is allowed.
    """
    media_type = (req.content_type or "application/json").partition(";")[0].strip().lower()
    if media_type != "application/json" and not media_type.endswith("+json"):
        # Also what keeps web pages of other origins from posting without the browser asking first.
        raise ApiError("UNSUPPORTED_MEDIA_TYPE")
    coding = req.get_header("Content-Encoding") or "identity"
    if coding.strip().lower() != "identity":
        plain = Text("请求体不能压缩（Content-Encoding）", "Send the body without a Content-Encoding")
        raise ApiError("UNSUPPORTED_MEDIA_TYPE", plain)
    body = await _read_in_time(req, config)
    if not body and default is not None:
        return default
    request, ignored = decoder.decode(body)
    warn_ignored(resp, ignored)
    return request


def warn_ignored(resp: falcon.asgi.Response, names: Sequence[str]) -> None:
    """Tell the client of parameters that change nothing, besides those it has been told of."""
    if names:
        told = resp.get_header("x-llmcore-warnings")
        listed = ", ".join(names[:_MOST_LISTED])
        if len(names) > _MOST_LISTED:
            listed += f", and {len(names) - _MOST_LISTED} more"
        resp.set_header("x-llmcore-warnings", f"{told}, {listed}" if told else f"ignored: {listed}")


async def _read_in_time(req: falcon.asgi.Request, config: ServerConfig) -> bytes:
    """As asyncio.wait_for, without a task for every body: most are there already."""
    task = asyncio.current_task()
    assert task is not None
    late = False

    def interrupt() -> None:
        nonlocal late
        late = True
        task.cancel()

    timer = asyncio.get_running_loop().call_later(config.body_timeout, interrupt)
    try:
        return await _read(req, config.max_body_bytes)
    except asyncio.CancelledError:
        if not late:
            raise
        # From Python 3.11 on a task counts what cancelled it.
        getattr(task, "uncancel", int)()
        raise ApiError("REQUEST_TIMEOUT") from None
    finally:
        timer.cancel()


async def _read(req: falcon.asgi.Request, limit: int) -> bytes:
    chunks: list[bytes] = []
    size = 0
    async for chunk in req.stream:
        size += len(chunk)
        if size <= limit:
            chunks.append(chunk)
        elif size > _DISCARDED_MULTIPLE * limit:
            break
    if size > limit:
        raise ApiError(
            "PAYLOAD_TOO_LARGE", Text(f"请求体最多 {limit} 字节", f"a request body is at most {limit} bytes")
        )
    return b"".join(chunks)
