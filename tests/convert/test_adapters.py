"""Adapters as PEFT saves them: converted, they make of the model what their merged weights make of it."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner
from gguf import GGUFReader
from model_folders import ModelFolder, tiny_model, write_safetensors

from llmcore import LLM, GGUFError, InvalidArgumentError, ModelError
from llmcore.cli import main
from llmcore.tools.convert import convert
from llmcore.tools.convert.lora import convert_adapter

PROMPT = [1, 5, 300, 17, 42, 9, 128, 77, 3, 250]
SETTINGS: dict[str, Any] = {
    "peft_type": "LORA", "lora_alpha": 12, "r": 3, "bias": "none", "modules_to_save": None, "use_dora": False,
}  # fmt: skip
TARGETS = (
    "q_proj.weight", "k_proj.weight", "v_proj.weight", "o_proj.weight", "qkv_proj.weight", "gate_proj.weight",
    "up_proj.weight", "gate_up_proj.weight", "down_proj.weight", "c_attn.weight", "w1.weight",
    "query_key_value.weight", "lm_head.weight",
)  # fmt: skip


def halves_of(folder: ModelFolder, rank: int = 3) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    dice = np.random.default_rng(4)
    found = {}
    for name, values in folder.tensors.items():
        if name.endswith(TARGETS) and values.ndim == 2 and ".experts." not in name:
            rows, cols = values.shape
            a = dice.normal(0, cols**-0.5, (rank, cols)).astype(np.float32)
            b = dice.normal(0, 0.1, (rows, rank)).astype(np.float32)
            found[name] = (a, b)
    return found


def write_adapter(
    path: Path, halves: dict[str, tuple[np.ndarray, np.ndarray]], *, bfloat16: bool = False, **settings: Any
) -> Path:
    path.mkdir()
    (path / "adapter_config.json").write_text(json.dumps({**SETTINGS, **settings}), encoding="utf-8")
    tensors = {}
    for name, pair in halves.items():
        for half, values in zip("AB", pair, strict=True):
            tensors[f"base_model.model.{name.removesuffix('.weight')}.lora_{half}.weight"] = values
    write_safetensors(path / "adapter_model.safetensors", tensors, bfloat16=bfloat16)
    return path


@pytest.mark.parametrize(
    "model_type", ["llama", "mixtral", "qwen2", "qwen2_moe", "gemma2", "phi3", "glm", "qwen", "chatglm"]
)
def test_it_equals_the_merged_model(
    make_folder: Callable[..., ModelFolder], tmp_path: Path, model_type: str
) -> None:
    folder = make_folder(model_type)
    halves = halves_of(folder)
    assert halves
    adapter = write_adapter(tmp_path / "adapter", halves)
    merged = replace(folder, tensors=dict(folder.tensors))
    for name, (a, b) in halves.items():
        merged.tensors[name] = (folder.tensors[name] + 4.0 * (b.astype(np.float64) @ a)).astype(np.float32)
    merged.write(tmp_path / "merged")
    base, whole = tmp_path / "base.gguf", tmp_path / "merged.gguf"
    convert(folder.path, base, type_name="f32")
    convert(merged.path, whole, type_name="f32")
    # By the model's folder and by its GGUF file.
    files = [tmp_path / "a.gguf", tmp_path / "b.gguf"]
    for out, known in zip(files, (folder.path, base), strict=True):
        done = convert_adapter(adapter, out, base=known)
        assert (done.n_matrices, done.rank) == (len(halves), 3)
    assert files[0].read_bytes() == files[1].read_bytes()
    with LLM(whole, threads=1, kv_cache_type="f32") as llm:
        expected = llm.logits(PROMPT)
    with LLM(base, threads=1, kv_cache_type="f32", lora={"x": files[0]}) as llm:
        found, bare = llm.logits(PROMPT, lora="x"), llm.logits(PROMPT)
    size = np.linalg.norm(expected)
    assert np.linalg.norm(found - expected) < 1e-5 * size
    assert np.linalg.norm(bare - expected) > 1e-2 * size


def test_types_and_rank_stabilized_scales(tmp_path: Path) -> None:
    folder = tiny_model("qwen2")
    folder.write(tmp_path / "base")
    adapter = write_adapter(tmp_path / "adapter", halves_of(folder), bfloat16=True, use_rslora=True)
    for type_name, kind in (("auto", "BF16"), ("f16", "F16"), ("f32", "F32")):
        out = tmp_path / f"{type_name}.gguf"
        convert_adapter(adapter, out, base=folder.path, type_name=type_name)
        reader = GGUFReader(out)
        assert {tensor.tensor_type.name for tensor in reader.tensors} == {kind}
        assert reader.fields["adapter.lora.alpha"].contents() == pytest.approx(12 * 3**0.5)
        assert reader.fields["general.type"].contents() == "adapter"


Halves = dict[str, tuple[np.ndarray, np.ndarray]]


def _rename(old: str, new: str) -> Callable[[Halves], Halves]:
    return lambda halves: {name.replace(old, new): pair for name, pair in halves.items()}


LIES: dict[str, tuple[dict[str, Any], Callable[[Halves], Halves], str]] = {
    "another kind": ({"peft_type": "IA3"}, dict, "peft_type"),
    "no kind": ({"peft_type": None}, dict, "peft_type"),
    "dora": ({"use_dora": True}, dict, "use_dora"),
    "biases": ({"bias": "all"}, dict, "bias"),
    "saved modules": ({"modules_to_save": ["lm_head"]}, dict, "modules_to_save"),
    "patterns": ({"alpha_pattern": {"q_proj": 2}}, dict, "alpha_pattern"),
    "no alpha": ({"lora_alpha": None}, dict, "lora_alpha"),
    "alpha of text": ({"lora_alpha": "12"}, dict, "lora_alpha"),
    "infinite alpha": ({"lora_alpha": 1e400}, dict, "lora_alpha"),
    "unknown layers": ({}, _rename("layers.1", "layers.9x"), "does not have"),
    "unknown names": ({}, _rename("q_proj", "z_proj"), "does not have"),
    "a norm": ({}, _rename("q_proj", "q_norm"), "does not have"),
    "nothing": ({}, lambda _: {}, "changes nothing"),
    "ranks": ({}, lambda halves: {n: (a[:2], b) for n, (a, b) in halves.items()}, "shapes"),
    "vectors": ({}, lambda halves: {n: (a[0], b) for n, (a, b) in halves.items()}, "shapes"),
    "other rows": ({}, lambda halves: {n: (a, b[:-1]) for n, (a, b) in halves.items()}, "rows"),
    "integers": ({}, lambda halves: {n: (a.astype(np.int64), b) for n, (a, b) in halves.items()}, "type of"),
    "the embedding": ({}, _rename("lm_head", "model.embed_tokens"), "not supported"),
}


@pytest.mark.parametrize("lie", LIES)
def test_folders_that_lie_are_refused(tmp_path: Path, lie: str) -> None:
    settings, change, said = LIES[lie]
    folder = tiny_model("llama")
    folder.write(tmp_path / "base")
    adapter = write_adapter(tmp_path / "adapter", change(halves_of(folder)), **settings)
    with pytest.raises(ModelError, match=said):
        convert_adapter(adapter, tmp_path / "out.gguf", base=folder.path)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["adapter", "base"]


def test_what_is_missing_is_named(tmp_path: Path) -> None:
    folder = tiny_model("llama")
    folder.write(tmp_path / "base")
    adapter = write_adapter(tmp_path / "adapter", halves_of(folder))
    out = tmp_path / "out.gguf"
    with pytest.raises(ModelError, match=r"config\.json"):
        convert_adapter(adapter, out, base=adapter)
    with pytest.raises(GGUFError):
        convert_adapter(adapter, out, base=adapter / "adapter_config.json")
    with pytest.raises(InvalidArgumentError, match="type"):
        convert_adapter(adapter, out, base=folder.path, type_name="q8_0")
    (adapter / "adapter_model.safetensors").unlink()
    with pytest.raises(ModelError, match="adapter_model"):
        convert_adapter(adapter, out, base=folder.path)


def test_the_command_knows_adapters(tmp_path: Path) -> None:
    folder = tiny_model("llama")
    folder.write(tmp_path / "base")
    adapter = write_adapter(tmp_path / "adapter", halves_of(folder))
    out = str(tmp_path / "out.gguf")
    runner = CliRunner()
    refused = runner.invoke(main, ["convert", str(adapter), out])
    assert refused.exit_code == 2
    assert "--base" in refused.output
    assert runner.invoke(main, ["convert", str(folder.path), out, "--base", out]).exit_code == 2
    done = runner.invoke(main, ["convert", str(adapter), out, "--base", str(folder.path)])
    assert done.exit_code == 0, done.output
    assert "15 matrices, rank 3" in done.output
    again = runner.invoke(main, ["convert", str(adapter), out, "--base", str(folder.path)])
    assert again.exit_code != 0
