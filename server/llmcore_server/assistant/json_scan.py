"""JSON as it arrives: where a value ends, and a call's name and arguments within an object."""

from __future__ import annotations

import json
from collections.abc import Collection
from enum import Enum, auto

from llmcore_server.assistant.events import CallArguments, CallBegun, Event

_SPACE = " \t\r\n"


class JsonValue:
    """Finds the end of one object, array or string; pushed from its first character on."""

    def __init__(self) -> None:
        self._depth = 0
        self._in_string = False
        self._escaped = False

    def push(self, char: str) -> bool:
        """Return whether ``char`` is the value's last."""
        if self._in_string:
            if self._escaped:
                self._escaped = False
            elif char == "\\":
                self._escaped = True
            elif char == '"':
                self._in_string = False
                return self._depth == 0
            return False
        if char == '"':
            self._in_string = True
        elif char in "{[":
            self._depth += 1
        elif char in "}]":
            self._depth -= 1
            return self._depth <= 0
        return False


class _Expected(Enum):
    OBJECT = auto()
    KEY = auto()
    COLON = auto()
    VALUE = auto()
    VALUE_END = auto()
    LITERAL_END = auto()
    COMMA = auto()


class CallObject:
    """Reads ``{"name": …, "arguments": {…}}``; keys in any order, ``parameters`` for ``arguments`` too.

    Arguments are passed on as they are written, also while they arrive if the name came first; those that
    are JSON text within a string, as that text. `raw` is what has been read and led to no event yet.
    """

    def __init__(self, index: int, names: Collection[str] | None = None) -> None:
        """``names``: those that make it a call; None for any."""
        self.done = False
        self.broken = False
        self.raw = ""
        self._index = index
        self._names = names
        self._expected = _Expected.OBJECT
        self._key = ""
        self._value = ""
        self._scanner = JsonValue()
        self._begun = False
        self._arguments: str | None = None

    @property
    def begun(self) -> bool:
        """Whether its name has been told."""
        return self._begun

    def push(self, text: str) -> tuple[list[Event], str]:
        """Return events, and what of ``text`` is behind the object, or behind what broke it."""
        events: list[Event] = []
        streamed = ""
        for place, char in enumerate(text):
            if self.done or self.broken:
                rest = text[place:]
                break
            if not self._begun:
                self.raw += char
            streamed += self._read(char, events)
        else:
            rest = ""
        if streamed:
            events.append(CallArguments(self._index, streamed))
        if self.done:
            events += self._closed()
        return events, rest

    def _closed(self) -> list[Event]:
        if self._arguments is None:
            self._arguments = "{}"
            return [CallArguments(self._index, "{}")]
        return []

    def _read(self, char: str, events: list[Event]) -> str:
        """Take one character; return what of the arguments it completes for the client."""
        expected = self._expected
        if expected is _Expected.VALUE_END:
            self._value += char
            ended = self._scanner.push(char)
            streams = self._streams
            if ended:
                self._expected = _Expected.COMMA
                told = self._value_read(events)
                return char if streams else told
            return char if streams else ""
        if expected is _Expected.LITERAL_END and char not in ",}" + _SPACE:
            self._value += char
            return ""
        if expected is _Expected.LITERAL_END:
            self._expected = _Expected.COMMA
            told = self._value_read(events)
            self._structure(char)
            return told
        if char in _SPACE:
            return ""
        return self._structure(char)

    def _structure(self, char: str) -> str:
        """Take a character between values; return it if it begins arguments that are passed on."""
        expected = self._expected
        if char in _SPACE:
            return ""
        if (expected, char) in ((_Expected.OBJECT, "{"), (_Expected.COMMA, ",")):
            self._expected = _Expected.KEY
        elif expected in (_Expected.COMMA, _Expected.KEY) and char == "}":
            self.done = self._begun
            self.broken = not self._begun
        elif expected is _Expected.KEY and char == '"':
            self._start_value(char, key="")
        elif expected is _Expected.COLON and char == ":":
            self._expected = _Expected.VALUE
        elif expected is _Expected.VALUE and char in '{["':
            self._start_value(char, key=self._key)
            return char if self._streams else ""
        elif expected is _Expected.VALUE and (char.isalnum() or char == "-"):
            self._expected, self._value = _Expected.LITERAL_END, char
        else:
            self.broken = True
        return ""

    def _start_value(self, char: str, key: str) -> None:
        self._key, self._value = key, char
        self._scanner = JsonValue()
        self._scanner.push(char)
        self._expected = _Expected.VALUE_END

    @property
    def _streams(self) -> bool:
        """Whether the value at hand is passed on as it arrives."""
        return self._begun and self._is_arguments and self._value[0] in "{["

    @property
    def _is_arguments(self) -> bool:
        return self._key in ("arguments", "parameters") and self._arguments is None

    def _value_read(self, events: list[Event]) -> str:
        """A key or a value is complete; return arguments that can be told now."""
        key, self._key = self._key, ""
        if not key:
            self._key = _unquoted(self._value) or "?"
            self._expected = _Expected.COLON
            return ""
        if key in ("arguments", "parameters") and self._arguments is None:
            streamed = self._begun and self._value[0] in "{["
            said = _unquoted(self._value) if self._value[0] == '"' else self._value
            self._arguments = "{}" if said in ("", "null") else said
            return "" if streamed or not self._begun else self._arguments
        if key == "name" and not self._begun:
            name = _unquoted(self._value) if self._value[0] == '"' else ""
            if not name or (self._names is not None and name not in self._names):
                self.broken = True
                return ""
            self._begun = True
            self.raw = ""
            events.append(CallBegun(self._index, name))
            return self._arguments or ""
        return ""


def _unquoted(value: str) -> str:
    try:
        # Halves of characters, which JSON may hold, can be sent to nobody.
        return str(json.loads(value, strict=False)).encode("utf-8", "replace").decode()
    except (ValueError, RecursionError):
        return value.strip('"')
