"""Shapes of published models: dimensions, and the tensors each GGUF architecture holds.

The numbers are those of the models' published configurations; the tensor names are GGUF's.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from enum import Enum

import numpy as np
import numpy.typing as npt


class Role(Enum):
    """What a tensor does: decides its type in a quantization mix and the spread of its random values."""

    EMBEDDING = "token_embd"
    ADDED = "position_embd"
    OUTPUT = "output"
    QKV = "attn_qkv"
    Q = "attn_q"
    K = "attn_k"
    V = "attn_v"
    ATTENTION_OUT = "attn_output"
    SINKS = "attn_sinks"
    ROUTER = "ffn_gate_inp"
    GATE = "ffn_gate"
    UP = "ffn_up"
    DOWN = "ffn_down"
    NORM = "norm"
    POST_NORM = "post_norm"
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
class Llama3Rope:
    """Llama 3.1's frequency scaling, stored in GGUF as the factors of `rope_freqs.weight`."""

    factor: float
    low_frequency_factor: float
    high_frequency_factor: float
    original_context: int


@dataclass(frozen=True)
class LinearRope:
    """Positions divided by `factor`."""

    factor: float


@dataclass(frozen=True)
class YarnRope:
    """YaRN (arXiv:2309.00071)."""

    factor: float
    original_context: int


@dataclass(frozen=True)
class LongRope:
    """LongRoPE (arXiv:2402.13753): factors of every frequency, for short and for long contexts."""

    factor: float
    original_context: int

    @property
    def amplitude(self) -> float:
        """What cosines and sines are multiplied by."""
        return math.sqrt(1 + math.log(self.factor) / math.log(self.original_context))


@dataclass(frozen=True)
class Experts:
    """A mixture of experts: `d_ff` is one expert's, `shared_d_ff` that of the one every token goes to."""

    n: int
    n_used: int
    d_ff: int
    shared_d_ff: int = 0


