"""Calls between tags: ``<tool_call>{"name": …, "arguments": …}</tool_call>`` (Hermes, Qwen 2.5 and 3)."""

from __future__ import annotations

from llmcore_server.assistant.events import Event, Words, overlap
from llmcore_server.assistant.held_text import HeldTextParser
from llmcore_server.assistant.json_scan import CallObject

OPEN, CLOSE = "<tool_call>", "</tool_call>"


class TaggedCalls(HeldTextParser):
    """Words, and calls among them. White space beside a call belongs to its format."""

    thinking = False

    def __init__(self) -> None:
        super().__init__()
        self._calls = 0
        self._call: CallObject | None = None
        self._closing = False

    def _read(self) -> list[Event]:
        if self._call is not None:
            return self._read_call(self._call)
        if self._closing:
            self._close()
            return []
        return self._read_words()

    def finish(self) -> list[Event]:
        left = self._held
        if self._call is not None and not self._call.begun:
            left = OPEN + self._call.raw + left
        elif self._call is not None or self._closing or (self._calls and not left.strip()):
            left = ""
        self._held, self._call = "", None
        return [Words(left)] if left else []

    def _state(self) -> object:
        return len(self._held), self._call, self._closing

    def _read_words(self) -> list[Event]:
        words, opened, behind = self._held.partition(OPEN)
        if opened:
            self._held, self._call = behind, CallObject(self._calls)
            words = words.rstrip()
        else:
            words = words[: len(words) - overlap(words, OPEN)].rstrip()
            self._held = self._held[len(words) :]
        return [Words(words)] if words else []

    def _read_call(self, call: CallObject) -> list[Event]:
        events, self._held = call.push(self._held)
        if call.broken and not call.begun:
            events.append(Words(OPEN + call.raw))
        if call.begun and (call.done or call.broken):
            self._calls += 1
            self._closing = True
        if call.done or call.broken:
            self._call = None
        return events

    def _close(self) -> None:
        """Pass over the closing tag, or do without it."""
        text = self._held.lstrip()
        if text.startswith(CLOSE):
            self._held, self._closing = text[len(CLOSE) :], False
        elif not CLOSE.startswith(text):
            self._closing = False
