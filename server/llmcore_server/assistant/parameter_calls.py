"""Calls whose arguments are tags: ``<function=f><parameter=a>…</parameter></function>``, which the tags of a
call are around (Qwen3-Coder, Seed-OSS)."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from enum import Enum, auto
from typing import Any

from llmcore_server.assistant.events import CallArguments, CallBegun, Event, Words, overlap
from llmcore_server.assistant.held_text import HeldTextParser

FUNCTION, PARAMETER = "<function=", "<parameter="
_FUNCTION_END, _PARAMETER_END = "</function>", "</parameter>"
# What templates write for JSON's words.
_LITERALS = {"True": "true", "False": "false", "None": "null"}
# Levels of a parameter's schema that are looked into for its types.
_MAX_DEPTH = 8


class _Place(Enum):
    WORDS = auto()
    HEAD = auto()
    BODY = auto()
    VALUE = auto()
    TAIL = auto()


class ParameterCalls(HeldTextParser):
    """Words, and calls among them; a function that there is may be called without the outer tags, too.

    Values are text: those of parameters that are strings by the function's schema are passed on as they
    arrive, others at their end, as JSON if they are.
    """

    thinking = False

    def __init__(self, functions: Mapping[str, Mapping[str, Any]], tags: Sequence[str]) -> None:
        """``functions``: their parameters' schemas by name; ``tags``: what is around a call."""
        super().__init__()
        self._functions = functions
        self._opened, self._closed = tags
        self._place = _Place.WORDS
        self._before = ""  # the call that may begin: white space, and its tag
        self._is_tagged = False
        self._calls = 0
        self._name = ""
        self._parameters = 0
        self._is_text = False
        self._value_begun = False

    def finish(self) -> list[Event]:
        left, self._held = self._held, ""
        if self._place is _Place.HEAD:
            return [Words(self._before + left)]
        if self._place is _Place.VALUE:
            value = left[: len(left) - overlap(left, _PARAMETER_END)]
            value = value if self._value_begun else value.removeprefix("\n")
            return self._said(self._escaped(value)) if self._is_text else []
        if self._place is not _Place.WORDS or (self._calls and not left.strip()):
            return []
        return [Words(left)] if left else []

    def _state(self) -> object:
        return len(self._held), self._place

    def _read(self) -> list[Event]:
        match self._place:
            case _Place.WORDS:
                return self._read_words()
            case _Place.HEAD:
                return self._read_head()
            case _Place.BODY:
                return self._read_body()
            case _Place.VALUE:
                return self._read_value()
            case _Place.TAIL:
                return self._read_tail()

    def _read_words(self) -> list[Event]:
        found = [(place, mark) for mark in (self._opened, FUNCTION) if (place := self._held.find(mark)) >= 0]
        if found:
            place, mark = min(found)
            words = self._held[:place].rstrip()
            self._is_tagged = mark == self._opened
            behind = place + len(mark) * self._is_tagged
            self._before, self._held = self._held[len(words) : behind], self._held[behind:]
            self._place = _Place.HEAD
        else:
            longest = max(overlap(self._held, mark) for mark in (self._opened, FUNCTION))
            words = self._held[: len(self._held) - longest].rstrip()
            self._held = self._held[len(words) :]
        return [Words(words)] if words else []

    def _read_head(self) -> list[Event]:
        text = self._held.lstrip()
        name, ended, behind = text.removeprefix(FUNCTION).partition(">")
        if text.startswith(FUNCTION) and "\n" not in name:
            known = name in self._functions
            if ended and (known or self._is_tagged):
                self._held, self._name, self._parameters = behind, name, 0
                self._place = _Place.BODY
                self._calls += 1
                return [CallBegun(self._calls - 1, name)]
            if not ended and (self._is_tagged or any(one.startswith(name) for one in self._functions)):
                return []
        elif FUNCTION.startswith(text):
            return []
        # No call: its beginning is words, and what is behind that may be anything.
        begun = "" if self._is_tagged else FUNCTION
        self._held, self._place = self._held[len(begun) :], _Place.WORDS
        return [Words(self._before + begun)]

    def _read_body(self) -> list[Event]:
        text = self._held.lstrip()
        if text.startswith((_FUNCTION_END, self._closed)):
            self._held, self._place = text.removeprefix(_FUNCTION_END), _Place.TAIL
            return self._said("}" if self._parameters else "{}")
        if text.startswith(PARAMETER):
            key, ended, behind = text[len(PARAMETER) :].partition(">")
            if not ended:
                return []
            self._held, self._place = behind, _Place.VALUE
            self._is_text, self._value_begun = self._takes_text(key), False
            self._parameters += 1
            opening = ("{" if self._parameters == 1 else ", ") + json.dumps(key, ensure_ascii=False) + ": "
            return self._said(opening + '"' * self._is_text)
        # Whatever else stands between parameters is nobody's.
        place = text.find("<", 1)
        if not any(mark.startswith(text) for mark in (_FUNCTION_END, PARAMETER, self._closed)):
            self._held = text[place:] if place >= 0 else ""
        return []

    def _read_value(self) -> list[Event]:
        if not self._value_begun:
            if self._held == "\n":
                return []
            self._held, self._value_begun = self._held.removeprefix("\n"), True
        value, ended, behind = self._held.partition(_PARAMETER_END)
        if ended:
            self._held, self._place = behind, _Place.BODY
            value = value.removesuffix("\n")
            return self._said(self._escaped(value) + '"' if self._is_text else _as_json(value))
        if not self._is_text:
            return []
        ready = value[: len(value) - overlap(value, _PARAMETER_END)].removesuffix("\n")
        self._held = self._held[len(ready) :]
        return self._said(self._escaped(ready))

    def _read_tail(self) -> list[Event]:
        """Pass over the closing tag, or do without it."""
        text = self._held.lstrip()
        if text.startswith(self._closed):
            self._held, self._place = text[len(self._closed) :], _Place.WORDS
        elif not self._closed.startswith(text):
            self._place = _Place.WORDS
        return []

    def _said(self, text: str) -> list[Event]:
        return [CallArguments(self._calls - 1, text)] if text else []

    @staticmethod
    def _escaped(text: str) -> str:
        return json.dumps(text, ensure_ascii=False)[1:-1]

    def _takes_text(self, key: str) -> bool:
        properties = self._functions.get(self._name, {}).get("properties")
        schema = properties.get(key) if isinstance(properties, Mapping) else None
        return set(_types(schema, 0)) == {"string"}


def _types(schema: Any, depth: int) -> Iterator[str]:
    """The types that a schema allows, as far as it names them."""
    if not isinstance(schema, Mapping) or depth > _MAX_DEPTH:
        return
    named = schema.get("type")
    yield from [named] if isinstance(named, str) else named if isinstance(named, list) else []
    for key in ("anyOf", "oneOf"):
        parts = schema.get(key)
        for part in parts if isinstance(parts, list) else []:
            yield from _types(part, depth + 1)


def _as_json(text: str) -> str:
    written = _LITERALS.get(text.strip(), text.strip())
    try:
        json.loads(written, parse_constant=_refuse)
    except ValueError:
        return json.dumps(text, ensure_ascii=False)
    return written


def _refuse(constant: str) -> None:
    raise ValueError(f"{constant} is no JSON")
