"""Answer of ``POST /v1/completions``."""

from __future__ import annotations

from typing import Annotated, Literal

from msgspec import Meta

from llmcore_server.v1_answers.strict import Strict, TokenTotals, Whole


class ParallelLogprobs(Strict, frozen=True):
    """Lists of one length, an item a token. What a text begins with has no log-probability; ``top_logprobs``
    is null where none were asked for."""

    tokens: list[str]
    token_logprobs: list[float | None]
    top_logprobs: list[dict[str, float] | None] | None
    text_offset: list[Whole]


class CompletionChoice(Strict, frozen=True):
    """One of the texts that were asked for."""

    text: str
    index: Whole
    logprobs: ParallelLogprobs | None
    finish_reason: Literal["stop", "length"]


class CompletionEnvelope(Strict, frozen=True, kw_only=True, tag_field="object", tag="text_completion"):
    """What a whole answer and the chunks of a stream share."""

    id: Annotated[str, Meta(pattern="^cmpl-")]
    created: Whole
    model: str
    system_fingerprint: str


class Completion(CompletionEnvelope, frozen=True, kw_only=True):
    """Whole continuations of raw prompts."""

    choices: Annotated[list[CompletionChoice], Meta(min_length=1)]
    usage: TokenTotals
