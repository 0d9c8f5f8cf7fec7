"""Tiny models of every architecture: their shapes and their deterministic weights, by GGUF's names.

Needs NumPy alone: what made the golden logits (make_golden.py) and what is tested against them share nothing
but this table.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

N_VOCAB = 96
N_PROMPT = 48  # random tokens; what follows them in a golden sequence the reference chose greedily
N_TOKENS = 72  # longer than any window below, and than blocks of 16, 32 and 64 tokens

Array = npt.NDArray[np.float32]
Kind = Literal["embedding", "output", "norm", "linear", "attention", "router", "expert", "bias", "sink"]


@dataclass(frozen=True)
class RopeScaling:
    """How rotary frequencies are stretched; `kind` as transformers names it."""

    kind: Literal["linear", "llama3", "yarn", "longrope"]
    original_context: int
    factor: float
    betas: tuple[float, float] | None = None  # YaRN's fast and slow turns, where the file states them


@dataclass(frozen=True)
class Experts:
    """A mixture of experts: each token goes to `n_used` of `n`."""

    n: int
    n_used: int
    d_ff: int
    d_shared: int = 0  # of the expert that every token goes to; 0: none
    normalized: bool = True  # the chosen experts' weights add up to 1


@dataclass(frozen=True)
class TinyModel:
    """One model. `architecture` is GGUF's name, `family` that of the published code it has to agree with."""

    name: str
    architecture: str
    family: str
    n_layers: int = 2
    d_model: int = 64
    n_heads: int = 4
    n_kv_heads: int = 2
    head_dim: int = 16
    d_ff: int = 96
    norm_eps: float = 0.01  # large enough to be seen
    n_ctx_train: int = 512
    n_ctx: int = 128  # what it is opened with
    tied: bool = False
    qkv_bias: bool = False
    output_bias: bool = False
    ffn_bias: bool = False
    qk_norm: bool = False
    fused_qkv: bool = False
    fused_gate_up: bool = False
    rope_base: float = 5000.0  # not what is assumed where a file leaves it out
    rope_base_window: float | None = None  # of layers with a window, where the file states it
    rope_dims: int = 16
    rope_scaling: RopeScaling | None = None
    window: int = 0  # 0: none
    window_period: int = 1  # every layer but each period's last has the window; 1: all layers
    window_layers: tuple[bool, ...] | None = None  # which have it, where the file lists them
    attention_softcap: float = 0.0
    final_softcap: float = 0.0
    wide_scale: bool = False  # scores are divided by sqrt(d_model / n_heads) instead of sqrt(head_dim)
    experts: Experts | None = None
    seed: int = 1

    def layer_window(self, layer: int) -> int:
        """The window of a layer, 0 for none."""
        if self.window_layers is not None:
            return self.window if self.window_layers[layer] else 0
        is_global = self.window_period > 1 and (layer + 1) % self.window_period == 0
        return 0 if is_global else self.window


# Where norms are, by architecture.
NORMS_AFTER_ONLY = ("olmo2", "exaone4")
NORMS_ON_BOTH_SIDES = ("gemma2", "gemma3", "glm4")
ONE_NORM_NAMED_POST = ("gpt-oss", "seed_oss")  # the second norm of a layer, before its feed-forward network
NORMS_ALL_HEADS = ("olmo2", "olmoe")
# Sections of images in the rotary dimensions, which a text does not show.
ROPE_SECTIONS = {"qwen2vl": (2, 3, 3), "qwen3vl": (6, 5, 5), "qwen3vlmoe": (3, 3, 2)}


@dataclass(frozen=True)
class Scales:
    """What embeddings, scores and blocks' outputs are multiplied by, and logits divided by."""

    embedding: float
    attention: float
    residual: float
    logits: float


SCALES = {"granite": Scales(3.0, 0.15, 0.4, 0.5), "granitemoe": Scales(3.0, 0.3, 0.6, 0.25)}

