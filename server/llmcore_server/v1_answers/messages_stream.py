"""Events of Anthropic's ``POST /v1/messages``; each is named as its type."""

from __future__ import annotations

from typing import Annotated, Literal

from msgspec import Meta

from llmcore_server.v1_answers.errors import AnthropicErrorAnswer
from llmcore_server.v1_answers.messages import (
    MessageUsage,
    StopReason,
    TextBlock,
    ThinkingBlock,
    ToolUseBlock,
)
from llmcore_server.v1_answers.strict import Nothing, Strict, Whole


class StartedMessage(Strict, frozen=True, tag_field="type", tag="message"):
    """A message of which nothing has been said."""

    id: Annotated[str, Meta(pattern="^msg_")]
    role: Literal["assistant"]
    model: str
    content: Nothing
    stop_reason: None
    stop_sequence: None
    usage: MessageUsage


class MessageStart(Strict, frozen=True, tag_field="type", tag="message_start"):
    """The first event; its usage is that of the moment."""

    message: StartedMessage


class BlockStart(Strict, frozen=True, tag_field="type", tag="content_block_start"):
    """A block begins, empty."""

    index: Whole
    content_block: TextBlock | ThinkingBlock | ToolUseBlock


class TextDelta(Strict, frozen=True, tag_field="type", tag="text_delta"):
    """More words."""

    text: str


class ThinkingDelta(Strict, frozen=True, tag_field="type", tag="thinking_delta"):
    """More reasoning."""

    thinking: str


class InputDelta(Strict, frozen=True, tag_field="type", tag="input_json_delta"):
    """More of a call's input: all pieces together are JSON text, cut off where the answer is."""

    partial_json: str


class BlockDelta(Strict, frozen=True, tag_field="type", tag="content_block_delta"):
    """A block grows."""

    index: Whole
    delta: TextDelta | ThinkingDelta | InputDelta


class BlockStop(Strict, frozen=True, tag_field="type", tag="content_block_stop"):
    """A block ends, before the next begins."""

    index: Whole


class MessageEnd(Strict, frozen=True):
    """Why a message ended."""

    stop_reason: StopReason
    stop_sequence: str | None


class MessageDelta(Strict, frozen=True, tag_field="type", tag="message_delta"):
    """The last event but one: the end, and the whole usage."""

    delta: MessageEnd
    usage: MessageUsage


class MessageStop(Strict, frozen=True, tag_field="type", tag="message_stop"):
    """The last event, unless the stream fails."""


MessageEvent = (
    MessageStart | BlockStart | BlockDelta | BlockStop | MessageDelta | MessageStop | AnthropicErrorAnswer
)
