"""gpt-oss's channels: ``<|channel|>analysis<|message|>…<|end|>``, then ``<|start|>assistant`` and the next.

Reasoning is in the channel ``analysis``, the answer in ``final``, calls in ``commentary`` with a recipient
``to=functions.NAME`` (OpenAI's Harmony response format).
"""

from __future__ import annotations

import re

from llmcore_server.assistant.events import (
    CallArguments,
    CallBegun,
    Event,
    Thought,
    Words,
    overlap,
)
from llmcore_server.assistant.held_text import HeldTextParser

START, CHANNEL, MESSAGE, END = "<|start|>", "<|channel|>", "<|message|>", "<|end|>"
CONSTRAIN = "<|constrain|>"
MARKS = (START, CHANNEL, MESSAGE, END, CONSTRAIN)
# In characters; real ones name a role, a channel, a recipient and a format.
_LONGEST_HEADER = 4096
_HEADER_BEGINNINGS = (CHANNEL, START, " to=", "to=")
_RECIPIENT = re.compile(r"to=functions\.([A-Za-z0-9_.-]+)")
_NAME = re.compile(re.escape(CHANNEL) + r"\s*(\w+)")


class Harmony(HeldTextParser):
    """Splits an answer's messages by their headers; begins behind the prompt's ``<|start|>assistant``."""

    def __init__(self) -> None:
        super().__init__()
        self._calls = 0
        self._first = True
        self._in_header = True
        self._channel = "final"
        self._called = False
        self._said = False

    @property
    def thinking(self) -> bool:
        return not self._in_header and self._channel == "analysis"

    def _read(self) -> list[Event]:
        return self._read_header() if self._in_header else self._read_body()

    def finish(self) -> list[Event]:
        events: list[Event] = []
        if not self._in_header:
            if self._held:
                events.append(self._body(self._held))
            events += self._ended()
        elif self._first and self._held:
            events.append(Words(self._held))
        self._held = ""
        return events

    def _state(self) -> object:
        return len(self._held), self._in_header

    def _read_header(self) -> list[Event]:
        if self._first and not any(
            mark.startswith(self._held) or self._held.startswith(mark) for mark in _HEADER_BEGINNINGS
        ):
            # No header at all: the model answers without its format.
            self._first = self._in_header = False
            return []
        header, found, behind = self._held.partition(MESSAGE)
        if len(header) > _LONGEST_HEADER + (0 if found else len(MESSAGE)):
            return self._give_up()
        if not found:
            return []
        self._held, self._first, self._in_header, self._said = behind, False, False, False
        channel, recipient = _NAME.search(header), _RECIPIENT.search(header)
        self._channel = channel[1] if channel else "final"
        self._called = recipient is not None and self._channel != "analysis"
        if recipient is not None and self._called:
            self._calls += 1
            return [CallBegun(self._calls - 1, recipient[1])]
        return []

    def _give_up(self) -> list[Event]:
        """What is no header after all is part of the answer."""
        self._first, self._in_header, self._channel, self._called = False, False, "final", False
        return []

    def _read_body(self) -> list[Event]:
        places = [(place, mark) for mark in (END, START) if (place := self._held.find(mark)) >= 0]
        if not places:
            kept = max(overlap(self._held, END), overlap(self._held, START))
            ready = self._held[: len(self._held) - kept]
            self._held = self._held[len(ready) :]
            return [self._body(ready)] if ready else []
        place, mark = min(places)
        ready, self._held = self._held[:place], self._held[place + len(mark) :]
        events = [self._body(ready)] if ready else []
        self._in_header = True
        return events + self._ended()

    def _body(self, text: str) -> Event:
        self._said = True
        if self._called:
            return CallArguments(self._calls - 1, text)
        return Thought(text) if self._channel == "analysis" else Words(text)

    def _ended(self) -> list[Event]:
        return [CallArguments(self._calls - 1, "{}")] if self._called and not self._said else []