_LLAMA3 = RopeScaling("llama3", 32, 8.0)
_YARN = RopeScaling("yarn", 32, 4.0)
_YARN_LATE = RopeScaling("yarn", 1024, 4.0, (16.0, 2.0))  # its ramp begins after the first frequency
_SHORT = RopeScaling("longrope", 128, 4.0)  # the context it is opened with is within the original one
_LONG = RopeScaling("longrope", 32, 16.0)  # the prompt already exceeds the original context

MODELS = [
    TinyModel("llama", "llama", "llama"),
    TinyModel("llama-rope-llama3", "llama", "llama", rope_base=500.0, rope_scaling=_LLAMA3, tied=True),
    TinyModel("llama-rope-linear", "llama", "llama", rope_scaling=RopeScaling("linear", 128, 4.0)),
    TinyModel("llama-rope-yarn", "llama", "llama", rope_scaling=_YARN, n_ctx_train=128),
    TinyModel("llama-biases", "llama", "llama", qkv_bias=True, output_bias=True, ffn_bias=True),
    TinyModel("llama-wide-heads", "llama", "mistral", head_dim=32, rope_dims=32, n_kv_heads=1),
    TinyModel("mistral-window", "llama", "mistral", window=20),
    TinyModel("mixtral", "llama", "mixtral", d_ff=48, experts=Experts(4, 2, 48), seed=2),
    TinyModel("qwen", "qwen", "qwen", qkv_bias=True, fused_qkv=True, n_kv_heads=4),
    TinyModel("qwen2", "qwen2", "qwen2", qkv_bias=True, rope_base=1e6, tied=True),
    TinyModel("qwen2-rope-yarn", "qwen2", "qwen2", qkv_bias=True, rope_scaling=_YARN_LATE,
              n_ctx_train=4096),
    TinyModel("qwen2moe", "qwen2moe", "qwen2_moe", qkv_bias=True,
              experts=Experts(6, 2, 32, 80, normalized=False), seed=3),
    TinyModel("qwen2moe-normalized", "qwen2moe", "qwen2_moe", qkv_bias=True,
              experts=Experts(6, 2, 32, 80), seed=3),
    TinyModel("qwen3", "qwen3", "qwen3", qk_norm=True, head_dim=32, rope_dims=32, rope_base=1e6, tied=True),
    TinyModel("qwen3moe", "qwen3moe", "qwen3_moe", qk_norm=True, head_dim=32, rope_dims=32, rope_base=1e6,
              experts=Experts(6, 3, 32)),
    TinyModel("gemma", "gemma", "gemma", head_dim=32, rope_dims=32, n_kv_heads=1, tied=True,
              rope_base=10000.0),
    TinyModel("gemma2", "gemma2", "gemma2", n_layers=4, head_dim=32, rope_dims=32, tied=True,
              window=24, window_period=2, rope_base=10000.0, attention_softcap=3.0, final_softcap=6.0),
    TinyModel("gemma3", "gemma3", "gemma3", n_layers=7, qk_norm=True, tied=True, window=16,
              window_period=6, rope_base=1e6),
    TinyModel("gemma3-scaled", "gemma3", "gemma3", n_layers=7, qk_norm=True, tied=True,
              window=24, window_period=6, rope_base=1e5, rope_base_window=1000.0,
              rope_scaling=RopeScaling("linear", 64, 8.0)),
    TinyModel("gemma3-listed", "gemma3", "gemma3", n_layers=4, qk_norm=True, tied=True,
              window=16, window_layers=(False, True, True, False), rope_base=1e6),
    # The published models of 27B have these numbers of layers and are known by them.
    TinyModel("gemma2-27b", "gemma2", "gemma2", n_layers=46, d_model=32, n_heads=2, n_kv_heads=1, head_dim=32,
              d_ff=32, rope_dims=32, tied=True, window=24, window_period=2, rope_base=10000.0,
              attention_softcap=3.0, final_softcap=6.0, wide_scale=True),
    TinyModel("gemma3-27b", "gemma3", "gemma3", n_layers=62, d_model=32, n_heads=2, n_kv_heads=1, head_dim=32,
              d_ff=32, rope_dims=32, qk_norm=True, tied=True, window=16, window_period=6,
              rope_base=1e6, rope_scaling=RopeScaling("linear", 64, 8.0), wide_scale=True),
    TinyModel("phi3", "phi3", "phi3", fused_qkv=True, fused_gate_up=True),
    TinyModel("phi3-window", "phi3", "phi3", fused_qkv=True, fused_gate_up=True, window=20, n_kv_heads=4),
    TinyModel("phi3-longrope-short", "phi3", "phi3", fused_qkv=True, fused_gate_up=True,
              rope_scaling=_SHORT, window=100),
    TinyModel("phi3-longrope-long", "phi3", "phi3", fused_qkv=True, fused_gate_up=True, rope_scaling=_LONG,
              window=100),
    TinyModel("phi4-mini", "phi3", "phi3", fused_qkv=True, fused_gate_up=True, rope_dims=12, tied=True,
              rope_scaling=_LONG, seed=2),
    TinyModel("glm-4-9b", "chatglm", "glm", qkv_bias=True, fused_qkv=True, fused_gate_up=True, rope_dims=8),
    TinyModel("chatglm3", "chatglm", "chatglm3", qkv_bias=True, fused_qkv=True, fused_gate_up=True,
              rope_dims=8),
    TinyModel("glm4", "glm4", "glm4", fused_gate_up=True, rope_dims=8),
    TinyModel("glm4-biases", "glm4", "glm4", qkv_bias=True, fused_gate_up=True, head_dim=32, rope_dims=16,
              seed=2),
    TinyModel("gpt-oss", "gpt-oss", "gpt_oss", n_layers=3, qkv_bias=True, output_bias=True, window=16,
              window_period=2, rope_base=150000.0, rope_scaling=RopeScaling("yarn", 2048, 8.0, (32.0, 1.0)),
              n_ctx_train=16384, experts=Experts(6, 2, 64)),
    TinyModel("qwen2vl", "qwen2vl", "qwen2_5_vl", qkv_bias=True, rope_base=1e6),
    TinyModel("qwen3vl", "qwen3vl", "qwen3_vl", qk_norm=True, head_dim=32, rope_dims=32),
    TinyModel("qwen3vlmoe", "qwen3vlmoe", "qwen3_vl_moe", qk_norm=True, experts=Experts(6, 3, 32), seed=3),
    TinyModel("ministral3", "mistral3", "ministral3", head_dim=32, rope_dims=32,
              rope_scaling=RopeScaling("yarn", 128, 16.0, (16.0, 1.0)), n_ctx_train=2048),
    TinyModel("mistral-small", "mistral3", "mistral", head_dim=32, rope_dims=32, n_kv_heads=1),
    TinyModel("smollm3", "smollm3", "smollm3", n_layers=5, tied=True),
    TinyModel("seed-oss", "seed_oss", "seed_oss", qkv_bias=True, head_dim=32, rope_dims=32),
    TinyModel("ernie4_5", "ernie4_5", "ernie4_5", tied=True, n_kv_heads=1),
    TinyModel("granite", "granite", "granite", tied=True),
    TinyModel("granitemoe", "granitemoe", "granitemoe", experts=Experts(6, 2, 48), seed=3),
    TinyModel("granitemoe-shared", "granitemoe", "granitemoeshared", experts=Experts(6, 2, 48, 80)),
    TinyModel("olmo2", "olmo2", "olmo2", qk_norm=True),
    TinyModel("olmo3", "olmo2", "olmo3", n_layers=5, qk_norm=True, n_kv_heads=4, window=20,
              window_layers=(True, True, True, False, True), rope_scaling=_YARN),
    TinyModel("olmoe", "olmoe", "olmoe", qk_norm=True, n_kv_heads=4,
              experts=Experts(6, 3, 32, normalized=False), seed=4),
    TinyModel("exaone4", "exaone4", "exaone4", qk_norm=True, tied=True, rope_base=500.0,
              rope_scaling=_LLAMA3),
    TinyModel("exaone4-window", "exaone4", "exaone4", n_layers=5, qk_norm=True, window=20,
              window_layers=(True, True, True, False, False)),
]  # fmt: skip


