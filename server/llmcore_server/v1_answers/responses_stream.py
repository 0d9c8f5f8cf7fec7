"""Events of ``POST /v1/responses``; each is named as its type."""

from __future__ import annotations

from typing import Annotated, Literal

from msgspec import Meta

from llmcore_server.v1_answers.responses import (
    AskedResponse,
    FunctionCallItem,
    MessageItem,
    OutputText,
    ReasoningItem,
    ReasoningText,
    ResponseObject,
)
from llmcore_server.v1_answers.strict import Nothing, Strict, Whole


class BegunMessage(Strict, frozen=True, tag_field="type", tag="message"):
    """A message without a word."""

    id: Annotated[str, Meta(pattern="^msg_")]
    role: Literal["assistant"]
    status: Literal["in_progress"]
    content: Nothing


class BegunReasoning(Strict, frozen=True, tag_field="type", tag="reasoning"):
    """Reasoning without a thought."""

    id: Annotated[str, Meta(pattern="^rs_")]
    summary: Nothing
    status: Literal["in_progress"]
    content: Nothing


class BegunCall(Strict, frozen=True, tag_field="type", tag="function_call"):
    """A call without arguments."""

    id: Annotated[str, Meta(pattern="^fc_")]
    call_id: Annotated[str, Meta(pattern="^call_")]
    name: str
    arguments: Literal[""]
    status: Literal["in_progress"]


class BegunResponse(AskedResponse, frozen=True, kw_only=True):
    """A response that has no output yet."""

    status: Literal["in_progress"]
    error: None
    incomplete_details: None
    output: Nothing
    usage: None


class FailureDetail(Strict, frozen=True):
    """Why a response failed, which the event before tells more exactly."""

    code: Literal["server_error"]
    message: str


class FailedResponse(AskedResponse, frozen=True, kw_only=True):
    """A response as far as it came."""

    status: Literal["failed"]
    error: FailureDetail
    incomplete_details: None
    output: list[MessageItem | ReasoningItem | FunctionCallItem]
    usage: None


class Numbered(Strict, frozen=True):
    """What every event has: its number in the stream, from 0 on."""

    sequence_number: Whole


class ResponseCreated(Numbered, frozen=True, tag_field="type", tag="response.created"):
    """The first event."""

    response: BegunResponse


class ResponseInProgress(Numbered, frozen=True, tag_field="type", tag="response.in_progress"):
    """The second."""

    response: BegunResponse


class ResponseCompleted(Numbered, frozen=True, tag_field="type", tag="response.completed"):
    """The last event of a response that was not cut off."""

    response: ResponseObject


class ResponseIncomplete(Numbered, frozen=True, tag_field="type", tag="response.incomplete"):
    """The last event of one that was."""

    response: ResponseObject


class ResponseError(Numbered, frozen=True, tag_field="type", tag="error"):
    """A failure, before the last event; the fields are those of a refusal."""

    code: str | None
    message: str
    param: str | None


class ResponseFailed(Numbered, frozen=True, tag_field="type", tag="response.failed"):
    """The last event of a response that failed."""

    response: FailedResponse


class ItemAdded(Numbered, frozen=True, tag_field="type", tag="response.output_item.added"):
    """An item begins."""

    output_index: Whole
    item: BegunMessage | BegunReasoning | BegunCall


class ItemDone(Numbered, frozen=True, tag_field="type", tag="response.output_item.done"):
    """An item ends, before the next begins."""

    output_index: Whole
    item: MessageItem | ReasoningItem | FunctionCallItem


class OfItem(Numbered, frozen=True):
    """What every event within an item has."""

    item_id: str
    output_index: Whole


class OfPart(OfItem, frozen=True):
    """What every event within a part has; an item has one part."""

    content_index: Literal[0]


class PartAdded(OfPart, frozen=True, tag_field="type", tag="response.content_part.added"):
    """An item's part begins, empty."""

    part: OutputText | ReasoningText


class PartDone(OfPart, frozen=True, tag_field="type", tag="response.content_part.done"):
    """An item's part ends."""

    part: OutputText | ReasoningText


class OutputTextDelta(OfPart, frozen=True, tag_field="type", tag="response.output_text.delta"):
    """More words."""

    delta: str
    logprobs: Nothing


class OutputTextDone(OfPart, frozen=True, tag_field="type", tag="response.output_text.done"):
    """All words of a message."""

    text: str
    logprobs: Nothing


class ReasoningTextDelta(OfPart, frozen=True, tag_field="type", tag="response.reasoning_text.delta"):
    """More thoughts."""

    delta: str


class ReasoningTextDone(OfPart, frozen=True, tag_field="type", tag="response.reasoning_text.done"):
    """All thoughts of a reasoning."""

    text: str


class ArgumentsDelta(OfItem, frozen=True, tag_field="type", tag="response.function_call_arguments.delta"):
    """More of a call's arguments."""

    delta: str


class ArgumentsDone(OfItem, frozen=True, tag_field="type", tag="response.function_call_arguments.done"):
    """All arguments of a call."""

    name: str
    arguments: str


ResponseEvent = (
    ResponseCreated
    | ResponseInProgress
    | ResponseCompleted
    | ResponseIncomplete
    | ResponseError
    | ResponseFailed
    | ItemAdded
    | ItemDone
    | PartAdded
    | PartDone
    | OutputTextDelta
    | OutputTextDone
    | ReasoningTextDelta
    | ReasoningTextDone
    | ArgumentsDelta
    | ArgumentsDone
)
