"""Encoders whose files lie: each is refused with an error that names the lie."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Iterator
from functools import lru_cache
from pathlib import Path

import numpy as np
import pytest
from tiny_encoders import ENCODERS, encoder_named, tensor_shapes, write_gguf

sys.path.insert(0, str(Path(__file__).parents[1] / "model"))

from model_file import (
    BOOL,
    F32,
    I32,
    REFUSALS,
    STRING,
    TENSOR_F16,
    U32,
    U64,
    Change,
    ModelFile,
    array,
    key,
    no_key,
    no_tensor,
    tensor,
)

from llmcore import LLM

Case = tuple[str, str, Change, str]
"""The encoder, what is wrong, how it is made so, and what the error has to name."""


def _missing() -> Iterator[Case]:
    for name in ("bert", "bert-fused", "nomic-bert"):
        for part in tensor_shapes(encoder_named(name)):
            if not part.startswith(("blk.0.", "token_types")):
                # A fused tensor that is missing is looked for in its three parts.
                named = part.replace("qkv.weight", "q.weight").replace("ffn_gate", "ffn_up")
                yield name, f"no {part}", no_tensor(part), re.escape(named)


def _shapes() -> Iterator[Case]:
    for name in ("bert", "nomic-bert"):
        for part, shape in tensor_shapes(encoder_named(name)).items():
            if part.startswith("blk.1.") or part.startswith("token_types"):
                continue
            sides = list(shape[::-1])
            wrong = [[sides[0] + 1, *sides[1:]], [*sides, 2]]
            if part != "token_embd.weight":
                wrong.append([*sides[:-1], sides[-1] + 1])
            for other in wrong:
                yield name, f"{part} {other}", tensor(part, other), re.escape(part)
            if len(shape) == 1:
                yield name, f"{part} of F16", tensor(part, sides, TENSOR_F16), re.escape(part)
    yield "bert", "types of another width", tensor("token_types.weight", [63, 2]), r"token_types\.weight"
    yield "bert", "a head", tensor("output.weight", [64, 96]), r"output\.weight"
    yield "bert", "a ranking head", tensor("cls.weight", [64, 64]), r"cls\.weight"
    yield "bert", "a gate", tensor("blk.0.ffn_gate.weight", [64, 96]), r"ffn_gate\.weight"
    yield "nomic-bert", "positions", tensor("position_embd.weight", [64, 96]), r"position_embd\.weight"


def _numbers() -> Iterator[Case]:
    for name in ("bert", "nomic-bert"):
        architecture = encoder_named(name).architecture
        pooling = f"{architecture}.pooling_type"
        for kind, value in ((U32, 4), (U32, 5), (U32, 2**31), (I32, -1), (STRING, "mean"), (F32, 1.0)):
            yield name, f"pooling {value}", key(pooling, kind, value), re.escape(pooling)
        yield name, "pooling list", array(pooling, U32, [1]), re.escape(pooling)
        causal = f"{architecture}.attention.causal"
        yield name, "causal", key(causal, BOOL, True), re.escape(causal)
        yield name, "causal by number", key(causal, U32, 0), re.escape(causal)
        for heads in (3, 5, 7, 65, 2**16):
            change = key(f"{architecture}.attention.head_count", U32, heads)
            yield name, f"{heads} heads", change, r"heads|head_count|key_length|attn_q|dimension_count"
        groups = key(f"{architecture}.attention.head_count_kv", U32, 3)
        yield name, "3 key-value heads", groups, r"heads|head_count_kv"
        eps = f"{architecture}.attention.layer_norm_epsilon"
        for number in (float("nan"), float("inf"), -1.0, 1.0):
            yield name, f"an epsilon of {number}", key(eps, F32, number), re.escape(eps)
        window = key(f"{architecture}.attention.sliding_window", U32, 8)
        yield name, "a window", window, r"attention\.sliding_window"
        experts = key(f"{architecture}.expert_count", U32, 4)
        yield name, "experts", experts, r"expert"
        yield name, "no context", no_key(f"{architecture}.context_length"), r"context_length"
        yield name, "no heads", no_key(f"{architecture}.attention.head_count"), r"head_count"
    for length in (95, 97, 2**24):
        change = key("bert.context_length", U32, length)
        yield "bert", f"context {length}", change, r"position_embd\.weight"
    for kind, value in ((U64, 2**40), (U32, 0)):
        context = key("nomic-bert.context_length", kind, value)
        yield "nomic-bert", f"context {value}", context, r"context_length"
    yield "nomic-bert", "no base", key("nomic-bert.rope.freq_base", F32, 0.0), r"rope\.freq_base"


LIES = [*_missing(), *_shapes(), *_numbers()]


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], ModelFile]:
    """A fresh copy of a sound encoder's file, by its name."""
    folder = tmp_path_factory.mktemp("sound-encoders")

    @lru_cache(None)
    def read(name: str) -> ModelFile:
        return ModelFile.read(write_gguf(encoder_named(name), folder / f"{name}.gguf"))

    return lambda name: read(name).copy()


