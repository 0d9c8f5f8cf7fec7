"""What a model's text turns out to be, piece by piece."""

from __future__ import annotations

from typing import NamedTuple, Protocol, TypeAlias


class Words(NamedTuple):
    """A piece of the answer."""

    text: str


class Thought(NamedTuple):
    """A piece of the reasoning that precedes the answer."""

    text: str


class CallBegun(NamedTuple):
    """A call of a function; ``number`` counts an answer's calls from 0."""

    number: int
    name: str


class CallArguments(NamedTuple):
    """A piece of a call's arguments, which together are JSON text."""

    number: int
    text: str


Event: TypeAlias = Words | Thought | CallBegun | CallArguments


class Parser(Protocol):
    """Reads a text as it arrives; how it is cut into pieces never changes what its events say together."""

    @property
    def thinking(self) -> bool:
        """Whether the text so far ends within reasoning."""

    def push(self, text: str) -> list[Event]: ...

    def finish(self) -> list[Event]:
        """The text is complete: what was held back."""


class Plain:
    """All text is the answer."""

    thinking = False

    def push(self, text: str) -> list[Event]:
        return [Words(text)] if text else []

    def finish(self) -> list[Event]:
        return []


def overlap(text: str, tag: str) -> int:
    """Return how many characters at the end of ``text`` may be the beginning of ``tag``."""
    for length in range(min(len(tag) - 1, len(text)), 0, -1):
        if text.endswith(tag[:length]):
            return length
    return 0
