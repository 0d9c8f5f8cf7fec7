"""Which format a model writes its reasoning and its calls in, told by its chat template and vocabulary."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from llmcore_server.assistant import (
    harmony,
    json_calls,
    mistral_calls,
    named_calls,
    tagged_calls,
    think,
)
from llmcore_server.assistant.events import Parser, Plain
from llmcore_server.assistant.harmony import Harmony
from llmcore_server.assistant.json_calls import JsonCalls
from llmcore_server.assistant.mistral_calls import MistralCalls
from llmcore_server.assistant.named_calls import NamedCalls
from llmcore_server.assistant.tagged_calls import TaggedCalls
from llmcore_server.assistant.think import ThinkParser
from llmcore_server.engine_protocol import Tokenizer

Calls = Literal["tagged", "json", "mistral", "named", "harmony"]
_MARKS: dict[Calls, tuple[str, ...]] = {
    "tagged": (tagged_calls.OPEN, tagged_calls.CLOSE),
    "json": (json_calls.PYTHON_TAG, json_calls.CALL_TAG, json_calls.CALL_END),
    "mistral": (mistral_calls.MARK, mistral_calls.ARGUMENTS, mistral_calls.CALL_ID),
    "named": (),
    "harmony": harmony.MARKS,
}


@dataclass(frozen=True)
class Family:
    """A model's formats; ``thinks`` is whether its answers may begin with reasoning between tags."""

    calls: Calls
    thinks: bool

    def marks(self, with_tools: bool) -> tuple[str, ...]:
        """The control tokens that structure an answer."""
        calls = _MARKS[self.calls] if with_tools or self.calls == "harmony" else ()
        return (*calls, think.OPEN, think.CLOSE) if self.thinks else calls

    def opening(self, begins_inside: bool, call: bool) -> str:
        """What precedes an answer that must have a form: the end of reasoning, the mark of a call."""
        if self.calls == "harmony":
            return f"{harmony.CHANNEL}final{harmony.MESSAGE}"
        closed = f"\n\n{think.CLOSE}\n\n" if begins_inside else ""
        return closed + (f"{tagged_calls.OPEN}\n" if call and self.calls == "tagged" else "")

    def parser(self, names: Sequence[str], begins_inside: bool) -> Parser:
        """A parser for one answer; ``names`` are the functions it may call, none if it may call none."""
        if self.calls == "harmony":
            return Harmony()
        answer = self._call_parser(names) if names else Plain()
        return ThinkParser(answer, begins_inside) if self.thinks else answer

    def _call_parser(self, names: Sequence[str]) -> Parser:
        if self.calls == "json":
            return JsonCalls(names)
        if self.calls == "named":
            return NamedCalls(names)
        return MistralCalls() if self.calls == "mistral" else TaggedCalls()


def family_of(tokenizer: Tokenizer) -> Family:
    """Return the formats of a model; one whose template names no call format is taught the tagged one."""
    source = tokenizer.chat_template or ""
    if harmony.CHANNEL in source and harmony.MESSAGE in source:
        return Family("harmony", thinks=False)
    thinks = think.CLOSE in source or tokenizer.special_token(think.CLOSE) is not None
    if tagged_calls.OPEN in source or not tokenizer.takes_tools:
        return Family("tagged", thinks)
    if mistral_calls.MARK in source:
        return Family("mistral", thinks)
    if named_calls.OBSERVATION in source:
        return Family("named", thinks)
    return Family("json", thinks)
