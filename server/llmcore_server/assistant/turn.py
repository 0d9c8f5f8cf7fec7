"""One turn of a model: the prompt that asks for it, and the readers of what it says."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from llmcore.errors import InvalidArgumentError
from llmcore_server.assistant.answer_form import (
    AnswerForm,
    forced_call_form,
    form_or_call,
    free_text_or_calls,
)
from llmcore_server.assistant.conversation import Conversation
from llmcore_server.assistant.described_tools import describe_tools
from llmcore_server.assistant.events import CallArguments, CallBegun, Event, Parser, Plain, Thought
from llmcore_server.assistant.family import Family, family_of
from llmcore_server.assistant.json_calls import JsonCalls
from llmcore_server.assistant.mistral_calls import with_short_ids
from llmcore_server.assistant.tagged_calls import TaggedCalls
from llmcore_server.engine_protocol import Delta, MarkedText, Tokenizer

if TYPE_CHECKING:
    from llmcore import SamplingParams

# Tokens at a prompt's end that may hold the tag that opens the reasoning.
_TAIL = 8


class Reader:
    """Makes events of one choice's deltas. ``calls`` counts those begun."""

    def __init__(self, parser: Parser, marked: MarkedText | None, parallel_calls: bool) -> None:
        self._parser = parser
        self._marked = marked
        self._parallel_calls = parallel_calls
        self.reasoning_tokens = 0
        self.calls = 0

    def read(self, delta: Delta) -> list[Event]:
        text = delta.text if self._marked is None else self._marked.push(delta.token_ids)
        if delta.finish_reason is not None and self._marked is not None:
            text += self._marked.flush()
        events = self._parser.push(text) if text else []
        if self._parser.thinking or any(isinstance(event, Thought) for event in events):
            self.reasoning_tokens += len(delta.token_ids)
        if delta.finish_reason is not None:
            events = events + self._parser.finish()
        return [event for event in events if self._wanted(event)]

    def _wanted(self, event: Event) -> bool:
        if not self._parallel_calls and isinstance(event, CallBegun | CallArguments) and event.number > 0:
            return False
        self.calls += isinstance(event, CallBegun)
        return True


@dataclass(frozen=True)
class Turn:
    """What is asked of the engine, and what its answer is read by. ``form``: of the whole answer; ``guard``:
    of the calls in an answer that else is free."""

    prompt: list[int]
    family: Family
    functions: Mapping[str, Mapping[str, Any]]
    begins_inside: bool
    parallel_calls: bool
    form: AnswerForm | None
    guard: AnswerForm | None
    forced: bool
    """Whether the answer is a call and nothing else."""

    @property
    def holds_calls(self) -> bool:
        """Whether the arguments of calls are held to their schemas."""
        return self.form is not None or self.guard is not None

    def reader(self, tokenizer: Tokenizer, params: SamplingParams) -> Reader:
        """A reader for one choice."""
        if self.form is not None:
            return Reader(self._parser_of_form(), None, self.parallel_calls)
        marks = self.family.marks(bool(self.functions))
        marked = tokenizer.marked_text(marks, self.prompt, params.stop, params.min_tokens) if marks else None
        parser = self.family.parser(self.functions, self.begins_inside)
        return Reader(parser, marked, self.parallel_calls)

    def _parser_of_form(self) -> Parser:
        if not self.functions:
            return Plain()
        if self.form is not None and self.form.kind == "lark":
            return TaggedCalls()
        return JsonCalls(self.functions, forced=self.forced)


def plan_turn(tokenizer: Tokenizer, conversation: Conversation) -> Turn:
    """Render a conversation and encode it; takes as long as that takes.

    An answer that must have a form begins with it: reasoning is closed and a call opened within the prompt.
    So is reasoning before an answer that has begun.
    """
    choice = conversation.choice
    tools = [] if choice.mode == "none" else conversation.tools
    family = family_of(tokenizer)
    form = conversation.form
    if choice.forced:
        form = forced_call_form(tools, choice.name)
    elif form is not None and tools:
        form = form_or_call(form, tools, tagged=family.calls == "tagged")
    opens = form is not None or bool(conversation.begun)
    thinks = {"enable_thinking": False} if opens else {}
    messages = conversation.messages
    if family.calls == "mistral":
        messages = with_short_ids(messages)
    prompt = _prompt(tokenizer, messages, tools, {**thinks, **conversation.variables})
    tail = tokenizer.decode(prompt[-_TAIL:], skip_special=False).rstrip() if family.thoughts else ""
    begins_inside = family.thoughts is not None and tail.endswith(family.thoughts[0])
    if opens:
        opening = family.opening(begins_inside, call=choice.forced)
        prompt += tokenizer.encode(opening, add_special=False, parse_special=True)
        prompt += tokenizer.encode(conversation.begun, add_special=False)
    return Turn(
        prompt=prompt,
        family=family,
        functions={tool["function"]["name"]: tool["function"]["parameters"] for tool in tools},
        begins_inside=begins_inside and not opens,
        parallel_calls=conversation.parallel_calls,
        form=form,
        guard=None if form is not None else _guard(tokenizer, family, tools, conversation),
        forced=choice.forced,
    )


def _guard(
    tokenizer: Tokenizer, family: Family, tools: Sequence[dict[str, Any]], conversation: Conversation
) -> AnswerForm | None:
    """Return what strict tools are held to by a model that may call them, where its way to write calls is
    known and made of text: a grammar reaches no control token."""
    strict = conversation.strict_names & {tool["function"]["name"] for tool in tools}
    if not strict or family.calls != "tagged" or tokenizer.marked_text(family.marks(with_tools=True), []):
        return None
    return free_text_or_calls(tools, strict, parallel=conversation.parallel_calls)


def _prompt(
    tokenizer: Tokenizer,
    messages: Sequence[dict[str, Any]],
    tools: Sequence[dict[str, Any]],
    variables: dict[str, Any],
) -> list[int]:
    if tokenizer.takes_tools:
        return tokenizer.encode_chat(messages, tools=tools or None, **variables)
    try:
        return tokenizer.encode_chat(describe_tools(messages, tools), **variables)
    except InvalidArgumentError:
        if not tools:
            raise
        return tokenizer.encode_chat(describe_tools(messages, tools, to_user=True), **variables)
