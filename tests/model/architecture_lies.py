"""Lies about what single architectures have: experts, windows, caps, rope scalings, fused matrices, norms,
sinks.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path

from gguf import GGMLQuantizationType
from model_file import (
    BOOL,
    F32,
    F64,
    I32,
    I64,
    STRING,
    TENSOR_F16,
    U32,
    U64,
    Change,
    array,
    key,
    no_key,
    no_tensor,
    tensor,
)  # fmt: skip

sys.path.insert(0, str(Path(__file__).parents[1] / "golden"))

from tiny_models import MODELS, model_named, tensors

NAN, INF = float("nan"), float("inf")
HUGE = ((U64, 2**63), (U64, 2**40), (I64, -(2**63)), (I32, -1))

Case = tuple[str, str, Change, str]
"""The tiny model, what is wrong, how it is made so, and what the error has to name."""


def architecture(model: str) -> str:
    return model_named(model).architecture


def number_lies(model: str, name: str, *, least: int = 0, most: int = 2**32 - 1) -> Iterator[Case]:
    """A whole number that is none, that is beyond what is possible, or of another type."""
    full = f"{architecture(model)}.{name}"
    values = [*HUGE, (F32, 2.0), (STRING, "2"), (BOOL, True)]
    values += [(U32, least - 1)] if least > 0 else []
    values += [(U32, most + 1)] if most < 2**32 - 1 else []
    for kind, value in values:
        yield model, f"{name}={value}", key(full, kind, value), re.escape(full)
    yield model, f"{name}=[]", array(full, U32, []), re.escape(full)


def float_lies(model: str, name: str, *values: float) -> Iterator[Case]:
    """A real number that is none of `values`' kind, or no number."""
    full = f"{architecture(model)}.{name}"
    for value in values:
        yield model, f"{name}={value}", key(full, F32, value), re.escape(full)
    yield model, f"{name} beyond float32", key(full, F64, 1e300), re.escape(full)
    yield model, f"{name} is text", key(full, STRING, "1"), re.escape(full)
    yield model, f"{name} is a list", array(full, F32, [1.0]), re.escape(full)


def without(model: str, name: str) -> Iterator[Case]:
    """A tensor that the model is not itself without."""
    yield model, f"no {name}", no_tensor(name), re.escape(name)


def tensor_lies(model: str, name: str, *shapes: list[int]) -> Iterator[Case]:
    """A tensor of the wrong shape (a row's length first), of no usable format, or none."""
    for shape in shapes:
        yield model, f"{name} {shape}", tensor(name, shape), re.escape(name)
    right = next(shape for shape in _shapes(model) if shape[0] == name)[1]
    yield model, f"{name} of I32", tensor(name, right, GGMLQuantizationType.I32), re.escape(name)
    if len(right) == 1:
        yield model, f"{name} of F16", tensor(name, right, TENSOR_F16), re.escape(name)


@lru_cache(None)
def _shapes_of(model: str) -> tuple[tuple[str, tuple[int, ...]], ...]:
    return tuple((name, values.shape[::-1]) for name, values in tensors(model_named(model)).items())


def _shapes(model: str) -> list[tuple[str, list[int]]]:
    return [(name, list(shape)) for name, shape in _shapes_of(model)]


