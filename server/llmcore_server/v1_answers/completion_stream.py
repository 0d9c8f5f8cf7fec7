"""Events of ``POST /v1/completions``; ``[DONE]`` follows the last unless the stream fails."""

from __future__ import annotations

from typing import Annotated, Literal

from msgspec import UNSET, Meta, UnsetType

from llmcore_server.v1_answers.completion import CompletionEnvelope, ParallelLogprobs
from llmcore_server.v1_answers.strict import Nothing, Strict, TokenTotals, Whole


class CompletionPiece(Strict, frozen=True):
    """What a chunk adds to one choice; the last brings the finish reason."""

    text: str
    index: Whole
    logprobs: ParallelLogprobs | None
    finish_reason: Literal["stop", "length"] | None


class CompletionChunk(CompletionEnvelope, frozen=True, kw_only=True):
    """A piece of one choice; ``usage`` is there, null, where the request asks to include it."""

    choices: Annotated[list[CompletionPiece], Meta(min_length=1, max_length=1)]
    usage: UnsetType | None = UNSET


class CompletionUsageChunk(CompletionEnvelope, frozen=True, kw_only=True):
    """The last chunk where the request asks to include the usage."""

    choices: Nothing
    usage: TokenTotals
