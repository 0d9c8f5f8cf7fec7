"""Answers of Anthropic's ``POST /v1/messages`` and ``/v1/messages/count_tokens``."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from msgspec import Meta

from llmcore_server.v1_answers.strict import Strict, Whole

StopReason = Literal["end_turn", "max_tokens", "stop_sequence", "tool_use"]


class TextBlock(Strict, frozen=True, tag_field="type", tag="text"):
    """Words."""

    text: str


class ThinkingBlock(Strict, frozen=True, tag_field="type", tag="thinking"):
    """Reasoning, which nobody signs."""

    thinking: str
    signature: Literal[""]


class ToolUseBlock(Strict, frozen=True, tag_field="type", tag="tool_use"):
    """A call; ``input`` is empty where the arguments were cut off."""

    id: Annotated[str, Meta(pattern="^toolu_")]
    name: str
    input: dict[str, Any]


class MessageUsage(Strict, frozen=True):
    """Tokens of one message; ``input_tokens`` are those that no earlier request had."""

    input_tokens: Whole
    cache_creation_input_tokens: Whole
    cache_read_input_tokens: Whole
    output_tokens: Whole


class AnsweredMessage(Strict, frozen=True, tag_field="type", tag="message"):
    """A whole message of the model's."""

    id: Annotated[str, Meta(pattern="^msg_")]
    role: Literal["assistant"]
    model: str
    content: list[TextBlock | ThinkingBlock | ToolUseBlock]
    stop_reason: StopReason
    stop_sequence: str | None
    usage: MessageUsage


class InputTokens(Strict, frozen=True):
    """How many tokens a message's input would be."""

    input_tokens: Whole
