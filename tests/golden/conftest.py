"""Tiny models of every architecture, the golden logits of each, and what each instruction set makes of it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Collection, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tiny_files import fingerprint, write_gguf
from tiny_models import MODELS, N_PROMPT, model_named

from llmcore import _core

HERE = Path(__file__).parent
WORKER = HERE / "golden_worker.py"
# Together more rows than one step takes, so that a prompt is computed in two.
PROMPTS = range(N_PROMPT, N_PROMPT + 20, 2)
N_ALONE = 6  # tokens that a sequence generates alone
# A kind of layer each: dense, tied, fused, with experts, shared ones, windows, norms behind blocks, sinks.
SPLIT_MODELS = ("llama", "qwen2", "phi3", "mixtral", "qwen2moe", "gemma2", "gemma3-listed", "gpt-oss")
EMULATED_PROMPTS = (N_PROMPT, N_PROMPT + 20)  # an emulated step takes long


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """`isa` stands for every instruction set of this machine, `model_name` for every model, or every one that
    is split."""
    if "isa" in metafunc.fixturenames:
        metafunc.parametrize("isa", _core.machine()["isas"])
    if "model_name" in metafunc.fixturenames:
        names = [model.name for model in MODELS]
        metafunc.parametrize("model_name", SPLIT_MODELS if "split_runs" in metafunc.fixturenames else names)


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
EmulatedRuns = Callable[[str, str, "str | None"], Run]


@pytest.fixture(scope="session")
def golden_models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of all models' files."""
    folder = tmp_path_factory.mktemp("golden")
    for model in MODELS:
        write_gguf(model, folder / f"{model.name}.gguf")
    return folder


def run_all(
    models: Path,
    out: Path,
    device: str,
    kv_cache_type: str,
    *,
    quantization: str | None,
    prompts: Iterable[int],
    split_models: Collection[str] = (),
    **environment: str,
) -> None:
    """Runs all models, a process a processor, which leave what they computed in the folder `out`.

    split_models: those alone, and only the last half of their layers on the device.
    """
    out.mkdir()
    jobs = [
        {
            "model": str(models / f"{model.name}.gguf"),
            "ids": golden_of(model.name).ids,
            "prompts": list(prompts),
            "n_ctx": model.n_ctx,
            "device": device,
            "kv_cache_type": kv_cache_type,
            "quantization": quantization,
            "gpu_layers": model.n_layers // 2 if split_models else "auto",
            "out": str(out / f"{model.name}.npz"),
        }
        for model in MODELS
        if not split_models or model.name in split_models
    ]
    workers = len(os.sched_getaffinity(0))
    with ThreadPoolExecutor(workers) as pool:
        shares = [(out / f"jobs-{first}.json", jobs[first::workers]) for first in range(workers)]
        list(pool.map(lambda share: run_jobs(*share, environment), shares))


def run_jobs(job_file: Path, jobs: list[dict[str, Any]], environment: dict[str, str]) -> None:
    job_file.write_text(json.dumps(jobs), encoding="utf-8")
    command = [sys.executable, str(WORKER), str(job_file)]
    result = subprocess.run(
        command, env={**os.environ, **environment}, capture_output=True, text=True, check=False, timeout=1800
    )
    assert result.returncode == 0, result.stderr[-4000:]


def run_of(name: str, out: Path) -> Run:
    path = out / f"{name}.npz"
    error = path.with_name(path.name + ".error")
    assert not error.exists(), error.read_text(encoding="utf-8")
    with np.load(path) as saved:
        return Run(saved["logits"], saved["sequences"], saved["logprobs"])


@pytest.fixture(scope="session")
def golden_runs(golden_models: Path) -> Runs:
    """Runs of a model by name, instruction set and cache type."""

    @lru_cache(None)
    def folder_of(isa: str, kv_cache_type: str) -> Path:
        out = golden_models / f"{isa}-{kv_cache_type}"
        run_all(golden_models, out, "cpu", kv_cache_type, quantization=None, prompts=PROMPTS, LLMCORE_ISA=isa)
        return out

    return lambda name, isa, kv_cache_type: run_of(name, folder_of(isa, kv_cache_type))


@pytest.fixture(scope="session")
def emulated_runs(golden_models: Path, emulated_cuda: Path) -> EmulatedRuns:
    """Runs of a model by name, cache type and type of the weights on the emulated CUDA backend.

    Only those with a float32 cache generate.
    """

    @lru_cache(None)
    def folder_of(kv_cache_type: str, quantization: str | None) -> Path:
        out = golden_models / f"cuda-{kv_cache_type}-{quantization}"
        library = str(emulated_cuda)
        prompts = EMULATED_PROMPTS if kv_cache_type == "f32" else ()
        run_all(
            golden_models,
            out,
            "cuda",
            kv_cache_type,
            quantization=quantization,
            prompts=prompts,
            LLMCORE_CUDA_LIBRARY=library,
        )
        return out

    return lambda name, kv_cache_type, quantization: run_of(name, folder_of(kv_cache_type, quantization))


@pytest.fixture(scope="session")
def emulated_alone(golden_models: Path, emulated_cuda: Path) -> Callable[[str, str], Run]:
    """Runs of a model by name and LLMCORE_CUDA_PERSISTENT, quantized, its last tokens generated alone."""

    def run_alone(name: str, persistent: str) -> Run:
        out = golden_models / f"cuda-alone-{persistent}"
        out.mkdir(exist_ok=True)
        job = {
            "model": str(golden_models / f"{name}.gguf"),
            "ids": golden_of(name).ids,
            "prompts": [len(golden_of(name).ids) - N_ALONE],
            "n_ctx": model_named(name).n_ctx,
            "device": "cuda",
            "gpu_layers": "auto",
            "kv_cache_type": "f16",
            "quantization": "Q8_0",
            "out": str(out / f"{name}.npz"),
        }
        environment = {"LLMCORE_CUDA_LIBRARY": str(emulated_cuda), "LLMCORE_CUDA_PERSISTENT": persistent}
        run_jobs(out / f"{name}.json", [job], environment)
        return run_of(name, out)

    return run_alone


@pytest.fixture(scope="session")
def split_runs(golden_models: Path, emulated_cuda: Path) -> Callable[[str], Run]:
    """Runs of a model by name, float32 throughout, half on the CPU and half on the emulated CUDA backend."""

    @lru_cache(None)
    def folder() -> Path:
        out = golden_models / "cuda-split"
        run_all(
            golden_models,
            out,
            "cuda",
            "f32",
            quantization=None,
            prompts=(N_PROMPT,),
            split_models=SPLIT_MODELS,
            LLMCORE_CUDA_LIBRARY=str(emulated_cuda),
        )
        return out

    return lambda name: run_of(name, folder())