@pytest.mark.parametrize(
    ("name", "change", "named"), [pytest.param(n, c, r, id=f"{n}: {i}") for n, i, c, r in LIES]
)
def test_lies_are_refused_by_name(
    sound: Callable[[str], ModelFile], tmp_path: Path, name: str, change: Change, named: str
) -> None:
    file = sound(name)
    change(file)
    with pytest.raises(REFUSALS, match=named), LLM(file.write(tmp_path / "m.gguf"), threads=1) as llm:
        llm.embed([[1, 2]])


ODD: list[tuple[str, str, Change]] = [
    ("bert", "one type", tensor("token_types.weight", [64, 1])),
    ("bert", "no types", no_tensor("token_types.weight")),
    ("bert", "no word of causality", no_key("bert.attention.causal")),
    ("bert", "positions of F16", tensor("position_embd.weight", [64, 96], TENSOR_F16)),
    ("bert", "an epsilon of 0", key("bert.attention.layer_norm_epsilon", F32, 0.0)),
    ("bert", "a norm of zeros", tensor("blk.0.attn_output_norm.weight", [64], fill=0.0)),
    ("bert", "64 heads of one", key("bert.attention.head_count", U32, 64)),
    ("nomic-bert", "a long context", key("nomic-bert.context_length", U32, 1 << 24)),
    ("nomic-bert", "pooling none", key("nomic-bert.pooling_type", U32, 0)),
]


@pytest.mark.parametrize(("name", "change"), [pytest.param(n, c, id=f"{n}: {i}") for n, i, c in ODD])
def test_odd_but_possible_encoders_run(
    sound: Callable[[str], ModelFile], tmp_path: Path, name: str, change: Change
) -> None:
    file = sound(name)
    change(file)
    with LLM(file.write(tmp_path / "m.gguf"), threads=1) as llm:
        assert np.isfinite(llm.embed([[1, 7, 9, 2], [5]])).all()


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -3e38])
def test_weights_that_are_no_numbers_end_no_process(
    sound: Callable[[str], ModelFile], tmp_path: Path, value: float
) -> None:
    file = sound("bert")
    file.put("blk.0.attn_output_norm.bias", [64], fill=value)
    with LLM(file.write(tmp_path / "m.gguf"), threads=1) as llm, np.errstate(all="ignore"):
        assert llm.embed([[1, 5, 2]]).shape == (1, 64)
        assert llm.stats().kv_blocks_free == llm.stats().kv_blocks_total


@pytest.mark.parametrize("name", [encoder.name for encoder in ENCODERS])
def test_unknown_tensors_are_refused(sound: Callable[[str], ModelFile], tmp_path: Path, name: str) -> None:
    file = sound(name)
    file.put("blk.0.attn_new.weight", [64])
    with pytest.raises(REFUSALS, match=r"blk\.0\.attn_new\.weight"):
        LLM(file.write(tmp_path / "m.gguf"), threads=1)
