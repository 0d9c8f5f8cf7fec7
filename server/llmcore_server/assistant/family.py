"""Which format a model writes its reasoning and its calls in, told by its chat template and vocabulary."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from llmcore_server.assistant import (
    harmony,
    json_calls,
    mistral_calls,
    named_calls,
    parameter_calls,
    tagged_calls,
    think,
)
from llmcore_server.assistant.events import Parser, Plain
from llmcore_server.assistant.harmony import Harmony
from llmcore_server.assistant.json_calls import JsonCalls
from llmcore_server.assistant.mistral_calls import MistralCalls
from llmcore_server.assistant.named_calls import NamedCalls
from llmcore_server.assistant.parameter_calls import ParameterCalls
from llmcore_server.assistant.tagged_calls import TaggedCalls
from llmcore_server.assistant.think import ThinkParser
from llmcore_server.engine_protocol import Tokenizer

Calls = Literal["tagged", "parameters", "json", "mistral", "named", "harmony"]
_TAGS = (tagged_calls.OPEN, tagged_calls.CLOSE)
_SEED_TAGS = ("<seed:tool_call>", "</seed:tool_call>")
_MARKS: dict[Calls, tuple[str, ...]] = {
    "tagged": (),
    "parameters": (),
    "json": (json_calls.PYTHON_TAG, json_calls.CALL_TAG, json_calls.CALL_END),
    "mistral": (mistral_calls.MARK, mistral_calls.ARGUMENTS, mistral_calls.CALL_ID),
    "named": (),
    "harmony": harmony.MARKS,
}


@dataclass(frozen=True)
class Family:
    """A model's formats. ``thoughts``: the tags of the reasoning that its answers may begin with; ``tags``:
    those around its calls, where they have some."""

    calls: Calls
    thoughts: think.Tags | None = None
    tags: tuple[str, ...] = ()

    def marks(self, with_tools: bool) -> tuple[str, ...]:
        """The control tokens that structure an answer."""
        calls = (*_MARKS[self.calls], *self.tags) if with_tools or self.calls == "harmony" else ()
        return (*calls, *(self.thoughts or ()))

    def opening(self, begins_inside: bool, call: bool) -> str:
        """What precedes an answer that must have a form: the end of reasoning, the mark of a call."""
        if self.calls == "harmony":
            return f"{harmony.CHANNEL}final{harmony.MESSAGE}"
        closed = f"\n\n{self.thoughts[1]}\n\n" if begins_inside and self.thoughts else ""
        return closed + (f"{tagged_calls.OPEN}\n" if call and self.calls == "tagged" else "")

    def parser(self, functions: Mapping[str, Mapping[str, Any]], begins_inside: bool) -> Parser:
        """A parser for one answer; ``functions``: their parameters' schemas by name, of those it may call."""
        if self.calls == "harmony":
            return Harmony()
        answer = self._call_parser(functions) if functions else Plain()
        return ThinkParser(answer, begins_inside, self.thoughts) if self.thoughts else answer

    def _call_parser(self, functions: Mapping[str, Mapping[str, Any]]) -> Parser:
        if self.calls == "json":
            return JsonCalls(functions)
        if self.calls == "named":
            return NamedCalls(functions)
        if self.calls == "parameters":
            return ParameterCalls(functions, self.tags)
        return MistralCalls() if self.calls == "mistral" else TaggedCalls()


def family_of(tokenizer: Tokenizer) -> Family:
    """Return the formats of a model; one whose template names no call format is taught the tagged one."""
    source = tokenizer.chat_template or ""
    if harmony.CHANNEL in source and harmony.MESSAGE in source:
        return Family("harmony")
    thoughts = next((tags for tags in think.TAGS if _closes(tags, source, tokenizer)), None)
    if tokenizer.takes_tools and parameter_calls.FUNCTION in source and parameter_calls.PARAMETER in source:
        return Family("parameters", thoughts, _SEED_TAGS if _SEED_TAGS[0] in source else _TAGS)
    if tagged_calls.OPEN in source or not tokenizer.takes_tools:
        return Family("tagged", thoughts, _TAGS)
    if mistral_calls.MARK in source:
        return Family("mistral", thoughts)
    if named_calls.OBSERVATION in source:
        return Family("named", thoughts)
    return Family("json", thoughts)


def _closes(tags: think.Tags, source: str, tokenizer: Tokenizer) -> bool:
    return tags[1] in source or tokenizer.special_token(tags[1]) is not None
