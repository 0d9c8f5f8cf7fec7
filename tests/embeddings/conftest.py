"""Tiny encoders, their golden states, and what each instruction set makes of them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Mapping
from functools import lru_cache
from pathlib import Path

import numpy as np
import pytest
from tiny_encoders import ENCODERS, texts, write_gguf

from llmcore import _core

HERE = Path(__file__).parent

Runs = Callable[..., Mapping[str, np.ndarray]]


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """`isa` stands for every instruction set of this machine, `encoder_name` for every encoder."""
    if "isa" in metafunc.fixturenames:
        metafunc.parametrize("isa", _core.machine()["isas"])
    if "encoder_name" in metafunc.fixturenames:
        metafunc.parametrize("encoder_name", [encoder.name for encoder in ENCODERS])


@pytest.fixture(scope="session")
def encoder_files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The files of all tiny encoders, by name."""
    folder = tmp_path_factory.mktemp("encoders")
    return {encoder.name: write_gguf(encoder, folder / f"{encoder.name}.gguf") for encoder in ENCODERS}


@pytest.fixture(scope="session")
def encoder_runs(encoder_files: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Runs:
    """Vectors under `name/pooling` by instruction set, cache type and quantization."""
    folder = tmp_path_factory.mktemp("encoder-runs")

    @lru_cache(None)
    def runs(isa: str, kv_cache_type: str, quantization: str | None = None) -> Mapping[str, np.ndarray]:
        name = f"{isa}-{kv_cache_type}-{quantization}"
        job = {
            "models": {name: str(path) for name, path in encoder_files.items()},
            "texts": {encoder.name: texts(encoder) for encoder in ENCODERS},
            "kv_cache_type": kv_cache_type,
            "quantization": quantization,
            "out": str(folder / f"{name}.npz"),
        }
        job_file = folder / f"{name}.json"
        job_file.write_text(json.dumps(job), encoding="utf-8")
        command = [sys.executable, str(HERE / "encoder_worker.py"), str(job_file)]
        environment = {**os.environ, "LLMCORE_ISA": isa}
        done = subprocess.run(
            command, env=environment, capture_output=True, text=True, check=False, timeout=300
        )
        assert done.returncode == 0, done.stderr[-4000:]
        with np.load(folder / f"{name}.npz") as saved:
            return dict(saved)

    return runs
