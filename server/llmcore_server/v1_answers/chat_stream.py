"""Events of ``POST /v1/chat/completions``; ``[DONE]`` follows the last unless the stream fails."""

from __future__ import annotations

from typing import Annotated, Literal

from msgspec import UNSET, Meta, UnsetType

from llmcore_server.v1_answers.chat import ChatEnvelope, ChatLogprobs, ChatUsage, FinishReason
from llmcore_server.v1_answers.strict import Nothing, Strict, Whole


class FunctionFragment(Strict, frozen=True, kw_only=True):
    """A piece of a call's arguments; the first is empty and brings the name."""

    arguments: str
    name: str | UnsetType = UNSET


class CallFragment(Strict, frozen=True, kw_only=True):
    """A piece of the call of this index; the first brings ``id`` and ``type``."""

    index: Whole
    function: FunctionFragment
    id: Annotated[str, Meta(pattern="^call_")] | UnsetType = UNSET
    type: Literal["function"] | UnsetType = UNSET


class ChatDelta(Strict, frozen=True, kw_only=True):
    """A piece of a choice's message, in one field: first the role, beside empty content; last none, with the
    finish reason. ``function_call`` is for those who know functions, not tools."""

    role: Literal["assistant"] | UnsetType = UNSET
    content: str | UnsetType = UNSET
    reasoning_content: str | UnsetType = UNSET
    tool_calls: Annotated[list[CallFragment], Meta(min_length=1, max_length=1)] | UnsetType = UNSET
    function_call: FunctionFragment | UnsetType = UNSET


class ChatChunkChoice(Strict, frozen=True):
    """What a chunk adds to one choice; the log-probabilities of a step go with the first it says."""

    index: Whole
    delta: ChatDelta
    logprobs: ChatLogprobs | None
    finish_reason: FinishReason | None


class ChatChunk(ChatEnvelope, frozen=True, kw_only=True, tag_field="object", tag="chat.completion.chunk"):
    """A piece of one choice; ``usage`` is there, null, where the request asks to include it."""

    choices: Annotated[list[ChatChunkChoice], Meta(min_length=1, max_length=1)]
    usage: UnsetType | None = UNSET


class ChatUsageChunk(
    ChatEnvelope, frozen=True, kw_only=True, tag_field="object", tag="chat.completion.chunk"
):
    """The last chunk where the request asks to include the usage."""

    choices: Nothing
    usage: ChatUsage
