"""How much memory a model will take, told from its file's header before any of it is loaded."""

from math import prod
from pathlib import Path

import msgspec
import numpy as np

from llmcore import _core
from llmcore.errors import InvalidArgumentError, ModelError

# As the engine has them: csrc/engine/decoder_runner.cpp, csrc/backend/cpu_backend.h.
_MAX_BATCH = 32
_STEP_ROWS = 512
_LOGIT_ROWS = 64
_ENCODER_CONTEXT = 8192
_BLOCK_TOKENS = 32
_F32 = 4


class MemoryEstimate(msgspec.Struct, frozen=True):
    """Bytes by purpose. `cache` is the most the KV cache may take; its pages are touched as tokens arrive."""

    weights: int
    cache: int
    workspace: int

    @property
    def total(self) -> int:
        return self.weights + self.cache + self.workspace


def estimate_memory(
    path: Path | str,
    *,
    quantization: str | None = None,
    n_ctx: int | None = None,
    max_batch: int | None = None,
    kv_budget: int | None = None,
    kv_cache_type: str = "f16",
) -> MemoryEstimate:
    """The memory of a model loaded with these options; kv_budget: bytes, a quarter of what is free if None.

    Weights are exact on the CPU, the cache too as long as `kv_budget` is given; the workspace is that of the
    largest step. Raises GGUFError, ModelError, or InvalidArgumentError for an unknown quantization.
    """
    file = _core.GGUFFile(path)
    batch = max_batch or _MAX_BATCH
    budget = kv_budget if kv_budget is not None else _available_memory() // 4
    return MemoryEstimate(
        weights=_weight_bytes(file, path, quantization),
        cache=_cache_bytes(file, n_ctx, batch, budget, kv_cache_type),
        workspace=_workspace_bytes(file, n_ctx, batch),
    )


def _weight_bytes(file: _core.GGUFFile, path: Path | str, quantization: str | None) -> int:
    if quantization is None:
        return sum(int(tensor.n_bytes) for tensor in file.tensors)
    from llmcore.tools.quantize_plan import tensor_formats  # noqa: PLC0415 - a file as it is needs none of it

    formats = tensor_formats(path, quantization)
    sizes = {entry["name"]: (entry["block_elements"], entry["block_bytes"]) for entry in _core.formats()}
    total = 0
    for tensor in file.tensors:
        elements, size = sizes[formats[tensor.name]]
        total += prod(tensor.shape) // elements * size
    return total


def _cache_bytes(
    file: _core.GGUFFile, n_ctx: int | None, max_batch: int, budget: int, kv_cache_type: str
) -> int:
    """What csrc/cache/kv_sizing.cpp plans."""
    n_heads = _number(file, "attention.head_count")
    kv_heads = _number(file, "attention.head_count_kv", n_heads)
    head_dim = _number(file, "attention.key_length", _number(file, "embedding_length") // n_heads)
    layers = 1 if _encodes(file) else _number(file, "block_count")
    block = _BLOCK_TOKENS * layers * 2 * kv_heads * _row_bytes(kv_cache_type, head_dim)
    blocks = budget // block
    context = n_ctx or min(_number(file, "context_length"), blocks * _BLOCK_TOKENS)
    per_context = -(-context // _BLOCK_TOKENS)
    return block * max(per_context, min(blocks, per_context * max_batch))


def _row_bytes(format_name: str, elements: int) -> int:
    for entry in _core.formats():
        if entry["name"] == format_name.upper():
            return -(-elements // int(entry["block_elements"])) * int(entry["block_bytes"])
    raise InvalidArgumentError(f"[memory] kv_cache_type; got {format_name:.40}; expected a format's name")


def _workspace_bytes(file: _core.GGUFFile, n_ctx: int | None, max_batch: int) -> int:
    """The activations that csrc/model/decoder.cpp keeps."""
    d_model = _number(file, "embedding_length")
    n_heads = _number(file, "attention.head_count")
    kv_heads = _number(file, "attention.head_count_kv", n_heads)
    head_dim = _number(file, "attention.key_length", d_model // n_heads)
    d_ff = _number(file, "feed_forward_length", 0)
    experts_used = _number(file, "expert_used_count", 0)
    d_expert = _number(file, "expert_feed_forward_length", d_ff)
    if _encodes(file):
        rows = max(_STEP_ROWS, min(_number(file, "context_length"), n_ctx or _ENCODER_CONTEXT))
        return _F32 * rows * (3 * d_model + 4 * n_heads * head_dim + d_ff)
    columns = 3 * d_model + 2 * (n_heads + kv_heads) * head_dim + d_ff + experts_used * (d_model + d_expert)
    n_vocab = next((int(t.shape[-1]) for t in file.tensors if t.name == "token_embd.weight"), 0)
    return _F32 * (_STEP_ROWS * columns + max(_LOGIT_ROWS, max_batch) * (2 * d_model + n_vocab))


def _encodes(file: _core.GGUFFile) -> bool:
    """Whether texts are read whole: a step has room for the longest, and one layer of cache serves all."""
    return file.get(f"{file.get('general.architecture')}.attention.causal") is False


def _number(file: _core.GGUFFile, key: str, default: int | None = None) -> int:
    """A number of the model's architecture; the first of one a layer."""
    name = f"{file.get('general.architecture')}.{key}"
    value = file.get(name, default)
    if isinstance(value, np.ndarray) and value.size:
        value = value.tolist()[0]
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value < 1 << 31:
        raise ModelError(f"[memory] {name}; got {value!r:.40}; expected a number")
    if value == 0 and default is None:
        raise ModelError(f"[memory] {name}; got 0; expected 1 or more")
    return value


def _available_memory() -> int:
    try:
        for line in Path("/proc/meminfo").read_text(encoding="ascii").splitlines():
            if line.startswith("MemAvailable:"):
                return int(line.split()[1]) * 1024
    except (OSError, ValueError):
        pass
    return 4 << 30
