"""Mistral's calls: ``[TOOL_CALLS][{"name": …, "arguments": …}, …]``, later ``[TOOL_CALLS]name[ARGS]{…}``."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Any

from llmcore_server.assistant.events import CallArguments, CallBegun, Event, Words, overlap
from llmcore_server.assistant.held_text import HeldTextParser
from llmcore_server.assistant.json_scan import CallObject, JsonValue

MARK, ARGUMENTS = "[TOOL_CALLS]", "[ARGS]"
CALL_ID = "[CALL_ID]"
_ID_LENGTH = 9
_BETWEEN = "], \t\r\n"


def with_short_ids(messages: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return messages whose calls have ids of nine letters and digits: their templates take no other."""
    renamed = []
    for message in messages:
        changed = dict(message)
        if calls := message.get("tool_calls"):
            changed["tool_calls"] = [{**call, "id": _short(call["id"])} for call in calls]
        if call_id := message.get("tool_call_id"):
            changed["tool_call_id"] = _short(call_id)
        renamed.append(changed)
    return renamed


def _short(call_id: str) -> str:
    if len(call_id) == _ID_LENGTH and call_id.isascii() and call_id.isalnum():
        return call_id
    return hashlib.sha256(call_id.encode("utf-8", "surrogatepass")).hexdigest()[:_ID_LENGTH]


class MistralCalls(HeldTextParser):
    """Words up to the mark, calls behind it."""

    thinking = False

    def __init__(self) -> None:
        super().__init__()
        self._calls = 0
        self._marked = False
        self._call: CallObject | None = None
        self._arguments: JsonValue | None = None

    def _read(self) -> list[Event]:
        if not self._marked:
            return self._read_words()
        if self._call is not None:
            return self._read_object(self._call)
        if self._arguments is not None:
            return self._read_arguments(self._arguments)
        return self._begin()

    def finish(self) -> list[Event]:
        left = self._held
        if self._call is not None:
            left = "" if self._call.begun else MARK + self._call.raw
        elif self._arguments is not None or (self._marked and not left.strip(_BETWEEN + "[")):
            left = ""
        elif self._marked and not self._calls:
            left = MARK + left
        self._held = ""
        return [Words(left)] if left else []

    def _state(self) -> object:
        return len(self._held), self._marked, self._call, self._arguments

    def _read_words(self) -> list[Event]:
        words, marked, behind = self._held.partition(MARK)
        if marked:
            self._marked, self._held = True, behind
            words = words.rstrip()
        else:
            words = words[: len(words) - overlap(words, MARK)].rstrip()
            self._held = self._held[len(words) :]
        return [Words(words)] if words else []

    def _begin(self) -> list[Event]:
        """Begin an object, or a name with its arguments behind it."""
        text = self._held.lstrip(_BETWEEN)
        while not MARK.startswith(text) and text.startswith((MARK, "[")):
            text = text.removeprefix(MARK if text.startswith(MARK) else "[").lstrip(_BETWEEN)
        if MARK.startswith(text):
            return []
        if text[0] == "{":
            self._held, self._call = text, CallObject(self._calls)
            return []
        name, brace, _ = text.partition("{")
        if not brace:
            return []
        self._held = text[len(name) :]
        self._arguments = JsonValue()
        name = name.partition(ARGUMENTS)[0].partition(CALL_ID)[0].strip()
        return [CallBegun(self._calls, name)]

    def _read_object(self, call: CallObject) -> list[Event]:
        events, self._held = call.push(self._held)
        if call.begun and (call.done or call.broken):
            self._calls += 1
        elif call.broken:
            events.append(Words(MARK + call.raw))
        if call.done or call.broken:
            self._call = None
        return events

    def _read_arguments(self, scanner: JsonValue) -> list[Event]:
        for place, char in enumerate(self._held):
            if scanner.push(char):
                said, self._held = self._held[: place + 1], self._held[place + 1 :]
                self._arguments = None
                self._calls += 1
                return [CallArguments(self._calls - 1, said)]
        said, self._held = self._held, ""
        return [CallArguments(self._calls, said)]