def model_named(name: str) -> TinyModel:
    return next(model for model in MODELS if model.name == name)


def prompt_ids() -> list[int]:
    """The first N_PROMPT tokens of every golden sequence."""
    noise = hashlib.shake_256(b"prompt").digest(N_PROMPT - 1)
    return [1, *(3 + byte % (N_VOCAB - 3) for byte in noise)]


# --- tensors ---------------------------------------------------------------------------------------------


def tensor_shapes(model: TinyModel) -> Iterator[tuple[str, tuple[int, ...], Kind]]:
    """Name, shape (rows first) and kind of every tensor of the file that is drawn at random."""
    yield "token_embd.weight", (N_VOCAB, model.d_model), "embedding"
    for layer in range(model.n_layers):
        for name, shape, kind in (*_attention(model), *_feed_forward(model)):
            yield f"blk.{layer}.{name}", shape, kind
    yield "output_norm.weight", (model.d_model,), "norm"
    if not model.tied:
        yield "output.weight", (N_VOCAB, model.d_model), "output"


def _attention(model: TinyModel) -> Iterator[tuple[str, tuple[int, ...], Kind]]:
    q_dim, kv_dim = model.n_heads * model.head_dim, model.n_kv_heads * model.head_dim
    if model.architecture not in NORMS_AFTER_ONLY:
        yield "attn_norm.weight", (model.d_model,), "norm"
    parts = {"attn_q": q_dim, "attn_k": kv_dim, "attn_v": kv_dim}
    if model.fused_qkv:
        parts = {"attn_qkv": q_dim + 2 * kv_dim}
    for name, rows in parts.items():
        yield f"{name}.weight", (rows, model.d_model), "linear" if name == "attn_v" else "attention"
        if model.qkv_bias:
            yield f"{name}.bias", (rows,), "bias"
    if model.qk_norm:
        together = model.architecture in NORMS_ALL_HEADS
        yield "attn_q_norm.weight", (q_dim if together else model.head_dim,), "norm"
        yield "attn_k_norm.weight", (kv_dim if together else model.head_dim,), "norm"
    yield "attn_output.weight", (model.d_model, q_dim), "linear"
    if model.output_bias:
        yield "attn_output.bias", (model.d_model,), "bias"
    if model.architecture == "gpt-oss":
        yield "attn_sinks.weight", (model.n_heads,), "sink"
    if model.architecture in (*NORMS_AFTER_ONLY, *NORMS_ON_BOTH_SIDES, *ONE_NORM_NAMED_POST):
        yield "post_attention_norm.weight", (model.d_model,), "norm"


