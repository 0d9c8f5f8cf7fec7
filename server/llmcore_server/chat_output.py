"""What a model says as messages of ``/v1/chat/completions``, and as their pieces."""

from __future__ import annotations

import uuid
from collections.abc import Iterable
from typing import Any

from llmcore_server.assistant.events import CallBegun, Event, Thought, Words


def chat_message(events: Iterable[Event], *, legacy: bool = False, forced: bool = False) -> dict[str, Any]:
    """Return the message that these events make: no content beside calls, no calls where there are none.

    legacy: the client knows one ``function_call``, not tools. forced: it would have been a call.
    """
    words, thoughts = "", ""
    calls: list[dict[str, Any]] = []
    for event in events:
        if isinstance(event, Words):
            words += event.text
        elif isinstance(event, Thought):
            thoughts += event.text
        elif isinstance(event, CallBegun):
            calls.append(_new_call(event.name))
        else:
            calls[event.number]["function"]["arguments"] += event.text
    message: dict[str, Any] = {
        "role": "assistant",
        "content": words or None if forced else words,
        "refusal": None,
    }
    if thoughts:
        message["reasoning_content"] = thoughts
    if calls:
        told = {"function_call": calls[0]["function"]} if legacy else {"tool_calls": calls}
        message |= {"content": words or None, **told}
    return message


def chat_delta(event: Event, *, legacy: bool = False) -> dict[str, Any]:
    """Return one event as a chunk's delta; a call's id and name come once, in its first."""
    if isinstance(event, Words):
        return {"content": event.text}
    if isinstance(event, Thought):
        return {"reasoning_content": event.text}
    if isinstance(event, CallBegun):
        call = _new_call(event.name)
        return {"function_call": call["function"]} if legacy else _fragment(event.number, call)
    arguments = {"arguments": event.text}
    return {"function_call": arguments} if legacy else _fragment(event.number, {"function": arguments})


def _fragment(number: int, fields: dict[str, Any]) -> dict[str, Any]:
    return {"tool_calls": [{"index": number, **fields}]}


def _new_call(name: str) -> dict[str, Any]:
    call_id = f"call_{uuid.uuid4().hex[:24]}"
    return {"id": call_id, "type": "function", "function": {"name": name, "arguments": ""}}
