"""Adapter files with lies and damage in them: each is refused by name or harmless."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from adapter_files import random_adapter
from gguf import GGMLQuantizationType
from model_file import (
    F32,
    REFUSALS,
    STRING,
    U32,
    Change,
    ModelFile,
    all_of,
    array,
    key,
    no_key,
    no_tensor,
    tensor,
)

from llmcore import LLM, InvalidArgumentError, ModelError
from llmcore.tools.shapes import Experts, Shape
from llmcore.tools.synthesize import synthesize

SHAPE = Shape("llama", 64, 1, 4, 2, 16, 96, 300, 64, experts=Experts(3, 2, 96))
Q = "blk.0.attn_q.weight"
PROMPT = [1, 5, 9]
ROUNDS = 150


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("hostile") / "model.gguf"
    synthesize(path, SHAPE, "Q8_0")
    return path


@pytest.fixture(scope="module")
def llm(model: Path) -> Iterator[LLM]:
    with LLM(model, threads=1, max_batch=1) as loaded:
        yield loaded


@pytest.fixture(scope="module")
def sound(model: Path) -> ModelFile:
    return ModelFile.read(random_adapter(model.with_name("adapter.gguf"), model, seed=1, rank=2))


def pair(name: str, rank: int, cols: int = 64, rows: int = 64) -> Change:
    return all_of(tensor(f"{name}.lora_a", [cols, rank]), tensor(f"{name}.lora_b", [rank, rows]))


BF16, Q8_0 = GGMLQuantizationType.BF16, GGMLQuantizationType.Q8_0
# Each change of a sound adapter, and what its refusal must name.
LIES: dict[str, tuple[Change, str]] = {
    "a model": (key("general.type", STRING, "model"), r"general\.type.*'model'.*'adapter'"),
    "no type": (no_key("general.type"), r"general\.type"),
    "type of a number": (key("general.type", U32, 7), r"general\.type"),
    "a control vector": (key("adapter.type", STRING, "control"), r"adapter\.type.*'control'.*'lora'"),
    "no kind": (no_key("adapter.type"), r"adapter\.type"),
    "another architecture": (key("general.architecture", STRING, "qwen2"), "architecture.*'qwen2'.*'llama'"),
    "no architecture": (no_key("general.architecture"), "architecture"),
    "a name that does not print": (key("general.architecture", STRING, "ll\x1bama\n"), r"\\x1b"),
    "alpha is no number": (key("adapter.lora.alpha", STRING, "16"), r"adapter\.lora\.alpha"),
    "alpha is NaN": (key("adapter.lora.alpha", F32, float("nan")), r"adapter\.lora\.alpha.*nan"),
    "alpha is infinite": (key("adapter.lora.alpha", F32, float("-inf")), r"adapter\.lora\.alpha.*inf"),
    "invocation tokens": (array("adapter.alora.invocation_tokens", U32, [1]), "invocation tokens"),
    "unknown layer": (pair("blk.1.attn_q.weight", 2), r"'blk\.1\.attn_q\.weight'"),
    "unknown matrix": (pair("blk.0.attn_z.weight", 2), r"attn_z"),
    "a name of 1000 letters": (pair("x" * 1000, 2), "xxx"),
    "a vector": (pair("blk.0.attn_norm.weight", 2), "attn_norm"),
    "the embedding": (pair("token_embd.weight", 2, rows=300), "token_embd"),
    "experts": (pair("blk.0.ffn_up_exps.weight", 2), "experts.*ffn_up_exps"),
    "a norm": (tensor("blk.0.attn_norm.weight", [64]), r"attn_norm\.weight.*lora_a"),
    "a bare tensor": (tensor(Q, [64, 64]), "attn_q.*lora_a"),
    "another half": (tensor(f"{Q}.lora_c", [64, 2]), "lora_c"),
    "no name": (tensor(".lora_a", [64, 2]), "the model has no matrix ''"),
    "no A": (no_tensor(f"{Q}.lora_a"), r"attn_q\.weight\.lora_a' is missing"),
    "no B": (no_tensor(f"{Q}.lora_b"), r"attn_q\.weight\.lora_b' is missing"),
    "columns": (pair(Q, 2, cols=63), r"attn_q\.weight\.lora_a'; got 63 x 2; expected 64 x 2"),
    "rows": (pair(Q, 2, rows=65), r"attn_q\.weight\.lora_b'; got 2 x 65; expected 2 x 64"),
    "two ranks": (tensor(f"{Q}.lora_b", [3, 64]), r"lora_b'; got 3 x 64; expected 2 x 64"),
    "transposed": (tensor(f"{Q}.lora_b", [64, 2]), r"lora_b'; got 64 x 2; expected 2 x 64"),
    "three dimensions": (tensor(f"{Q}.lora_a", [64, 1, 2]), r"lora_a'; got 64 x 1 x 2"),
    "giant rank": (pair(Q, 1025), r"rank .*lora_a'; got 1025; expected 1 to 1024"),
    "quantized A": (tensor(f"{Q}.lora_a", [64, 2], Q8_0), r"lora_a'; got Q8_0; expected F32, F16 or BF16"),
    "a file without tensors": (lambda file: file.tensors.clear(), "changes nothing"),
}  # fmt: skip


@pytest.mark.parametrize("lie", LIES)
def test_lies_are_refused_by_name(llm: LLM, sound: ModelFile, tmp_path: Path, lie: str) -> None:
    change, said = LIES[lie]
    lying = sound.copy()
    change(lying)
    path = lying.write(tmp_path / "adapter.gguf")
    with pytest.raises(ModelError, match=said) as refused:
        llm.load_adapter("lie", path)
    assert "adapter 'lie'" in str(refused.value)
    assert "\n" not in str(refused.value)
    assert len(str(refused.value)) < 1000
    assert llm.model_info.adapters == ()


def test_what_is_unusual_is_served(llm: LLM, sound: ModelFile, tmp_path: Path) -> None:
    base = llm.logits(PROMPT)
    unusual: list[Change] = [
        pair(Q, 1024),
        pair(Q, 1),
        all_of(tensor(f"{Q}.lora_a", [64], fill=0.01), tensor(f"{Q}.lora_b", [1, 64])),
        no_key("adapter.lora.alpha"),
        key("adapter.lora.alpha", F32, 0.0),
        key("adapter.lora.alpha", U32, 3),
        key("adapter.lora.task_name", STRING, "classification"),
        pair("blk.0.ffn_gate_inp.weight", 2, rows=3),
        pair("output.weight", 2, rows=300),
        tensor(f"{Q}.lora_a", [64, 2], BF16),
    ]
    for change in unusual:
        file = sound.copy()
        change(file)
        llm.load_adapter("x", file.write(tmp_path / "adapter.gguf"))
        logits = llm.logits(PROMPT, lora="x")
        llm.unload_adapter("x")
        assert np.isfinite(logits).all()
        assert not np.array_equal(logits, base)


def test_values_that_are_no_numbers_end_only_their_own_request(
    llm: LLM, sound: ModelFile, tmp_path: Path
) -> None:
    base = llm.logits(PROMPT)
    for fill in (float("nan"), float("inf"), 3e38):
        file = sound.copy()
        file.put(f"{Q}.lora_a", [64, 2], fill=fill)
        llm.load_adapter("x", file.write(tmp_path / "adapter.gguf"))
        assert not np.isfinite(llm.logits(PROMPT, lora="x")).all()
        llm.unload_adapter("x")
        assert np.array_equal(llm.logits(PROMPT), base)


def test_damage_is_refused_or_harmless(llm: LLM, sound: ModelFile, tmp_path: Path) -> None:
    path = sound.write(tmp_path / "adapter.gguf")
    whole = path.read_bytes()
    dice = np.random.default_rng(5)
    refused = 0
    for round_ in range(ROUNDS):
        damaged = bytearray(whole)
        if round_ % 3 == 0:
            del damaged[int(dice.integers(len(whole))) :]
        else:
            # Most of the file is weights; its head is where lies are told.
            for place in dice.integers(0, 2500 if round_ % 3 == 1 else len(whole), 1 + round_ % 5):
                damaged[place] = int(dice.integers(256))
        path.write_bytes(damaged)
        try:
            llm.load_adapter("x", path)
        except REFUSALS:
            refused += 1
            continue
        assert llm.logits(PROMPT, lora="x").shape == (len(PROMPT), 300)
        llm.unload_adapter("x")
    assert ROUNDS // 3 < refused < ROUNDS
    with pytest.raises(InvalidArgumentError):
        llm.unload_adapter("x")