def _expert_lies() -> Iterator[Case]:
    for model in ("mixtral", "qwen2moe", "qwen3moe", "gpt-oss"):
        name, n = architecture(model), model_named(model).experts.n
        yield from number_lies(model, "expert_used_count", least=1, most=n)
        yield model, "no expert_used_count", no_key(f"{name}.expert_used_count"), "expert_used_count"
        for kind, value in HUGE:
            count = key(f"{name}.expert_count", kind, value)
            yield model, f"expert_count={value}", count, rf"{name}\.expert_count"
        for value in (n - 1, n + 1, 1024):
            count = key(f"{name}.expert_count", U32, value)
            yield model, f"expert_count={value}", count, r"blk\.0\.ffn_gate_inp|expert_used_count"
        none = key(f"{name}.expert_count", U32, 0)
        yield model, "no experts by number", none, r"blk\.0\.ffn_|feed_forward_length"
        for part in ("ffn_gate_inp", "ffn_gate_exps", "ffn_up_exps", "ffn_down_exps"):
            full = f"blk.1.{part}.weight"
            yield model, f"no {full}", no_tensor(full), re.escape(full)
        yield from tensor_lies(model, "blk.0.ffn_gate_inp.weight", [64, n + 1], [63, n], [n, 64], [64])
        gate = dict(_shapes(model))["blk.0.ffn_gate_exps.weight"]
        wrong = [[*gate[:2], n - 1], gate[:2], gate[::-1], [gate[0], gate[1] + 1, n], [*gate[:2], n, 2]]
        yield from tensor_lies(model, "blk.0.ffn_gate_exps.weight", *wrong)
        yield from tensor_lies(model, "blk.1.ffn_up_exps.weight", [gate[0], gate[1] * n], [64, 1, n])
        yield from tensor_lies(model, "blk.1.ffn_down_exps.weight", gate[:2], [gate[1], 65, n])
        yield from float_lies(model, "expert_weights_scale", NAN, INF, -1.0)
        gates = key(f"{name}.expert_gating_func", U32, 2)
        yield model, "sigmoid gates", gates, "expert_gating_func"
        yield model, "groups", key(f"{name}.expert_group_count", U32, 4), "expert_group_count"
        norm = key(f"{name}.expert_weights_norm", STRING, "yes")
        yield model, "a norm that is text", norm, "expert_weights_norm"
        both = tensor("blk.0.ffn_down.weight", [96, 64])
        yield model, "a dense network beside experts", both, r"blk\.0\.ffn_"
    for model in ("qwen2moe", "qwen3moe", "gpt-oss"):
        name = f"{architecture(model)}.expert_feed_forward_length"
        for kind, value in (*HUGE, (U32, 31), (U32, 2**29)):
            yield model, f"{name}={value}", key(name, kind, value), rf"{re.escape(name)}|ffn_gate_exps"
    name = "qwen2moe.expert_shared_feed_forward_length"
    for kind, value in (*HUGE, (U32, 0), (U32, 79)):
        yield "qwen2moe", f"{name}={value}", key(name, kind, value), rf"{name}|ffn_\w+_shexp"
    yield from tensor_lies("qwen2moe", "blk.0.ffn_gate_inp_shexp.weight", [63], [64, 2])
    yield from tensor_lies("qwen2moe", "blk.0.ffn_gate_shexp.weight", [80, 64], [64, 32])
    yield from tensor_lies("qwen2moe", "blk.1.ffn_down_shexp.weight", [64, 80])
    yield from tensor_lies("gpt-oss", "blk.1.ffn_gate_inp.bias", [5], [6, 2])
    yield from tensor_lies("gpt-oss", "blk.1.ffn_up_exps.bias", [64, 5], [63, 6], [64 * 6])
    stray = tensor("blk.0.ffn_gate_exps.weight", [64, 32, 4])
    yield "llama", "experts of a dense model", stray, r"blk\.0\.ffn_gate_exps\.weight"


def _window_lies() -> Iterator[Case]:
    for model in ("mistral-window", "gemma2", "gemma3", "phi3-window", "gpt-oss"):
        yield from number_lies(model, "attention.sliding_window", most=1 << 24)
        pattern = f"{architecture(model)}.attention.sliding_window_pattern"
        n_layers = model_named(model).n_layers
        for length in (0, 1, n_layers - 1, n_layers + 1, 4000):
            for kind in (BOOL, U32):
                change = array(pattern, kind, [1] * length)
                if length != n_layers:
                    yield model, f"{length} flags of {kind.name}", change, re.escape(pattern)
        for kind, values in ((STRING, ["1"] * n_layers), (F32, [1.0] * n_layers)):
            yield model, f"flags of {kind.name}", array(pattern, kind, values), re.escape(pattern)
        for kind, value in (*HUGE, (STRING, "6"), (F32, 6.0)):
            yield model, f"a period of {value}", key(pattern, kind, value), re.escape(pattern)
    yield from float_lies("gemma3-scaled", "rope.freq_base_swa", NAN, INF, 0.0, -1.0)
    tiny = key("gemma3.rope.freq_base_swa", F64, 1e-300)
    yield "gemma3-scaled", "a window's base that overflows", tiny, "rope"


