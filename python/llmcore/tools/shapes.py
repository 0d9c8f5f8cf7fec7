"""Shapes of published models: dimensions, and the tensors each GGUF architecture holds.

The numbers are those of the models' published configurations; the tensor names are GGUF's.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum

import numpy as np
import numpy.typing as npt


class Role(Enum):
    """What a tensor does: decides its type in a quantization mix and the spread of its random values."""

    EMBEDDING = "token_embd"
    OUTPUT = "output"
    QKV = "attn_qkv"
    Q = "attn_q"
    K = "attn_k"
    V = "attn_v"
    ATTENTION_OUT = "attn_output"
    GATE = "ffn_gate"
    UP = "ffn_up"
    DOWN = "ffn_down"
    NORM = "norm"
    BIAS = "bias"
    ROPE_FACTORS = "rope_freqs"


@dataclass(frozen=True)
class TensorSpec:
    """One tensor of a model: `shape` in NumPy order, so the last dimension is a row."""

    name: str
    shape: tuple[int, ...]
    role: Role
    layer: int = -1


@dataclass(frozen=True)
class RopeScaling:
    """Llama 3.1's frequency scaling, stored in GGUF as the factors of `rope_freqs.weight`."""

    factor: float
    low_frequency_factor: float
    high_frequency_factor: float
    original_context: int


