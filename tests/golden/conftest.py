"""Tiny models of every architecture, the golden logits of each, and what each instruction set makes of it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
import pytest
from tiny_files import fingerprint, write_gguf
from tiny_models import MODELS, N_PROMPT, model_named

from llmcore import _core

HERE = Path(__file__).parent
WORKER = HERE / "golden_worker.py"
# Together more rows than one step takes, so that a prompt is computed in two.
PROMPTS = range(N_PROMPT, N_PROMPT + 20, 2)

_ISAS = ["scalar", "avx2", "avx512", "amx"]


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """`isa` stands for every instruction set of this machine, `model_name` for every model."""
    if "isa" in metafunc.fixturenames:
        metafunc.parametrize("isa", _ISAS[: _ISAS.index(_core.machine()["isa"]) + 1])
    if "model_name" in metafunc.fixturenames:
        metafunc.parametrize("model_name", [model.name for model in MODELS])


@dataclass(frozen=True)
class Golden:
    """A sequence of tokens and the logits after each, (n_tokens, n_vocab)."""

    ids: list[int]
    logits: np.ndarray


@dataclass(frozen=True)
class Run:
    """What one process computed for one model.

    logits: of the whole sequence. sequences: each prompt with what was generated after it. logprobs: the
    distribution that each token but the first was taken from, (n_prompts, n_tokens - 1, n_vocab).
    """

    logits: np.ndarray
    sequences: np.ndarray
    logprobs: np.ndarray


@lru_cache(None)
def golden_of(name: str) -> Golden:
    with np.load(HERE / f"{name}.npz") as saved:
        golden = Golden(saved["ids"].tolist(), saved["logits"])
        made_for = str(saved["fingerprint"])
    assert made_for == fingerprint(model_named(name), golden.ids), f"{name}.npz is of another model"
    return golden


@pytest.fixture
def golden(model_name: str) -> Golden:
    """The golden logits of the model, which are checked to be of the model as it is now."""
    return golden_of(model_name)


Runs = Callable[[str, str, str], Run]


@pytest.fixture(scope="session")
def golden_runs(tmp_path_factory: pytest.TempPathFactory) -> Runs:
    """Runs of a model by name, instruction set and cache type; each process handles all models."""
    folder = tmp_path_factory.mktemp("golden")
    for model in MODELS:
        write_gguf(model, folder / f"{model.name}.gguf")

    @lru_cache(None)
    def run_all(isa: str, kv_cache_type: str) -> Path:
        out = folder / f"{isa}-{kv_cache_type}"
        out.mkdir()
        jobs = [
            {
                "model": str(folder / f"{model.name}.gguf"),
                "ids": golden_of(model.name).ids,
                "prompts": list(PROMPTS),
                "n_ctx": model.n_ctx,
                "kv_cache_type": kv_cache_type,
                "out": str(out / f"{model.name}.npz"),
            }
            for model in MODELS
        ]
        job_file = out / "jobs.json"
        job_file.write_text(json.dumps(jobs), encoding="utf-8")
        environment = {**os.environ, "LLMCORE_ISA": isa}
        command = [sys.executable, str(WORKER), str(job_file)]
        result = subprocess.run(
            command, env=environment, capture_output=True, text=True, check=False, timeout=600
        )
        assert result.returncode == 0, result.stderr[-4000:]
        return out

    def run(name: str, isa: str, kv_cache_type: str) -> Run:
        path = run_all(isa, kv_cache_type) / f"{name}.npz"
        error = path.with_name(path.name + ".error")
        assert not error.exists(), error.read_text(encoding="utf-8")
        with np.load(path) as saved:
            return Run(saved["logits"], saved["sequences"], saved["logprobs"])

    return run
