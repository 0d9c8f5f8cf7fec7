"""Answer of ``POST /v1/chat/completions``."""

from __future__ import annotations

from typing import Annotated, Literal

from msgspec import UNSET, Meta, UnsetType

from llmcore_server.v1_answers.strict import Strict, TokenTotals, Whole

FinishReason = Literal["stop", "length", "tool_calls", "function_call"]


class AnsweredFunction(Strict, frozen=True):
    """The function that is called; ``arguments`` is JSON text, cut off where the answer is."""

    name: str
    arguments: str


class AnsweredCall(Strict, frozen=True, tag_field="type", tag="function"):
    """A call of a tool."""

    id: Annotated[str, Meta(pattern="^call_")]
    function: AnsweredFunction


class AssistantMessage(Strict, frozen=True, kw_only=True):
    """What the model says; ``content`` is null beside calls alone. ``function_call`` is for those who know
    functions, not tools."""

    role: Literal["assistant"]
    content: str | None
    refusal: None
    reasoning_content: str | UnsetType = UNSET
    tool_calls: Annotated[list[AnsweredCall], Meta(min_length=1)] | UnsetType = UNSET
    function_call: AnsweredFunction | UnsetType = UNSET


class CandidateLogprob(Strict, frozen=True):
    """A token that might have stood in a place."""

    token: str
    logprob: float
    bytes: list[Annotated[int, Meta(ge=0, le=255)]]


class SampledLogprob(CandidateLogprob, frozen=True):
    """The token that does, and the likeliest ones."""

    top_logprobs: list[CandidateLogprob]


class ChatLogprobs(Strict, frozen=True):
    """Log-probabilities of a choice's tokens, in their order."""

    content: list[SampledLogprob]
    refusal: None


class ChatChoice(Strict, frozen=True):
    """One of the answers that were asked for."""

    index: Whole
    message: AssistantMessage
    logprobs: ChatLogprobs | None
    finish_reason: FinishReason


class CachedTokens(Strict, frozen=True):
    """Tokens of the prompt that an earlier request had."""

    cached_tokens: Whole


class ReasoningTokens(Strict, frozen=True):
    """Tokens of the answer that are its reasoning."""

    reasoning_tokens: Whole


class ChatUsage(TokenTotals, frozen=True):
    """Tokens of one request, over all its choices."""

    prompt_tokens_details: CachedTokens
    completion_tokens_details: ReasoningTokens


class ChatEnvelope(Strict, frozen=True, kw_only=True):
    """What a whole answer and the chunks of a stream share."""

    id: Annotated[str, Meta(pattern="^chatcmpl-")]
    created: Whole
    model: str
    system_fingerprint: str


class ChatCompletion(ChatEnvelope, frozen=True, kw_only=True, tag_field="object", tag="chat.completion"):
    """A whole answer to a conversation."""

    choices: Annotated[list[ChatChoice], Meta(min_length=1)]
    usage: ChatUsage
