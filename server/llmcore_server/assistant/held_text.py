"""The loop of parsers that hold back text until they know what it is."""

from __future__ import annotations

from abc import ABC, abstractmethod

from llmcore_server.assistant.events import Event


class HeldTextParser(ABC):
    """Reads the held text pass by pass, until none is left or a pass changes nothing."""

    def __init__(self) -> None:
        self._held = ""

    def push(self, text: str) -> list[Event]:
        events: list[Event] = []
        self._held += text
        before: object = None
        while self._held and (state := self._state()) != before:
            before = state
            events += self._read()
        return events

    @abstractmethod
    def _state(self) -> object:
        """What a pass over the held text changes if it gets on."""

    @abstractmethod
    def _read(self) -> list[Event]:
        """One pass: takes from the held text what it is sure of."""
