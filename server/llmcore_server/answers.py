"""What the routes under ``/api/v1`` answer, as structs: the responses and their documentation are one."""

from __future__ import annotations

from typing import Literal

from msgspec import UNSET, Struct, UnsetType


class Health(Struct, frozen=True):
    """``memory_usage`` is what the process holds / what its models may take."""

    status: str
    model_loaded: bool
    memory_usage: str
    active_connections: int


class Condition(Struct, frozen=True):
    """One of the process's conditions; ``reason`` where it is not met."""

    status: str
    reason: str | UnsetType = UNSET


class TokenUsage(Struct, frozen=True):
    """Tokens of one generation; the end token counts."""

    prompt_tokens: int
    completion_tokens: int
    total_tokens: int


class GenerateAnswer(Struct, frozen=True):
    """A whole text; ``latency`` in seconds."""

    text: str
    usage: TokenUsage
    latency: float


class ErrorDetail(Struct, frozen=True):
    """``code`` never changes; the texts follow ``Accept-Language``."""

    code: str
    message: str
    details: str


class TokenEvent(Struct, frozen=True):
    """One event of a stream; the last alone is finished, with the error if one ended it."""

    token: str
    finished: bool
    error: ErrorDetail | UnsetType = UNSET


class ErrorAnswer(Struct, frozen=True):
    """Every refusal outside ``/v1``."""

    error: ErrorDetail


class BatchResult(Struct, frozen=True, kw_only=True):
    """The answer to one request of a batch: text and usage, or the error of this one alone."""

    text: str | UnsetType = UNSET
    usage: TokenUsage | UnsetType = UNSET
    error: ErrorDetail | UnsetType = UNSET


class BatchAnswer(Struct, frozen=True):
    """One result a request, in their order."""

    results: list[BatchResult]


class ModelSummary(Struct, frozen=True, kw_only=True):
    """A model as the list has it. Sizes are written like ``"4.2GB"``; null is what its file does not tell."""

    name: str
    format: str = "gguf"
    size: str
    loaded: bool
    memory_usage: str
    quantization: str | None
    architecture: str | None
    context_length: int | None


class ModelList(Struct, frozen=True):
    """Every model this server knows."""

    models: list[ModelSummary]


class AdapterSummary(Struct, frozen=True, kw_only=True):
    """A LoRA adapter that requests may name; ``size`` is its file's."""

    name: str
    scale: float
    size: str


class ModelDetail(ModelSummary, frozen=True, kw_only=True):
    """A model and its state. ``progress``: the share of its weights in memory; ``quantizations``: of its
    files; ``device``: where it runs, null while it is not loaded, and so are ``generates``, whether it writes
    text, and ``pooling``, how it makes embeddings unless a request says otherwise."""

    status: Literal["unloaded", "loading", "ready", "failed"]
    progress: float
    quantizations: list[str]
    aliases: list[str]
    device: str | None
    generates: bool | None
    pooling: str | None
    adapters: list[AdapterSummary] = []
    error: str | None = None


class MemoryPlan(Struct, frozen=True, kw_only=True):
    """Bytes a load would take at most. ``unloads``: idle models that would leave for it."""

    weights: int
    cache: int
    workspace: int
    total: int
    limit: int | None
    fits: bool
    unloads: list[str]


class LoadAnswer(ModelDetail, frozen=True, kw_only=True):
    """A model after its load; after a dry run, also what the load would do, with nothing done.

    ``source_quantization``: that of the file it would read.
    """

    dry_run: Literal[True] | UnsetType = UNSET
    source_quantization: str | UnsetType | None = UNSET
    target_quantization: str | UnsetType | None = UNSET
    memory: MemoryPlan | UnsetType = UNSET
