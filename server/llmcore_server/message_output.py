"""The content of Anthropic's messages: blocks, and the events that tell how they grow."""

from __future__ import annotations

import json
import uuid
from typing import Any

from llmcore_server.assistant.events import CallArguments, CallBegun, Event, Thought

Wire = dict[str, Any]


class MessageOutput:
    """Builds the blocks of one message from what the model says; each step returns events for a stream."""

    def __init__(self) -> None:
        self._blocks: list[dict[str, Any]] = []
        self._arguments = ""
        self._open: type | None = None

    @property
    def calls(self) -> bool:
        """Whether a function is called."""
        return any(block["type"] == "tool_use" for block in self._blocks)

    def content(self) -> list[dict[str, Any]]:
        """The blocks that are complete."""
        return list(self._blocks)

    def take(self, event: Event) -> list[Wire]:
        """Add what an event says."""
        if isinstance(event, CallBegun):
            call_id = f"toolu_{uuid.uuid4().hex[:24]}"
            return self._begin(
                CallBegun, {"type": "tool_use", "id": call_id, "name": event.name, "input": {}}
            )
        if isinstance(event, CallArguments):
            self._arguments += event.text
            return [self._grown({"type": "input_json_delta", "partial_json": event.text})]
        name = "thinking" if isinstance(event, Thought) else "text"
        events: list[Wire] = []
        if self._open is not type(event):
            empty = {"type": name, name: "", **({"signature": ""} if name == "thinking" else {})}
            events = self._begin(type(event), empty)
        self._blocks[-1][name] += event.text
        return [*events, self._grown({"type": f"{name}_delta", name: event.text})]

    def close(self) -> list[Wire]:
        """End the block that grows, if one does."""
        if self._open is None:
            return []
        if self._open is CallBegun:
            self._blocks[-1]["input"] = _object(self._arguments)
        self._open, self._arguments = None, ""
        return [{"type": "content_block_stop", "index": len(self._blocks) - 1}]

    def _begin(self, kind: type, block: dict[str, Any]) -> list[Wire]:
        closed = self.close()
        self._open = kind
        self._blocks.append(block)
        start = {"type": "content_block_start", "index": len(self._blocks) - 1, "content_block": dict(block)}
        return [*closed, start]

    def _grown(self, delta: dict[str, Any]) -> Wire:
        return {"type": "content_block_delta", "index": len(self._blocks) - 1, "delta": delta}


def _object(arguments: str) -> dict[str, Any]:
    """Return arguments as an object; those that were cut off, or are none, as an empty one."""
    try:
        value = json.loads(arguments)
    except (ValueError, RecursionError):
        return {}
    return value if isinstance(value, dict) else {}
