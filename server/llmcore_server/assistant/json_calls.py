"""Calls without tags: the answer is ``{"name": …, "parameters": …}`` (Llama 3, Phi-4-mini, forced calls)."""

from __future__ import annotations

from collections.abc import Collection

from llmcore_server.assistant.events import Event, Parser, Plain, Words
from llmcore_server.assistant.held_text import HeldTextParser
from llmcore_server.assistant.json_scan import CallObject

PYTHON_TAG = "<|python_tag|>"
# Phi-4-mini's, around a list of calls.
CALL_TAG, CALL_END = "<|tool_call|>", "<|/tool_call|>"
_BETWEEN = "],; \t\r\n"


class JsonCalls(HeldTextParser):
    """A call object, a list of them, or several with ``;`` or white space between; anything else is words."""

    thinking = False

    def __init__(self, names: Collection[str], *, forced: bool = False) -> None:
        """``names``: the functions there are; an object that names another is words. ``forced``: the text is
        a call, so that one which is cut before its name has said nothing."""
        super().__init__()
        self._names = names
        self._forced = forced
        self._calls = 0
        self._call: CallObject | None = None
        self._before = ""
        self._words: Parser | None = None

    def push(self, text: str) -> list[Event]:
        return self._words.push(text) if self._words is not None else super().push(text)

    def _read(self) -> list[Event]:
        if self._words is not None:
            words, self._held = self._held, ""
            return self._words.push(words)
        if self._call is not None:
            return self._read_call(self._call)
        self._begin()
        return []

    def finish(self) -> list[Event]:
        left = self._held
        if self._call is not None:
            left = "" if self._call.begun or self._forced else self._before + self._call.raw + left
        elif (self._calls or self._forced) and not left.replace(CALL_END, "").strip(_BETWEEN):
            left = ""
        self._held, self._call = "", None
        return [Words(left)] if left else []

    def _state(self) -> object:
        return len(self._held), self._call, self._words

    def _begin(self) -> None:
        text = self._held.lstrip(_BETWEEN if self._calls else None)
        for mark in () if self._calls else (PYTHON_TAG, CALL_TAG, "["):
            text = text.removeprefix(mark).lstrip()
        if not text or any(mark.startswith(text) for mark in (PYTHON_TAG, CALL_TAG, CALL_END)):
            return
        if text.startswith("{"):
            self._before = self._held[: len(self._held) - len(text)]
            self._held, self._call = text, CallObject(self._calls, self._names)
        elif not self._calls or not text.startswith(CALL_END):
            self._words = Plain()

    def _read_call(self, call: CallObject) -> list[Event]:
        events, self._held = call.push(self._held)
        if call.begun and (call.done or call.broken):
            self._calls += 1
            self._call = None
        elif call.broken:
            self._held = self._before + call.raw + self._held
            self._words, self._call = Plain(), None
        return events
