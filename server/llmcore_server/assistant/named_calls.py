"""GLM-4's calls: the function's name on a line of its own, its arguments as JSON on the next."""

from __future__ import annotations

from collections.abc import Collection

from llmcore_server.assistant.events import CallArguments, CallBegun, Event, Parser, Plain, Words
from llmcore_server.assistant.json_scan import JsonValue

# The turn of what a call brings, which ends the model's own.
OBSERVATION = "<|observation|>"


class NamedCalls:
    """One call, if the first line is the name of a function there is; anything else is words."""

    thinking = False

    def __init__(self, names: Collection[str]) -> None:
        self._names = names
        self._held = ""
        self._arguments: JsonValue | None = None
        self._rest: Parser | None = None

    def push(self, text: str) -> list[Event]:
        if self._rest is not None:
            return self._rest.push(text)
        self._held += text
        events = self._begin() if self._arguments is None else []
        if self._arguments is not None:
            return events + self._read(self._arguments)
        return events

    def finish(self) -> list[Event]:
        left, self._held = self._held, ""
        return [Words(left)] if left and self._arguments is None else []

    def _begin(self) -> list[Event]:
        name, line_end, behind = self._held.lstrip().partition("\n")
        name, arguments = name.rstrip(), behind.lstrip()
        if line_end:
            is_call = name in self._names and arguments[:1] in ("", "{")
        else:
            is_call = any(one.startswith(name) for one in self._names)
        if not is_call:
            self._rest, said, self._held = Plain(), self._held, ""
            return [Words(said)]
        if not arguments:
            return []
        self._held, self._arguments = arguments, JsonValue()
        return [CallBegun(0, name)]

    def _read(self, scanner: JsonValue) -> list[Event]:
        for place, char in enumerate(self._held):
            if scanner.push(char):
                said, behind = self._held[: place + 1], self._held[place + 1 :]
                self._held, self._rest = "", _Silence()
                return [CallArguments(0, said), *self._rest.push(behind)]
        said, self._held = self._held, ""
        return [CallArguments(0, said)] if said else []


class _Silence:
    """Nothing that follows a call is part of the answer."""

    thinking = False

    def push(self, text: str) -> list[Event]:  # noqa: ARG002
        return []

    def finish(self) -> list[Event]:
        return []
