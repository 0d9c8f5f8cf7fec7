"""Answer of ``POST /v1/responses``."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from msgspec import UNSET, Meta, UnsetType

from llmcore_server.v1_answers.chat import ReasoningTokens
from llmcore_server.v1_answers.strict import Nothing, Strict, Whole

ItemStatus = Literal["completed", "incomplete"]


class OutputText(Strict, frozen=True, tag_field="type", tag="output_text"):
    """Words; their log-probabilities are not served."""

    text: str
    annotations: Nothing
    logprobs: Nothing


class ReasoningText(Strict, frozen=True, tag_field="type", tag="reasoning_text"):
    """Thoughts."""

    text: str


class MessageItem(Strict, frozen=True, tag_field="type", tag="message"):
    """What the model says."""

    id: Annotated[str, Meta(pattern="^msg_")]
    role: Literal["assistant"]
    status: ItemStatus
    content: Annotated[list[OutputText], Meta(min_length=1, max_length=1)]


class ReasoningItem(Strict, frozen=True, tag_field="type", tag="reasoning"):
    """What it thinks, in full: there is no summary."""

    id: Annotated[str, Meta(pattern="^rs_")]
    summary: Nothing
    status: ItemStatus
    content: Annotated[list[ReasoningText], Meta(min_length=1, max_length=1)]


class FunctionCallItem(Strict, frozen=True, tag_field="type", tag="function_call"):
    """What it calls; ``arguments`` is JSON text, cut off where the answer is."""

    id: Annotated[str, Meta(pattern="^fc_")]
    call_id: Annotated[str, Meta(pattern="^call_")]
    name: str
    arguments: str
    status: ItemStatus


class IncompleteDetails(Strict, frozen=True):
    """Why a response is incomplete."""

    reason: Literal["max_output_tokens"]


class AskedReasoning(Strict, frozen=True):
    """How hard the request asked to think."""

    effort: Literal["none", "minimal", "low", "medium", "high", "xhigh", "max"] | None
    summary: None


class AskedText(Strict, frozen=True):
    """The form that the request asked for."""

    format: dict[str, Any]


class AskedTool(Strict, frozen=True, tag_field="type", tag="function"):
    """A tool as the request brought it."""

    name: str
    description: str | None
    parameters: dict[str, Any] | None
    strict: bool | None


class InputTokenDetails(Strict, frozen=True):
    """Tokens of the input that an earlier request had; none is kept on purpose."""

    cached_tokens: Whole
    cache_write_tokens: Literal[0]


class ResponseUsage(Strict, frozen=True):
    """Tokens of one response."""

    input_tokens: Whole
    input_tokens_details: InputTokenDetails
    output_tokens: Whole
    output_tokens_details: ReasoningTokens
    total_tokens: Whole


class AskedResponse(Strict, frozen=True, kw_only=True, tag_field="object", tag="response"):
    """What a response has from its beginning on: its names, and what the request asked for."""

    id: Annotated[str, Meta(pattern="^resp_")]
    created_at: Whole
    background: Literal[False]
    instructions: str | None
    max_output_tokens: Whole | None
    model: str
    parallel_tool_calls: bool
    previous_response_id: None
    reasoning: AskedReasoning
    store: Literal[False]
    temperature: float
    text: AskedText
    tool_choice: str | dict[str, Any]
    tools: list[AskedTool]
    top_p: float
    truncation: Literal["disabled"]
    metadata: dict[str, Any]


class ResponseObject(AskedResponse, frozen=True, kw_only=True):
    """A whole response, with what the request asked for; ``completed_at`` where it was not cut off."""

    status: Literal["completed", "incomplete"]
    error: None
    incomplete_details: IncompleteDetails | None
    output: list[MessageItem | ReasoningItem | FunctionCallItem]
    usage: ResponseUsage
    completed_at: Whole | UnsetType = UNSET
