"""Which tensor becomes what: llama.cpp's choices on small models of many kinds, and the policy at load.

`reference/llama_quantize_types.json` holds what `llama-quantize --dry-run` printed for the shapes below: for
each part of a layer, its types in the order of layers.
"""

from __future__ import annotations

import json
from dataclasses import replace
from itertools import groupby
from pathlib import Path

import pytest
from gguf import GGMLQuantizationType as Type

from llmcore import _core
from llmcore.errors import InvalidArgumentError
from llmcore.tools.quant_mix import MIXES, ModelFacts, can_change, mix_name, weight_type
from llmcore.tools.quantize_plan import Choice, plan, tensor_formats
from llmcore.tools.shapes import SHAPES, Experts, Shape
from llmcore.tools.synthesize import synthesize

RECORDED: dict[str, dict[str, dict[str, str]]] = json.loads(
    (Path(__file__).resolve().parent / "reference" / "llama_quantize_types.json").read_text(encoding="utf-8")
)


def small(name: str, n_layers: int, n_kv_heads: int, d_ff: int, **changes: object) -> Shape:
    """A published shape with 8 heads of 32, a small vocabulary, and what else is given."""
    shape = replace(SHAPES[name], n_layers=n_layers, n_kv_heads=n_kv_heads, d_ff=d_ff)
    size = {"d_model": 256, "n_heads": 8, "head_dim": 32, "n_vocab": 320, "n_ctx": 256}
    return replace(shape, **{**size, **changes})  # type: ignore[arg-type]


SHAPES_MEASURED = {
    "llama": small("llama-3-8b", 16, 2, 256),
    "llama-not-grouped-tied": replace(small("llama-2-7b", 9, 8, 256), tied_embeddings=True),
    "mixtral": small("mixtral-8x7b", 8, 2, 256, experts=Experts(8, 2, 256)),
    "qwen3moe": small("qwen3-30b-a3b", 8, 2, 256, experts=Experts(16, 2, 256)),
    "qwen-fused-odd-rows": small("qwen-7b", 8, 8, 416),
    "qwen2-narrow": small("qwen2-0.5b", 8, 1, 256, d_model=224, n_heads=7),
}


def write(folder: Path, shape: Shape, quant: str = "F16") -> Path:
    path = folder / "model.gguf"
    synthesize(path, shape, quant)
    return path


def by_part(types: dict[str, str]) -> dict[str, str]:
    """Types in the order of layers, equal ones counted: {"attn_v": "Q6_K*2 Q4_K"}."""
    parts: dict[str, list[str]] = {}
    for name in sorted(types, key=lambda name: int(name.split(".")[1]) if name.startswith("blk.") else -1):
        if name.endswith(".weight") and "norm" not in name:
            part = name.split(".", 2)[2] if name.startswith("blk.") else name
            parts.setdefault(part.removesuffix(".weight"), []).append(types[name])
    return {
        part: " ".join(_counted(list(group)) for _, group in groupby(found)) for part, found in parts.items()
    }


def _counted(alike: list[str]) -> str:
    return alike[0] if len(alike) == 1 else f"{alike[0]}*{len(alike)}"


@pytest.mark.parametrize("name", SHAPES_MEASURED)
def test_types_are_llama_quantizes(tmp_path: Path, name: str) -> None:
    file = _core.GGUFFile(write(tmp_path, SHAPES_MEASURED[name]))
    assert set(RECORDED[name]) == set(MIXES) - {"F32", "F16", "BF16"}
    for mix, expected in RECORDED[name].items():
        changes = plan(file, Choice(mix))
        assert by_part({change.tensor.name: change.target.name for change in changes}) == expected, mix


def facts(**changes: object) -> ModelFacts:
    common = ModelFacts("llama", 80, 64, 8, 0, False, tuple(range(80)))
    return replace(common, **changes)  # type: ignore[arg-type]


def test_values_of_a_70b_model_are_finer() -> None:
    assert weight_type("Q4_K_S", facts(), "blk.70.attn_v.weight", 8192) is Type.Q5_K
    assert weight_type("Q4_K_S", facts(n_kv_heads=64), "blk.70.attn_v.weight", 8192) is Type.Q4_K
    assert weight_type("Q4_K_S", facts(architecture="gemma"), "blk.70.attn_v.weight", 8192) is Type.Q4_K


