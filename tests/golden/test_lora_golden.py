"""Adapters against models whose weights were merged in float64: every architecture, every instruction set."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path

import numpy as np
import pytest
from adapter_files import differences, matrices_of, random_adapter
from tiny_models import MODELS, model_named, prompt_ids

from llmcore import _core

WORKER = Path(__file__).with_name("lora_worker.py")
EXACT = 5e-6  # float32 throughout
# Of each architecture the first, and one with biases everywhere.
NAMES = [*{model.architecture: model.name for model in reversed(MODELS)}.values(), "llama-biases", "mixtral"]
# Of the second adapter, the scale; it changes every third matrix.
SCALES = {"one": 1.0, "two": 0.5}

Runs = Callable[[str, str], dict[str, np.ndarray]]


def relative_error(actual: np.ndarray, expected: np.ndarray) -> float:
    return float(np.linalg.norm(actual - expected) / np.linalg.norm(expected))


def log_softmax(logits: np.ndarray) -> np.ndarray:
    shifted = logits.astype(np.float64) - logits.max(axis=-1, keepdims=True)
    return shifted - np.log(np.exp(shifted).sum(axis=-1, keepdims=True))


@pytest.fixture(scope="module")
def adapters(golden_models: Path) -> Callable[[str], dict[str, Path]]:
    """The adapters of a model by its name: two files."""

    @lru_cache(None)
    def made(name: str) -> dict[str, Path]:
        model = golden_models / f"{name}.gguf"
        paths = {adapter: golden_models / f"{name}-{adapter}.lora.gguf" for adapter in SCALES}
        random_adapter(paths["one"], model, seed=1, strength=0.5)
        random_adapter(paths["two"], model, seed=2, every=3, alpha=None)
        return paths

    return made


@pytest.fixture(scope="module")
def runs(golden_models: Path, adapters, tmp_path_factory: pytest.TempPathFactory) -> Runs:
    """What a model with its adapters computed, by its name and the instruction set."""

    @lru_cache(None)
    def folder_of(isa: str) -> Path:
        out = tmp_path_factory.mktemp(f"lora-{isa}")
        jobs = [
            {
                "model": str(golden_models / f"{name}.gguf"),
                "ids": prompt_ids(),
                "n_ctx": model_named(name).n_ctx,
                "adapters": [
                    [adapter, str(path), SCALES[adapter]] for adapter, path in adapters(name).items()
                ],
                "out": str(out / f"{name}.npz"),
            }
            for name in NAMES
        ]
        (out / "jobs.json").write_text(json.dumps(jobs), encoding="utf-8")
        result = subprocess.run(
            [sys.executable, str(WORKER), str(out / "jobs.json")],
            env={**os.environ, "LLMCORE_ISA": isa},
            capture_output=True,
            text=True,
            check=False,
            timeout=600,
        )
        assert result.returncode == 0, result.stderr[-4000:]
        return out

    @lru_cache(None)
    def run_of(name: str, isa: str) -> dict[str, np.ndarray]:
        with np.load(folder_of(isa) / f"{name}.npz") as saved:
            return dict(saved)

    return run_of


@pytest.fixture(scope="module")
def merged(golden_models: Path, adapters, reference_decoder) -> Callable[[str, str], np.ndarray]:
    """Logits of a model with the weights of an adapter merged into its own, in float64."""

    @lru_cache(None)
    def logits(name: str, adapter: str) -> np.ndarray:
        decoder = reference_decoder.ReferenceDecoder(golden_models / f"{name}.gguf")
        for matrix, difference in differences(adapters(name)[adapter], SCALES[adapter]).items():
            decoder.weights._kept[matrix] = decoder.weights.get(matrix) + difference
        return decoder.logits(prompt_ids())

    return logits


@pytest.fixture(params=NAMES)
def tiny(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def test_an_adapter_equals_its_merged_weights(tiny: str, isa: str, runs: Runs, merged) -> None:
    run = runs(tiny, isa)
    for adapter in SCALES:
        assert relative_error(run[adapter], merged(tiny, adapter)) <= EXACT
        assert relative_error(run[adapter], run["base"]) > 0.05, "the adapter must matter"


def test_rows_without_one_keep_their_bits(tiny: str, isa: str, runs: Runs) -> None:
    run = runs(tiny, isa)
    assert np.array_equal(run["bare"], run["base"])


def test_a_mixed_batch_equals_each_alone(tiny: str, isa: str, runs: Runs) -> None:
    run = runs(tiny, isa)
    for mixed, alone in zip(run["mixed"], ("base", *SCALES), strict=True):
        assert relative_error(mixed, log_softmax(run[alone][:-1])) <= EXACT


def test_fused_matrices_and_routers_are_among_them(golden_models: Path) -> None:
    found = {name.split(".")[-2] for model in NAMES for name in matrices_of(golden_models / f"{model}.gguf")}
    expected = {
        "attn_qkv",
        "attn_q",
        "attn_output",
        "ffn_up",
        "ffn_gate",
        "ffn_down",
        "ffn_gate_inp",
        "output",
    }
    assert found >= expected | {"ffn_gate_shexp", "ffn_up_shexp", "ffn_down_shexp"}


def test_only_the_merged_sum_is_the_same_model(tiny: str, runs: Runs) -> None:
    """The two adapters differ, so that one taken for the other would show."""
    isa = _core.machine()["isa"]
    run = runs(tiny, isa)
    assert relative_error(run["one"], run["two"]) > 0.05