def _cap_lies() -> Iterator[Case]:
    for name in ("attn_logit_softcapping", "final_logit_softcapping"):
        yield from float_lies("gemma2", name, NAN, INF, -INF, -1.0)
        yield from float_lies("llama", name, NAN)
    yield from float_lies("gemma2", "attention.scale", NAN, INF, -1.0)
    for name in ("logit_scale", "residual_scale", "embedding_scale"):
        yield "llama", f"{name}=2", key(f"llama.{name}", F32, 2.0), rf"llama\.{name}"
        yield from float_lies("granite", name, NAN, INF, -INF, 0.0, -1.0)
    yield "granite", "a vanishing residual", key("granite.residual_scale", F32, 1e-30), "residual_scale"
    yield "granite", "overflowing logits", key("granite.logit_scale", F32, 1e-45), "logit_scale"
    for name in ("attention.temperature_scale", "rope.scaling.yarn_log_multiplier"):
        yield "llama-rope-yarn", f"{name}=1", key(f"llama.{name}", F32, 1.0), rf"llama\.{name}"
        yield from float_lies("ministral3", name, NAN, INF, -1.0)


def _rope_lies() -> Iterator[Case]:
    for model in ("llama-rope-yarn", "gpt-oss", "llama-rope-linear", "gemma3-scaled"):
        yield from float_lies(model, "rope.scaling.factor", NAN, INF, -INF, 0.0, -4.0)
    for name in ("yarn_beta_fast", "yarn_beta_slow", "attn_factor"):
        yield from float_lies("llama-rope-yarn", f"rope.scaling.{name}", NAN, INF, -1.0)
    for name in ("yarn_beta_fast", "yarn_beta_slow", "attn_factor"):
        zero = key(f"llama.rope.scaling.{name}", F32, 0.0)
        yield "llama-rope-yarn", f"{name}=0", zero, rf"llama\.rope\.scaling\.{name}"
    for model in ("llama-rope-yarn", "gpt-oss", "phi3-longrope-long", "ministral3"):
        name = "rope.scaling.original_context_length"
        yield from number_lies(model, name, least=1)
        base = key(f"{architecture(model)}.rope.freq_base", F32, 1.0)
        if not model.startswith("phi3"):
            yield model, "a base of 1", base, r"rope\.freq_base"
    for model in ("llama", "qwen2", "gemma3", "gpt-oss"):
        name = f"{architecture(model)}.rope.scaling.type"
        for text in (b"", b"YARN", b"dynamic", b"\xff\n", b"x" * 9999):
            yield model, f"scaling {text[:9]!r}", key(name, STRING, text), re.escape(name)
        yield model, "scaling is a number", key(name, U32, 1), re.escape(name)
    long = key("llama.rope.scaling.type", STRING, "longrope")
    yield "llama", "longrope without factors", long, "rope_factors|longrope"
    factors = {
        "llama-rope-llama3": "rope_freqs.weight",
        "phi3-longrope-long": "rope_factors_long.weight",
        "phi3-longrope-short": "rope_factors_short.weight",
        "phi4-mini": "rope_factors_long.weight",
    }
    for model, name in factors.items():
        half = model_named(model).rope_dims // 2
        yield from tensor_lies(model, name, [half - 1], [half + 1], [2 * half], [half, 2], [1, half])
        for value in (NAN, INF, -INF, 0.0, 1e-45):
            yield model, f"factors {value}", tensor(name, [half], fill=value), re.escape(name) + "|rope"
    for model, most in (("phi4-mini", 16), ("chatglm3", 16), ("glm4", 16), ("qwen3", 32)):
        yield from number_lies(model, "rope.dimension_count", least=1)
        for value in (7, most + 2, most + 1, most * 2):
            name = f"{architecture(model)}.rope.dimension_count"
            yield model, f"{name}={value}", key(name, U32, value), re.escape(name)
    sections = array("llama.rope.dimension_sections", I32, [2, 2, 2, 2])
    yield "llama", "sections", sections, r"rope\.dimension_sections"


