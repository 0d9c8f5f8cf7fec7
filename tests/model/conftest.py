"""Small synthetic models of every format, and what each instruction set makes of them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path

import numpy as np
import pytest

from llmcore import _core
from llmcore.tools.quant_mix import UNIFORM_TYPES
from llmcore.tools.shapes import Shape
from llmcore.tools.synthesize import synthesize

WORKER = Path(__file__).with_name("logits_worker.py")
N_TOKENS = 70  # crosses the boundaries of KV blocks of 16, 32 and 64 tokens
N_GREEDY = 6

_LLAMA = Shape("llama", 256, 2, 8, 4, 32, 512, 512, 256)
_QWEN2 = Shape("qwen2", 256, 2, 4, 2, 64, 768, 512, 256, rope_base=1e6, norm_eps=1e-6, qkv_bias=True)
SHAPES = {"llama": _LLAMA, "qwen2": _QWEN2, "tied": replace(_QWEN2, tied_embeddings=True)}
MODELS = [
    *(f"{variant}-{quant}" for variant in ("llama", "qwen2") for quant in UNIFORM_TYPES),
    *(f"tied-{quant}" for quant in ("F32", "Q8_0")),
]

_ISAS = ["scalar", "avx2", "avx512", "amx"]


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """`isa` stands for every instruction set of this machine, `model_name` for every model."""
    if "isa" in metafunc.fixturenames:
        metafunc.parametrize("isa", _ISAS[: _ISAS.index(_core.machine()["isa"]) + 1])
    if "model_name" in metafunc.fixturenames:
        metafunc.parametrize("model_name", MODELS)


@dataclass(frozen=True)
class Run:
    """What one process computed for one model: logits of the prompt, tokens it went on with, logits of
    both.
    """

    logits: np.ndarray
    tokens: list[int]
    after: np.ndarray


def prompt_ids() -> list[int]:
    return [1, *np.random.default_rng(7).integers(260, 512, N_TOKENS - 1).tolist()]


class ModelRuns:
    """Makes models and runs them; each process handles all models of one setting."""

    def __init__(self, folder: Path, models: dict[str, Path], reference) -> None:
        self._folder = folder
        self._models = models
        self._reference = reference
        self.expected = lru_cache(None)(self._expected)
        self.runs = lru_cache(None)(self._runs)

    def _expected(self, name: str) -> np.ndarray:
        return self._reference.ReferenceDecoder(self._models[name]).logits(prompt_ids())

    def _runs(self, isa: str, kv_cache_type: str) -> dict[str, Run]:
        folder = self._folder / f"{isa}-{kv_cache_type}"
        folder.mkdir()
        jobs = [
            {
                "model": str(path),
                "ids": prompt_ids(),
                "n_greedy": N_GREEDY,
                "kv_cache_type": kv_cache_type,
                "out": str(folder / f"{name}.npz"),
            }
            for name, path in self._models.items()
        ]
        job_file = folder / "jobs.json"
        job_file.write_text(json.dumps(jobs), encoding="utf-8")
        environment = {**os.environ, "LLMCORE_ISA": isa}
        command = [sys.executable, str(WORKER), str(job_file)]
        result = subprocess.run(
            command, env=environment, capture_output=True, text=True, check=False, timeout=300
        )
        assert result.returncode == 0, result.stderr[-4000:]
        runs = {}
        for name in self._models:
            with np.load(folder / f"{name}.npz") as saved:
                runs[name] = Run(saved["logits"], saved["tokens"].tolist(), saved["after"])
        return runs


@pytest.fixture(scope="session")
def model_runs(tmp_path_factory: pytest.TempPathFactory, reference_decoder) -> ModelRuns:
    folder = tmp_path_factory.mktemp("models")
    models = {}
    for name in MODELS:
        variant, quant = name.rsplit("-", 1)
        models[name] = folder / f"{name}.gguf"
        synthesize(models[name], SHAPES[variant], quant)
    return ModelRuns(folder, models, reference_decoder)
