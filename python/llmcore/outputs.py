"""What generation returns."""

from __future__ import annotations

import msgspec


class Usage(msgspec.Struct, frozen=True):
    """Tokens of one completion.

    `completion_tokens` counts every sampled token, the end token that closed the text included.
    """

    prompt_tokens: int
    completion_tokens: int
    cached_tokens: int = 0
    """Prompt tokens whose keys and values were in the cache already; among `prompt_tokens`."""
    discarded_tokens: int = 0
    """Of the first of a request's completions: sampled for candidates that `best_of` did not choose."""

    @property
    def total_tokens(self) -> int:
        return self.prompt_tokens + self.completion_tokens


class Timings(msgspec.Struct, frozen=True):
    """Seconds since the request was submitted."""

    queue: float
    """Until its first step began."""
    first_token: float
    """Until its first token was there (TTFT)."""
    total: float
    """Until it ended."""


class TokenLogprob(msgspec.Struct, frozen=True):
    """Natural log-probability of a token under the model's own distribution, before bias, penalties,
    temperature and filters."""

    token_id: int
    logprob: float
    top: tuple[tuple[int, float], ...] = ()
    """The likeliest tokens as (id, logprob), likeliest first."""


class Delta(msgspec.Struct, frozen=True):
    """What one step added to a completion."""

    index: int
    """Which of the request's `n` completions."""
    text: str
    """Whole characters; empty while the tokens so far may still become a character or a stop string."""
    token_ids: tuple[int, ...]
    logprobs: tuple[TokenLogprob, ...] | None = None
    """One a token id, if asked for."""
    finish_reason: str | None = None
    """On the last delta: "stop", "length" or "cancelled"."""
    usage: Usage | None = None
    """On the last delta."""
    timings: Timings | None = None
    """On the last delta."""
    prompt_logprobs: tuple[TokenLogprob | None, ...] | None = None
    """On the first delta, if asked for: one a prompt token, None for the first."""


class Completion(msgspec.Struct, frozen=True):
    """One completed text."""

    text: str
    token_ids: tuple[int, ...]
    """The tokens of the text; the end token that closed it is not among them."""
    finish_reason: str
    """"stop" (end token, stop string or stop token), "length" (max_tokens or the context is used up) or
    "cancelled"."""
    usage: Usage
    logprobs: tuple[TokenLogprob, ...] | None = None
    index: int = 0
    timings: Timings | None = None
    prompt_logprobs: tuple[TokenLogprob | None, ...] | None = None