def _feed_forward(model: TinyModel) -> Iterator[tuple[str, tuple[int, ...], Kind]]:
    d, d_ff = model.d_model, model.d_ff
    if model.architecture not in (*NORMS_AFTER_ONLY, *ONE_NORM_NAMED_POST):
        yield "ffn_norm.weight", (d,), "norm"
    if model.experts is not None:
        yield from _expert_tensors(model, model.experts)
    elif model.fused_gate_up:
        yield "ffn_up.weight", (2 * d_ff, d), "linear"
        yield "ffn_down.weight", (d, d_ff), "linear"
    else:
        for name, rows, cols in (("gate", d_ff, d), ("up", d_ff, d), ("down", d, d_ff)):
            yield f"ffn_{name}.weight", (rows, cols), "linear"
            if model.ffn_bias:
                yield f"ffn_{name}.bias", (rows,), "bias"
    if model.architecture in (*NORMS_AFTER_ONLY, *NORMS_ON_BOTH_SIDES):
        yield "post_ffw_norm.weight", (d,), "norm"


def _expert_tensors(model: TinyModel, experts: Experts) -> Iterator[tuple[str, tuple[int, ...], Kind]]:
    d, n, d_ff = model.d_model, experts.n, experts.d_ff
    has_bias = model.architecture == "gpt-oss"
    yield "ffn_gate_inp.weight", (n, d), "router"
    if has_bias:
        yield "ffn_gate_inp.bias", (n,), "bias"
    for name, rows, cols in (("gate", d_ff, d), ("up", d_ff, d), ("down", d, d_ff)):
        yield f"ffn_{name}_exps.weight", (n, rows, cols), "linear" if name == "down" else "expert"
        if has_bias:
            yield f"ffn_{name}_exps.bias", (n, rows), "bias"
    if experts.d_shared:
        if model.architecture == "qwen2moe":
            yield "ffn_gate_inp_shexp.weight", (d,), "router"
        yield "ffn_gate_shexp.weight", (experts.d_shared, d), "linear"
        yield "ffn_up_shexp.weight", (experts.d_shared, d), "linear"
        yield "ffn_down_shexp.weight", (d, experts.d_shared), "linear"


