"""What an engine tells of itself: the model it loaded, and its counters."""

from __future__ import annotations

import msgspec

from llmcore.lora import LoraInfo


class ModelInfo(msgspec.Struct, frozen=True):
    """What was loaded, and how."""

    name: str
    path: str
    architecture: str
    quantization: str
    """The format that holds most of the weights' bytes."""
    device: str
    device_note: str
    """Why the device is not the one that `auto` would rather have taken; empty if it is."""
    placement: str
    """Which layers are where, in words."""
    threads: int
    n_ctx: int
    """Tokens of one sequence, prompt and output."""
    n_ctx_train: int
    """The context the model was trained for."""
    n_vocab: int
    d_model: int
    n_layers: int
    gpu_layers: int
    """Of those: on a GPU."""
    parameters: int
    file_bytes: int
    weight_bytes: int
    """Weights in memory, as packed for the kernels."""
    kv_bytes: int
    """The KV cache at most; its pages are touched as tokens arrive."""
    kv_plan: str
    """How the cache was sized, in words."""
    kv_cache_type: str
    """The format of keys and values: F32, F16, BF16, Q8_0 or Q4_0."""
    kv_contexts: float
    """So many sequences of `n_ctx` tokens fit the cache at once."""
    draft_model: str
    """The name of the model that guesses tokens, whose memory counts above; empty without one."""
    system_fingerprint: str
    """A name for weights, kernels, build and settings: answers can be compared where it is equal."""
    adapters: tuple[LoraInfo, ...] = ()
    """LoRA adapters that requests may name, by name."""
    generates: bool = True
    """Whether the model writes text; an encoder makes embeddings alone."""
    pooling: str = "mean"
    """What its embeddings are unless a request says otherwise: mean, cls (the first token's) or last."""


class EngineStats(msgspec.Struct, frozen=True):
    """The engine's state after its last step, and totals since it was loaded."""

    running: int
    """Sequences; a request has `n` of them."""
    waiting: int
    kv_blocks_total: int
    kv_blocks_free: int
    steps: int
    requests: int
    cancelled: int
    """Requests."""
    failed: int
    """Requests."""
    expired: int
    """Requests that missed their deadline; among the failed ones too."""
    preemptions: int
    """Sequences that gave their KV blocks to older ones and waited again."""
    kept_preemptions: int
    """Of those: all that was cached of them was kept, so that they had nothing to compute again."""
    kv_spilled_ram: int
    """KV blocks that left the cache for memory (`kv_spill_ram`)."""
    kv_restored_ram: int
    """KV blocks that came back from there."""
    kv_spilled_disk: int
    """KV blocks written to `kv_cache_dir`."""
    kv_restored_disk: int
    """KV blocks read from there."""
    prompt_tokens: int
    cached_prompt_tokens: int
    """Of those: found in the cache."""
    generated_tokens: int
    guessed_tokens: int
    """Run on a guess of prompt lookup or of a draft model."""
    accepted_tokens: int
    """Of those: right."""
    wasted_tokens: int
    """Run or sampled for requests that were cancelled or missed their deadline."""
    step_seconds: float
    """Time spent in steps."""
    drafted_tokens: int
    """Of the guessed tokens: a draft model's."""
    accepted_draft_tokens: int
    """Of those: right."""
    draft_failures: int
    """Steps whose guesses a draft model failed to make; after three in a row it is no longer asked."""
    draft_seconds: float
    """Of the time spent in steps: in a draft model."""
