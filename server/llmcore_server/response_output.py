"""The output of ``/v1/responses``: items, and the events that tell how they grow."""

from __future__ import annotations

import uuid
from typing import Any

from llmcore_server.assistant.events import CallArguments, CallBegun, Event, Thought, Words

Wire = dict[str, Any]


class ResponseOutput:
    """Builds the items of one response from what the model says; each step returns events for a stream.

    Events lack their ``sequence_number``, which belongs to the stream.
    """

    def __init__(self) -> None:
        self.items: list[dict[str, Any]] = []
        self._open: type | None = None

    def take(self, event: Event) -> list[Wire]:
        """Add what an event says."""
        if isinstance(event, CallBegun):
            return [*self.close("completed"), *self._begin_call(event.name)]
        if isinstance(event, CallArguments):
            self._item["arguments"] += event.text
            return [self._told("response.function_call_arguments.delta", delta=event.text)]
        events: list[Wire] = []
        if self._open is not type(event):
            events += self.close("completed")
            events += self._begin_text(type(event))
        self._part["text"] += event.text
        logprobs: Wire = {"logprobs": []} if isinstance(event, Words) else {}
        kind = f"response.{self._part['type']}.delta"
        return [*events, self._told(kind, content_index=0, delta=event.text, **logprobs)]

    def close(self, status: str) -> list[Wire]:
        """End the item that grows, if one does."""
        if self._open is None:
            return []
        opened, self._open = self._open, None
        item = self._item
        item["status"] = status
        if opened is CallBegun:
            said = {"name": item["name"], "arguments": item["arguments"]}
            events = [self._told("response.function_call_arguments.done", **said)]
        else:
            part = self._part
            logprobs: Wire = {"logprobs": []} if opened is Words else {}
            events = [
                self._told(f"response.{part['type']}.done", content_index=0, text=part["text"], **logprobs),
                self._told("response.content_part.done", content_index=0, part=part),
            ]
        return [*events, self._item_event("response.output_item.done")]

    @property
    def _item(self) -> dict[str, Any]:
        return self.items[-1]

    @property
    def _part(self) -> dict[str, Any]:
        part: dict[str, Any] = self._item["content"][0]
        return part

    def _begin_call(self, name: str) -> list[Wire]:
        item = {"id": _new_id("fc"), "type": "function_call", "call_id": _new_id("call")}
        self.items.append({**item, "name": name, "arguments": "", "status": "in_progress"})
        self._open = CallBegun
        return [self._item_event("response.output_item.added")]

    def _begin_text(self, kind: type) -> list[Wire]:
        if kind is Thought:
            item: dict[str, Any] = {"id": _new_id("rs"), "type": "reasoning", "summary": []}
            part: dict[str, Any] = {"type": "reasoning_text", "text": ""}
        else:
            item = {"id": _new_id("msg"), "type": "message", "role": "assistant"}
            part = {"type": "output_text", "text": "", "annotations": [], "logprobs": []}
        self.items.append({**item, "status": "in_progress", "content": []})
        self._open = kind
        added = self._item_event("response.output_item.added")
        self._item["content"].append(part)
        return [added, self._told("response.content_part.added", content_index=0, part=dict(part))]

    def _told(self, kind: str, **fields: Any) -> Wire:
        place = {"item_id": self._item["id"], "output_index": len(self.items) - 1}
        return {"type": kind, **place, **fields}

    def _item_event(self, kind: str) -> Wire:
        item = dict(self._item)
        if "content" in item:
            item["content"] = [dict(part) for part in item["content"]]
        return {"type": kind, "output_index": len(self.items) - 1, "item": item}


def _new_id(prefix: str) -> str:
    return f"{prefix}_{uuid.uuid4().hex[:24]}"