@dataclass(frozen=True)
class Shape:
    """The dimensions of a model and the style of its tensors.

    `feed_forward_key_scale` is what the file's feed-forward length is multiplied by: qwen counts gate and
    up together. `all_biases`: every projection has one, those of the experts too. `feed_forward_norm`: what
    the norm before the feed-forward network is called.
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
    rope_scaling: Llama3Rope | LinearRope | YarnRope | LongRope | None = None
    tied_embeddings: bool = False
    qkv_bias: bool = False
    all_biases: bool = False
    qk_norm: bool = False
    post_norms: bool = False
    fused_qkv: bool = False
    fused_gate_up: bool = False
    attention_sinks: bool = False
    feed_forward_key_scale: int = 1
    feed_forward_norm: str = "ffn_norm"
    experts: Experts | None = None
    sliding_window: int = 0
    attention_cap: float = 0.0
    logit_cap: float = 0.0

    @property
    def rope_dimensions(self) -> int:
        """How many elements of a head are rotated."""
        return self.head_dim if self.rope_dims is None else self.rope_dims

    @property
    def scales_embeddings(self) -> bool:
        """Whether the decoder multiplies embeddings by the square root of their length."""
        return self.architecture.startswith("gemma")

    @property
    def n_experts(self) -> int:
        """Of a mixture; 0 in a dense model."""
        return 0 if self.experts is None else self.experts.n

    def tensors(self) -> Iterator[TensorSpec]:
        """Yields every tensor of the model, in the order of the file."""
        yield TensorSpec("token_embd.weight", (self.n_vocab, self.d_model), Role.EMBEDDING)
        for name in rope_factor_names(self):
            yield TensorSpec(name, (self.rope_dimensions // 2,), Role.ROPE_FACTORS)
        for layer in range(self.n_layers):
            for tensor in (*self._attention_tensors(), *self._feed_forward_tensors()):
                yield replace(tensor, name=f"blk.{layer}.{tensor.name}", layer=layer)
        yield TensorSpec("output_norm.weight", (self.d_model,), Role.NORM)
        if not self.tied_embeddings:
            yield TensorSpec("output.weight", (self.n_vocab, self.d_model), Role.OUTPUT)

    def _attention_tensors(self) -> Iterator[TensorSpec]:
        q_dim, kv_dim = self.n_heads * self.head_dim, self.n_kv_heads * self.head_dim
        yield self._norm("attn_norm")
        parts = [(Role.Q, q_dim), (Role.K, kv_dim), (Role.V, kv_dim)]
        if self.fused_qkv:
            parts = [(Role.QKV, q_dim + 2 * kv_dim)]
        for role, rows in parts:
            yield from _projection(role.value, (rows, self.d_model), role, self.qkv_bias or self.all_biases)
        if self.qk_norm:
            yield TensorSpec("attn_q_norm.weight", (self.head_dim,), Role.NORM)
            yield TensorSpec("attn_k_norm.weight", (self.head_dim,), Role.NORM)
        if self.attention_sinks:
            yield TensorSpec("attn_sinks.weight", (self.n_heads,), Role.SINKS)
        yield from _projection("attn_output", (self.d_model, q_dim), Role.ATTENTION_OUT, self.all_biases)
        if self.post_norms:
            yield self._norm("post_attention_norm", Role.POST_NORM)

    def _feed_forward_tensors(self) -> Iterator[TensorSpec]:
        yield self._norm(self.feed_forward_norm)
        if self.experts is not None:
            yield from self._expert_tensors(self.experts)
        elif self.fused_gate_up:
            yield TensorSpec("ffn_up.weight", (2 * self.d_ff, self.d_model), Role.UP)
            yield TensorSpec("ffn_down.weight", (self.d_model, self.d_ff), Role.DOWN)
        else:
            yield from self._gated_network("", (), self.d_ff)
        if self.post_norms:
            yield self._norm("post_ffw_norm", Role.POST_NORM)

    def _expert_tensors(self, experts: Experts) -> Iterator[TensorSpec]:
        yield from _projection("ffn_gate_inp", (experts.n, self.d_model), Role.ROUTER, self.all_biases)
        yield from self._gated_network("_exps", (experts.n,), experts.d_ff)
        if experts.shared_d_ff:
            yield TensorSpec("ffn_gate_inp_shexp.weight", (self.d_model,), Role.ROUTER)
            yield from self._gated_network("_shexp", (), experts.shared_d_ff)

    def _gated_network(self, suffix: str, stack: tuple[int, ...], d_ff: int) -> Iterator[TensorSpec]:
        for role in (Role.GATE, Role.UP):
            yield from _projection(role.value + suffix, (*stack, d_ff, self.d_model), role, self.all_biases)
        yield from _projection("ffn_down" + suffix, (*stack, self.d_model, d_ff), Role.DOWN, self.all_biases)

    def _norm(self, name: str, role: Role = Role.NORM) -> TensorSpec:
        return TensorSpec(name + ".weight", (self.d_model,), role)


def _projection(name: str, shape: tuple[int, ...], role: Role, bias: bool) -> Iterator[TensorSpec]:
    """A matrix, or a stack of them, and its bias."""
    yield TensorSpec(name + ".weight", shape, role)
    if bias:
        yield TensorSpec(name + ".bias", shape[:-1], Role.BIAS)


def rope_factor_names(shape: Shape) -> list[str]:
    """The tensors that hold divisors of the rotary frequencies."""
    if isinstance(shape.rope_scaling, Llama3Rope):
        return ["rope_freqs.weight"]
    if isinstance(shape.rope_scaling, LongRope):
        return ["rope_factors_long.weight", "rope_factors_short.weight"]
    return []


def rope_factors(shape: Shape, name: str = "rope_freqs.weight") -> npt.NDArray[np.float32]:
    """Divisors of the rotary frequencies, (rope_dimensions / 2,): `apply_scaling` of Llama 3.1, or factors
    that grow to LongRoPE's as published ones do: by a constant ratio, in the first two thirds.
    """
    scaling = shape.rope_scaling
    half = shape.rope_dimensions // 2
    if isinstance(scaling, LongRope):
        if name == "rope_factors_short.weight":
            return np.ones(half, np.float32)
        growth = np.minimum(np.arange(half) / max(2 * half / 3 - 1, 1.0), 1.0)
        return (scaling.factor**growth).astype(np.float32)
    assert isinstance(scaling, Llama3Rope), "no other scaling has factors"
    exponents = np.arange(half, dtype=np.float64) / half
    wavelengths = 2 * math.pi * shape.rope_base**exponents
    smooth = (scaling.original_context / wavelengths - scaling.low_frequency_factor) / (
        scaling.high_frequency_factor - scaling.low_frequency_factor
    )
    smooth = np.clip(smooth, 0.0, 1.0)
    return (1.0 / ((1.0 - smooth) / scaling.factor + smooth)).astype(np.float32)


SHAPES: dict[str, Shape] = {
    "llama-2-7b": Shape("llama", 4096, 32, 32, 32, 128, 11008, 32000, 4096),
    "llama-3-8b": Shape("llama", 4096, 32, 32, 8, 128, 14336, 128256, 8192, rope_base=500000.0),
    "llama-3.1-8b": Shape(
        "llama", 4096, 32, 32, 8, 128, 14336, 128256, 131072, rope_base=500000.0,
        rope_scaling=Llama3Rope(8.0, 1.0, 4.0, 8192),
    ),
    "llama-3.2-1b": Shape(
        "llama", 2048, 16, 32, 8, 64, 8192, 128256, 131072, rope_base=500000.0, tied_embeddings=True,
        rope_scaling=Llama3Rope(32.0, 1.0, 4.0, 8192),
    ),
    "llama-3.2-3b": Shape(
        "llama", 3072, 28, 24, 8, 128, 8192, 128256, 131072, rope_base=500000.0, tied_embeddings=True,
        rope_scaling=Llama3Rope(32.0, 1.0, 4.0, 8192),
    ),
    "tinyllama-1.1b": Shape("llama", 2048, 22, 32, 4, 64, 5632, 32000, 2048),
    "mistral-7b": Shape("llama", 4096, 32, 32, 8, 128, 14336, 32768, 32768, rope_base=1e6),
    "mixtral-8x7b": Shape(
        "llama", 4096, 32, 32, 8, 128, 14336, 32000, 32768, rope_base=1e6, experts=Experts(8, 2, 14336)
    ),
    "qwen-7b": Shape(
        "qwen", 4096, 32, 32, 32, 128, 11008, 151936, 32768, norm_eps=1e-6, qkv_bias=True, fused_qkv=True,
        feed_forward_key_scale=2,
    ),
    "qwen-14b": Shape(
        "qwen", 5120, 40, 40, 40, 128, 13696, 152064, 8192, norm_eps=1e-6, qkv_bias=True, fused_qkv=True,
        feed_forward_key_scale=2,
    ),
    "qwen1.5-moe-a2.7b": Shape(
        "qwen2moe", 2048, 24, 16, 16, 128, 5632, 151936, 8192, rope_base=1e6, norm_eps=1e-6, qkv_bias=True,
        experts=Experts(60, 4, 1408, 5632),
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
    "qwen3-8b": Shape(
        "qwen3", 4096, 36, 32, 8, 128, 12288, 151936, 40960, rope_base=1e6, norm_eps=1e-6, qk_norm=True
    ),
    "qwen3-30b-a3b": Shape(
        "qwen3moe", 2048, 48, 32, 4, 128, 6144, 151936, 40960, rope_base=1e6, norm_eps=1e-6, qk_norm=True,
        experts=Experts(128, 8, 768),
    ),
    "gemma-2b": Shape(
        "gemma", 2048, 18, 8, 1, 256, 16384, 256000, 8192, norm_eps=1e-6, tied_embeddings=True
    ),
    "gemma-7b": Shape(
        "gemma", 3072, 28, 16, 16, 256, 24576, 256000, 8192, norm_eps=1e-6, tied_embeddings=True
    ),
    "gemma-2-2b": Shape(
        "gemma2", 2304, 26, 8, 4, 256, 9216, 256000, 8192, norm_eps=1e-6, tied_embeddings=True,
        post_norms=True, sliding_window=4096, attention_cap=50.0, logit_cap=30.0,
    ),
    "gemma-2-9b": Shape(
        "gemma2", 3584, 42, 16, 8, 256, 14336, 256000, 8192, norm_eps=1e-6, tied_embeddings=True,
        post_norms=True, sliding_window=4096, attention_cap=50.0, logit_cap=30.0,
    ),
    "gemma-3-1b": Shape(
        "gemma3", 1152, 26, 4, 1, 256, 6912, 262144, 32768, rope_base=1e6, norm_eps=1e-6,
        tied_embeddings=True, qk_norm=True, post_norms=True, sliding_window=512,
    ),
    "gemma-3-4b": Shape(
        "gemma3", 2560, 34, 8, 4, 256, 10240, 262144, 131072, rope_base=1e6, norm_eps=1e-6,
        tied_embeddings=True, qk_norm=True, post_norms=True, sliding_window=1024,
        rope_scaling=LinearRope(8.0),
    ),
    "phi-3-mini-4k": Shape(
        "phi3", 3072, 32, 32, 32, 96, 8192, 32064, 4096, fused_qkv=True, fused_gate_up=True,
        sliding_window=2047,
    ),
    "phi-4-mini": Shape(
        "phi3", 3072, 32, 24, 8, 128, 8192, 200064, 131072, rope_dims=96, fused_qkv=True,
        fused_gate_up=True, tied_embeddings=True, rope_scaling=LongRope(32.0, 4096),
    ),
    "chatglm3-6b": Shape(
        "chatglm", 4096, 28, 32, 2, 128, 13696, 65024, 8192, rope_dims=64, qkv_bias=True, fused_qkv=True,
        fused_gate_up=True,
    ),
    "glm-4-9b": Shape(
        "chatglm", 4096, 40, 32, 2, 128, 13696, 151552, 131072, rope_base=5e6, norm_eps=1.5625e-7,
        rope_dims=64, qkv_bias=True, fused_qkv=True, fused_gate_up=True,
    ),
    "glm-4-9b-0414": Shape(
        "glm4", 4096, 40, 32, 2, 128, 13696, 151552, 32768, rope_dims=64, qkv_bias=True, post_norms=True,
        fused_gate_up=True,
    ),
    "gpt-oss-20b": Shape(
        "gpt-oss", 2880, 24, 64, 8, 64, 2880, 201088, 131072, rope_base=150000.0, all_biases=True,
        attention_sinks=True, sliding_window=128, rope_scaling=YarnRope(32.0, 4096),
        feed_forward_norm="post_attention_norm", experts=Experts(32, 4, 2880),
    ),
}  # fmt: skip
