"""Reasoning between tags before an answer."""

from __future__ import annotations

from enum import Enum, auto

from llmcore_server.assistant.events import Event, Parser, Thought, overlap

Tags = tuple[str, str]
# DeepSeek-R1's, Qwen 3's and others'; Seed-OSS's; Mistral's.
TAGS: tuple[Tags, ...] = (
    ("<think>", "</think>"),
    ("<seed:think>", "</seed:think>"),
    ("[THINK]", "[/THINK]"),
)


class _Place(Enum):
    BEFORE = auto()
    INSIDE = auto()
    BEHIND = auto()
    ANSWER = auto()


class ThinkParser:
    """Splits reasoning off; what follows goes to the parser of the answer. White space around the tags is
    nobody's."""

    def __init__(self, answer: Parser, begins_inside: bool, tags: Tags = TAGS[0]) -> None:
        """``begins_inside``: the prompt ends with the opening tag."""
        self._answer = answer
        self._opened, self._closed = tags
        self._place = _Place.INSIDE if begins_inside else _Place.BEFORE
        self._held = ""
        self._said = False

    @property
    def thinking(self) -> bool:
        return self._place is _Place.INSIDE

    def push(self, text: str) -> list[Event]:
        if self._place is _Place.ANSWER:
            return self._answer.push(text)
        self._held += text
        events: list[Event] = []
        if self._place is _Place.BEFORE:
            self._begin()
        if self._place is _Place.INSIDE:
            events += self._think()
        if self._place is _Place.BEHIND and (left := self._held.lstrip()):
            self._place, self._held = _Place.ANSWER, left
        if self._place is _Place.ANSWER and self._held:
            events += self._answer.push(self._held)
            self._held = ""
        return events

    def finish(self) -> list[Event]:
        events: list[Event] = []
        if self._place is _Place.INSIDE and (thought := self._thought(self._held.rstrip())):
            events.append(Thought(thought))
        elif self._place is _Place.BEFORE and self._held:
            events += self._answer.push(self._held)
        self._held = ""
        return events + self._answer.finish()

    def _begin(self) -> None:
        text = self._held.lstrip()
        if text.startswith(self._opened):
            self._place, self._held = _Place.INSIDE, text[len(self._opened) :]
        elif not self._opened.startswith(text):
            self._place = _Place.ANSWER

    def _think(self) -> list[Event]:
        inside, closed, behind = self._held.partition(self._closed)
        if closed:
            self._place, self._held = _Place.BEHIND, behind
            thought = self._thought(inside.rstrip())
        else:
            ready = inside[: len(inside) - overlap(inside, self._closed)].rstrip()
            thought, self._held = self._thought(ready), inside[len(ready) :]
        return [Thought(thought)] if thought else []

    def _thought(self, text: str) -> str:
        if not self._said:
            text = text.lstrip()
            self._said = bool(text)
        return text