@dataclass(frozen=True)
class Shape:
    """The dimensions of a model and the style of its tensors.

    `feed_forward_key_scale` is what the file's feed-forward length is multiplied by: qwen counts gate and
    up together.
    """

    architecture: str
    d_model: int
    n_layers: int
    n_heads: int
    n_kv_heads: int
    head_dim: int
    d_ff: int
    n_vocab: int
    n_ctx: int
    rope_base: float = 10000.0
    norm_eps: float = 1e-5
    rope_dims: int | None = None
    rope_scaling: RopeScaling | None = None
    tied_embeddings: bool = False
    qkv_bias: bool = False
    qk_norm: bool = False
    fused_qkv: bool = False
    fused_gate_up: bool = False
    feed_forward_key_scale: int = 1

    @property
    def rope_dimensions(self) -> int:
        """How many elements of a head are rotated."""
        return self.head_dim if self.rope_dims is None else self.rope_dims

    def tensors(self) -> Iterator[TensorSpec]:
        """Yields every tensor of the model, in the order of the file."""
        yield TensorSpec("token_embd.weight", (self.n_vocab, self.d_model), Role.EMBEDDING)
        if self.rope_scaling is not None:
            yield TensorSpec("rope_freqs.weight", (self.rope_dimensions // 2,), Role.ROPE_FACTORS)
        for layer in range(self.n_layers):
            for tensor in (*self._attention_tensors(), *self._feed_forward_tensors()):
                yield TensorSpec(f"blk.{layer}.{tensor.name}", tensor.shape, tensor.role, layer)
        yield TensorSpec("output_norm.weight", (self.d_model,), Role.NORM)
        if not self.tied_embeddings:
            yield TensorSpec("output.weight", (self.n_vocab, self.d_model), Role.OUTPUT)

    def _attention_tensors(self) -> Iterator[TensorSpec]:
        q_dim, kv_dim = self.n_heads * self.head_dim, self.n_kv_heads * self.head_dim
        yield TensorSpec("attn_norm.weight", (self.d_model,), Role.NORM)
        parts = [(Role.Q, q_dim), (Role.K, kv_dim), (Role.V, kv_dim)]
        if self.fused_qkv:
            parts = [(Role.QKV, q_dim + 2 * kv_dim)]
        for role, rows in parts:
            yield TensorSpec(f"{role.value}.weight", (rows, self.d_model), role)
            if self.qkv_bias:
                yield TensorSpec(f"{role.value}.bias", (rows,), Role.BIAS)
        if self.qk_norm:
            yield TensorSpec("attn_q_norm.weight", (self.head_dim,), Role.NORM)
            yield TensorSpec("attn_k_norm.weight", (self.head_dim,), Role.NORM)
        yield TensorSpec("attn_output.weight", (self.d_model, q_dim), Role.ATTENTION_OUT)

    def _feed_forward_tensors(self) -> Iterator[TensorSpec]:
        yield TensorSpec("ffn_norm.weight", (self.d_model,), Role.NORM)
        if self.fused_gate_up:
            yield TensorSpec("ffn_up.weight", (2 * self.d_ff, self.d_model), Role.UP)
        else:
            yield TensorSpec("ffn_gate.weight", (self.d_ff, self.d_model), Role.GATE)
            yield TensorSpec("ffn_up.weight", (self.d_ff, self.d_model), Role.UP)
        yield TensorSpec("ffn_down.weight", (self.d_model, self.d_ff), Role.DOWN)


def rope_factors(shape: Shape) -> npt.NDArray[np.float32]:
    """Divisors of the rotary frequencies, (rope_dimensions / 2,): `apply_scaling` of Llama 3.1."""
    scaling = shape.rope_scaling
    if scaling is None:
        raise ValueError("the shape has no rope scaling")
    exponents = np.arange(0, shape.rope_dimensions, 2, dtype=np.float64) / shape.rope_dimensions
    wavelengths = 2 * math.pi * shape.rope_base**exponents
    smooth = (scaling.original_context / wavelengths - scaling.low_frequency_factor) / (
        scaling.high_frequency_factor - scaling.low_frequency_factor
    )
    smooth = np.clip(smooth, 0.0, 1.0)
    return (1.0 / ((1.0 - smooth) / scaling.factor + smooth)).astype(np.float32)


SHAPES: dict[str, Shape] = {
    "llama-2-7b": Shape("llama", 4096, 32, 32, 32, 128, 11008, 32000, 4096),
    "llama-3-8b": Shape("llama", 4096, 32, 32, 8, 128, 14336, 128256, 8192, rope_base=500000.0),
    "llama-3.2-1b": Shape(
        "llama", 2048, 16, 32, 8, 64, 8192, 128256, 131072, rope_base=500000.0, tied_embeddings=True,
        rope_scaling=RopeScaling(32.0, 1.0, 4.0, 8192),
    ),
    "tinyllama-1.1b": Shape("llama", 2048, 22, 32, 4, 64, 5632, 32000, 2048),
    "qwen-7b": Shape(
        "qwen", 4096, 32, 32, 32, 128, 11008, 151936, 32768, norm_eps=1e-6, qkv_bias=True, fused_qkv=True,
        feed_forward_key_scale=2,
    ),
    "qwen-14b": Shape(
        "qwen", 5120, 40, 40, 40, 128, 13696, 152064, 8192, norm_eps=1e-6, qkv_bias=True, fused_qkv=True,
        feed_forward_key_scale=2,
    ),
    "qwen2-0.5b": Shape(
        "qwen2", 896, 24, 14, 2, 64, 4864, 151936, 32768, rope_base=1e6, norm_eps=1e-6, qkv_bias=True,
        tied_embeddings=True,
    ),
    "qwen2-7b": Shape(
        "qwen2", 3584, 28, 28, 4, 128, 18944, 152064, 32768, rope_base=1e6, norm_eps=1e-6, qkv_bias=True
    ),
    "qwen3-0.6b": Shape(
        "qwen3", 1024, 28, 16, 8, 128, 3072, 151936, 40960, rope_base=1e6, norm_eps=1e-6, qk_norm=True,
        tied_embeddings=True,
    ),
    "gemma-2b": Shape(
        "gemma", 2048, 18, 8, 1, 256, 16384, 256000, 8192, norm_eps=1e-6, tied_embeddings=True
    ),
    "gemma-7b": Shape(
        "gemma", 3072, 28, 16, 16, 256, 24576, 256000, 8192, norm_eps=1e-6, tied_embeddings=True
    ),
    "chatglm3-6b": Shape(
        "chatglm", 4096, 28, 32, 2, 128, 13696, 65024, 8192, rope_dims=64, qkv_bias=True, fused_qkv=True,
        fused_gate_up=True,
    ),
}  # fmt: skip
