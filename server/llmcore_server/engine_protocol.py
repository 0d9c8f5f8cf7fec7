"""What the server needs of an inference engine; ``llmcore.AsyncEngine`` provides it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from llmcore import SamplingParams
    from llmcore.embeddings import Pooling


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
    @property
    def prompt_logprobs(self) -> Sequence[TokenLogprob | None] | None: ...


class Tokenizer(Protocol):
    """Text to tokens and back."""

    @property
    def chat_template(self) -> str | None:
        """The model's own template, or None if its file has none."""

    @property
    def takes_tools(self) -> bool:
        """Whether the chat template has a place for tools."""

    def encode(self, text: str, add_special: bool = True, parse_special: bool = False) -> list[int]: ...

    def encode_chat(
        self,
        messages: Sequence[Mapping[str, Any]],
        add_generation_prompt: bool = True,
        tools: Sequence[Mapping[str, Any]] | None = None,
        **variables: Any,
    ) -> list[int]: ...

    def render_chat(
        self,
        messages: Sequence[Mapping[str, Any]],
        add_generation_prompt: bool = True,
        tools: Sequence[Mapping[str, Any]] | None = None,
        **variables: Any,
    ) -> str: ...

    def encode_infill(self, before: str, behind: str) -> list[int] | None: ...

    def decode(self, ids: Sequence[int], skip_special: bool = True) -> str: ...

    def token_bytes(self, token_id: int) -> bytes: ...

    def special_token(self, name: str) -> int | None: ...

    def marked_text(
        self, names: Sequence[str], prompt: Sequence[int], stop: Sequence[str] = (), min_tokens: int = 0
    ) -> MarkedText | None: ...


class MarkedText(Protocol):
    """A completion's text with the names of some control tokens in it, from its token ids."""

    def push(self, tokens: Sequence[int]) -> str: ...
    def flush(self) -> str: ...


class Embedding(Protocol):
    """The embedding of one text: a float32 array of shape (d_model,), and how many tokens it is of."""

    @property
    def vector(self) -> npt.NDArray[np.float32]: ...
    @property
    def prompt_tokens(self) -> int: ...


class EngineStats(Protocol):
    """An engine's state after its last step, and totals since it was loaded; ``running`` counts sequences,
    ``waiting`` requests. `llmcore.engine.EngineStats` says what the totals count."""

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
    @property
    def requests(self) -> int: ...
    @property
    def cancelled(self) -> int: ...
    @property
    def failed(self) -> int: ...
    @property
    def expired(self) -> int: ...
    @property
    def prompt_tokens(self) -> int: ...
    @property
    def cached_prompt_tokens(self) -> int: ...
    @property
    def generated_tokens(self) -> int: ...
    @property
    def guessed_tokens(self) -> int: ...
    @property
    def accepted_tokens(self) -> int: ...
    @property
    def wasted_tokens(self) -> int: ...
    @property
    def kv_spilled_ram(self) -> int: ...
    @property
    def kv_restored_ram(self) -> int: ...
    @property
    def kv_spilled_disk(self) -> int: ...
    @property
    def kv_restored_disk(self) -> int: ...
    @property
    def kept_preemptions(self) -> int: ...
    @property
    def drafted_tokens(self) -> int: ...
    @property
    def accepted_draft_tokens(self) -> int: ...
    @property
    def draft_failures(self) -> int: ...
    @property
    def draft_seconds(self) -> float: ...


class ModelInfo(Protocol):
    """What was loaded: where it runs, and the tokens that fit one sequence."""

    @property
    def device(self) -> str: ...
    @property
    def n_ctx(self) -> int: ...
    @property
    def d_model(self) -> int: ...
    @property
    def system_fingerprint(self) -> str: ...
    @property
    def generates(self) -> bool:
        """Whether it writes text; an encoder makes embeddings alone."""

    @property
    def pooling(self) -> str:
        """What its embeddings are by default: mean, cls or last."""


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
        deadline: float | None = None,
    ) -> AsyncIterator[Delta]: ...

    async def embed(
        self,
        prompts: Sequence[str | Sequence[int]],
        *,
        normalize: bool = True,
        lora: str | None = None,
        pooling: Pooling | None = None,
    ) -> Sequence[Embedding]: ...

    def load_adapter(self, name: str, path: str | Path, scale: float = 1.0) -> None:
        """Blocks; from any thread, beside requests."""

    def unload_adapter(self, name: str) -> None: ...

    def abort(self, request_id: str) -> None: ...

    def stats(self) -> EngineStats: ...

    def close(self) -> None: ...