@pytest.mark.parametrize(
    ("mix", "expected"),
    [("Q4_K_M", "Q5_0"), ("Q5_K_M", "Q5_1"), ("Q6_K", "Q8_0"), ("Q2_K", "Q4_0"), ("IQ4_XS", "IQ4_NL")],
)
def test_rows_that_are_not_whole_blocks_fall_back(mix: str, expected: str) -> None:
    """13696, the feed-forward length of Qwen-14B and ChatGLM3, is a multiple of 128."""
    assert weight_type(mix, facts(), "blk.40.ffn_gate.weight", 13696).name == expected
    assert weight_type(mix, facts(), "blk.40.ffn_gate.weight", 100) is Type.F16


@pytest.mark.parametrize(
    "name",
    [
        "blk.0.attn_norm.weight", "blk.0.ffn_gate_inp.weight", "blk.0.attn_q.bias", "position_embd.weight",
        "blk.0.ssm_conv1d.weight", "blk.0.time_mix_w1.weight", "blk.0.attn_q_norm.weight",
    ],
)  # fmt: skip
def test_small_tensors_are_kept(name: str) -> None:
    assert not can_change(name, 2)
    assert can_change("blk.0.ffn_down_exps.weight", 3)
    assert not can_change("blk.0.attn_q.weight", 1)


def test_names() -> None:
    assert mix_name("q4_k") == "Q4_K_M"
    assert mix_name("iq4_xs") == "IQ4_XS"
    with pytest.raises(
        InvalidArgumentError, match=r"got 'Q9'; expected one of F32, .*Q2_K_S, Q3_K, Q4_K, Q5_K"
    ):
        mix_name("Q9")


def test_exceptions_to_the_mix(tmp_path: Path) -> None:
    file = _core.GGUFFile(write(tmp_path, SHAPES_MEASURED["llama"]))

    def types(**options: object) -> dict[str, str]:
        choice = Choice("Q4_K_M", **options)  # type: ignore[arg-type]
        return {change.tensor.name: change.target.name for change in plan(file, choice)}

    pure = types(pure=True)
    assert {kind for name, kind in pure.items() if "norm" not in name} == {"Q4_K"}
    assert {kind for name, kind in pure.items() if "norm" in name} == {"F32"}
    chosen = types(output_type="q8_0", embedding_type="F16")
    assert (chosen["output.weight"], chosen["token_embd.weight"]) == ("Q8_0", "F16")
    with pytest.raises(
        InvalidArgumentError, match="unknown tensor type; got 'Q4_K_M'; expected one of F32, F16"
    ):
        types(output_type="Q4_K_M")


def test_unquantized_types_become_each_other_and_quantized_ones_only_narrower(tmp_path: Path) -> None:
    bf16 = _core.GGUFFile(write(tmp_path, SHAPES_MEASURED["llama"], "BF16"))
    types = {change.tensor.name: change.target for change in plan(bf16, Choice("F16"))}
    assert types["blk.0.attn_q.weight"] is Type.F16
    q4 = _core.GGUFFile(write(tmp_path, SHAPES_MEASURED["llama"], "Q4_0"))
    types = {change.tensor.name: change.target for change in plan(q4, Choice("Q3_K_M"))}
    assert types["blk.0.attn_q.weight"] is Type.Q3_K
    assert types["blk.0.attn_v.weight"] is Type.Q4_0  # Q5_K is wanted
    with pytest.raises(InvalidArgumentError, match=r"nothing to do.*Q8_0"):
        plan(q4, Choice("Q8_0"))


def test_formats_at_load_only_become_narrower(tmp_path: Path) -> None:
    path = write(tmp_path, SHAPES_MEASURED["llama"], "Q8_0")
    stored = {tensor.name: tensor.type for tensor in _core.GGUFFile(path).tensors}
    assert tensor_formats(path, "F16") == stored
    assert tensor_formats(path, "Q8_0") == stored
    narrow = tensor_formats(path, "Q4_K_M")
    assert set(narrow) == set(stored)
    assert narrow["blk.3.ffn_up.weight"] == "Q4_K"
    assert narrow["output.weight"] == "Q6_K"
    assert narrow["blk.3.attn_norm.weight"] == "F32"
    assert tensor_formats(write(tmp_path, SHAPES_MEASURED["llama"], "BF16"), "F16")["output.weight"] == "BF16"
    with pytest.raises(InvalidArgumentError, match="unknown quantization"):
        tensor_formats(path, "Q9")