def _shape_lies() -> Iterator[Case]:
    for model in ("phi3", "glm-4-9b", "qwen"):
        name = "blk.0.attn_qkv.weight"
        cols, rows = dict(_shapes(model))[name]
        yield from tensor_lies(
            model, name, [cols, rows - 1], [cols, rows + 16], [rows, cols], [cols + 1, rows]
        )
        yield model, f"no {name}", no_tensor(name), r"blk\.0\.attn_q"
        stray = tensor("blk.1.attn_q.weight", [64, 64])
        yield model, "queries twice", stray, r"blk\.1\.attn_q\.weight"
    yield from tensor_lies("glm-4-9b", "blk.1.attn_qkv.bias", [127], [64], [128, 2])
    yield "phi3", "a bias of nothing", tensor("blk.0.attn_qkv.bias", [3]), r"attn_qkv\.bias"
    for model in ("phi3", "chatglm3", "glm4"):
        yield from tensor_lies(model, "blk.1.ffn_up.weight", [64, 191], [64, 96], [192, 64])
        name = f"{architecture(model)}.feed_forward_length"
        for kind, value in (*HUGE, (U32, 0), (U32, 95), (U32, 192)):
            yield model, f"{name}={value}", key(name, kind, value), rf"{name}|blk\.0\.ffn"
    for model in [one.name for one in MODELS]:
        name = architecture(model)
        for value in (63, 66, 128):
            width = key(f"{name}.embedding_length", U32, value)
            yield (
                model,
                f"embedding_length={value}",
                width,
                r"embedding_length|token_embd|heads|dimension_count|rope_freqs",
            )
        heads = key(f"{name}.attention.head_count", U32, 5)
        yield model, "5 heads", heads, r"heads|head_count|attn_q|dimension_count"
        groups = key(f"{name}.attention.head_count_kv", U32, 3)
        yield model, "3 key-value heads", groups, r"heads|head_count_kv"
        yield model, "an unknown tensor", tensor("blk.0.attn_new.weight", [64]), r"blk\.0\.attn_new\.weight"


def _norm_lies() -> Iterator[Case]:
    for model in ("olmo2", "olmoe"):
        for part in ("attn_q_norm", "attn_k_norm"):
            yield from tensor_lies(model, f"blk.1.{part}.weight", [16], [63], [1, 64])
            yield from without(model, f"blk.1.{part}.weight")
    for model in ("olmo2", "exaone4"):
        for part in ("post_attention_norm", "post_ffw_norm"):
            yield from tensor_lies(model, f"blk.1.{part}.weight", [63], [64, 2])
            yield from without(model, f"blk.1.{part}.weight")
        norm = tensor("blk.0.attn_norm.weight", [64])
        yield model, "a norm before a block", norm, r"blk\.0\.attn_norm"
    for model in ("qwen3", "gemma3", "exaone4"):
        for part in ("attn_q_norm", "attn_k_norm"):
            yield from tensor_lies(model, f"blk.1.{part}.weight", [64], [15], [1, 32])
            yield from without(model, f"blk.1.{part}.weight")
    for model in ("gemma2", "gemma3", "glm4"):
        for part in ("post_attention_norm", "post_ffw_norm"):
            yield from tensor_lies(model, f"blk.1.{part}.weight", [63], [64, 2], [1, 64])
            yield from without(model, f"blk.1.{part}.weight")
    yield from tensor_lies("gpt-oss", "blk.1.attn_sinks.weight", [3], [8], [4, 2], [1])
    yield from without("gpt-oss", "blk.1.attn_sinks.weight")
    yield from tensor_lies("gpt-oss", "blk.1.attn_output.bias", [63])
    norm = "blk.1.post_attention_norm.weight"
    for model in ("gpt-oss", "seed-oss"):
        yield model, f"no {norm}", no_tensor(norm), r"blk\.1\.(ffn_norm|post_attention_norm)"


LIES = [*_expert_lies(), *_window_lies(), *_cap_lies(), *_rope_lies(), *_shape_lies(), *_norm_lies()]
