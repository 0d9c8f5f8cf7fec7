"""What the server needs of an inference engine; ``llmcore.AsyncEngine`` provides it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from llmcore import SamplingParams


class TokenLogprob(Protocol):
    """A token's log-probability and the likeliest tokens in its place, as (id, log-probability)."""

    @property
    def token_id(self) -> int: ...
    @property
    def logprob(self) -> float: ...
    @property
    def top(self) -> Sequence[tuple[int, float]]: ...


class Usage(Protocol):
    """Tokens of one request."""

    @property
    def prompt_tokens(self) -> int: ...
    @property
    def completion_tokens(self) -> int: ...


class Timings(Protocol):
    """Seconds since a request was submitted."""

    @property
    def queue(self) -> float: ...


class Delta(Protocol):
    """A piece of one choice's output; the last alone has a reason, usage and timings."""

    @property
    def index(self) -> int: ...
    @property
    def text(self) -> str: ...
    @property
    def token_ids(self) -> Sequence[int]: ...
    @property
    def logprobs(self) -> Sequence[TokenLogprob] | None: ...
    @property
    def finish_reason(self) -> str | None: ...
    @property
    def usage(self) -> Usage | None: ...
    @property
    def timings(self) -> Timings | None: ...


class Tokenizer(Protocol):
    """Text to tokens and back."""

    @property
    def chat_template(self) -> str | None:
        """The model's own template, or None if its file has none."""

    def encode_chat(
        self, messages: Sequence[Mapping[str, Any]], add_generation_prompt: bool = True
    ) -> list[int]: ...

    def token_bytes(self, token_id: int) -> bytes: ...


class EngineStats(Protocol):
    """An engine's state after its last step; ``running`` counts sequences, ``waiting`` requests."""

    @property
    def running(self) -> int: ...
    @property
    def waiting(self) -> int: ...
    @property
    def kv_blocks_total(self) -> int: ...
    @property
    def kv_blocks_free(self) -> int: ...
    @property
    def steps(self) -> int: ...
    @property
    def step_seconds(self) -> float: ...
    @property
    def preemptions(self) -> int: ...


class ModelInfo(Protocol):
    """What was loaded: where it runs, and the tokens that fit one sequence."""

    @property
    def device(self) -> str: ...
    @property
    def n_ctx(self) -> int: ...


class Engine(Protocol):
    """One loaded model that generates for many requests at once."""

    @property
    def model_info(self) -> ModelInfo: ...

    @property
    def tokenizer(self) -> Tokenizer: ...

    def generate(
        self,
        prompt: str | list[int],
        params: SamplingParams,
        *,
        request_id: str | None = None,
        priority: int = 0,
        tenant: str | None = None,
        lora: str | None = None,
    ) -> AsyncIterator[Delta]: ...

    def abort(self, request_id: str) -> None: ...

    def stats(self) -> EngineStats: ...

    def close(self) -> None: ...