def tensors(model: TinyModel) -> dict[str, Array]:
    """Every tensor of the file, float32, by its GGUF name."""
    made = {name: _values(model, name, shape, kind) for name, shape, kind in tensor_shapes(model)}
    scaling = model.rope_scaling
    if scaling is not None and scaling.kind == "llama3":
        made["rope_freqs.weight"] = llama3_factors(model, scaling)
    if scaling is not None and scaling.kind == "longrope":
        long, short = longrope_factors(model)
        made["rope_factors_long.weight"] = long
        made["rope_factors_short.weight"] = short
    return made


def _values(model: TinyModel, name: str, shape: tuple[int, ...], kind: Kind) -> Array:
    """Depends on the model's name and seed and the tensor's name alone, on every machine."""
    noise = _noise(f"{model.name}/{model.seed}/{name}", math.prod(shape)).reshape(shape)
    if kind == "norm":
        return (1.0 + 0.25 * noise).astype(np.float32)
    if kind == "sink":
        return (1.0 + noise).astype(np.float32)
    return (_deviation(model, kind, shape) * noise).astype(np.float32)


def _noise(key: str, n: int) -> npt.NDArray[np.float64]:
    """`n` numbers with mean 0 and deviation 1, between -3.5 and 3.5: sums of four even ones."""
    parts = np.frombuffer(hashlib.shake_256(key.encode()).digest(8 * n), "<u2").reshape(n, 4)
    return (parts.sum(axis=1, dtype=np.int64) - 2 * 65535) / (65536 / math.sqrt(3))


def _deviation(model: TinyModel, kind: Kind, shape: tuple[int, ...]) -> float:
    """Wide enough that softmaxes are far from even and that clamps and caps bite."""
    if kind == "bias":
        return 0.4
    if kind == "embedding" and not model.tied:
        return 1.0
    gains = {"linear": 1.0, "attention": 1.6, "router": 2.0, "embedding": 2.5, "output": 2.5}
    gains["expert"] = 3.5 if model.architecture == "gpt-oss" else 1.5
    return gains[kind] / math.sqrt(shape[-1])


def llama3_factors(model: TinyModel, scaling: RopeScaling) -> Array:
    """Divisors of the frequencies, (rope_dims / 2,), as published files of Llama 3.1 store them."""
    low, high = 1.0, 4.0
    frequencies = model.rope_base ** (-np.arange(0, model.rope_dims, 2) / model.rope_dims)
    turns = scaling.original_context * frequencies / (2 * math.pi)
    smooth = np.clip((turns - low) / (high - low), 0.0, 1.0)
    return (1.0 / ((1.0 - smooth) / scaling.factor + smooth)).astype(np.float32)


def longrope_factors(model: TinyModel) -> tuple[Array, Array]:
    """Made-up long and short divisors of the frequencies, (rope_dims / 2,) each."""
    steps = np.arange(model.rope_dims // 2)
    return (1.0 + 0.75 * steps).astype(np.float32), (1.0 + 0.0625 * steps).astype(np.float32)
