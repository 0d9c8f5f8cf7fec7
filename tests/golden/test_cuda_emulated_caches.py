"""The formats of the CUDA backend's KV cache, its kernels emulated on the CPU, against the CPU's of the same
name: the codes are the same, so that what differs is rounding."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from llmcore import LLM, SamplingParams
from llmcore.errors import InvalidArgumentError
from llmcore.tools.shapes import Shape
from llmcore.tools.synthesize import synthesize

HEAD_DIMS = (32, 64, 96)  # without tensor cores, and with them
IDS = np.random.default_rng(6).integers(3, 300, 75).tolist()
PARAMS = SamplingParams(max_tokens=6, temperature=0, ignore_eos=True)
N_DECODED = 8  # so few rows are no prefill


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> dict[int, Path]:
    folder = tmp_path_factory.mktemp("heads")
    for head_dim in (*HEAD_DIMS, 80):
        shape = Shape("llama", 2 * head_dim, 2, 2, 1, head_dim, 64, 300, 512)
        synthesize(folder / f"{head_dim}.gguf", shape, "F32")
    return {head_dim: folder / f"{head_dim}.gguf" for head_dim in (*HEAD_DIMS, 80)}


def computed(path: Path, device: str, kv_cache_type: str) -> tuple[np.ndarray, np.ndarray, list[list[int]]]:
    """Logits of IDS at once, those of its beginning row by row, and what follows parts of it in a batch."""
    with LLM(path, device=device, threads=1, n_ctx=96, max_batch=3, kv_cache_type=kv_cache_type) as llm:
        assert llm.model_info.kv_cache_type.lower() == kv_cache_type
        completions = llm.generate([IDS[:40], IDS[5:8], IDS[:33]], PARAMS)
        return (
            llm.logits(IDS),
            llm.logits(IDS[:N_DECODED]),
            [list(completion.token_ids) for completion in completions],
        )


def error(got: np.ndarray, expected: np.ndarray) -> float:
    return float(np.linalg.norm(got - expected) / np.linalg.norm(expected))


@pytest.mark.parametrize("head_dim", HEAD_DIMS)
def test_q8_0_is_the_cpus(
    models: dict[int, Path], emulated_cuda: Path, monkeypatch: pytest.MonkeyPatch, head_dim: int
) -> None:
    monkeypatch.setenv("LLMCORE_CUDA_LIBRARY", str(emulated_cuda))
    exact = computed(models[head_dim], "cpu", "f32")
    on_cpu = computed(models[head_dim], "cpu", "q8_0")
    on_device = computed(models[head_dim], "cuda", "q8_0")
    rows, decoded = error(on_device[0], on_cpu[0]), error(on_device[1], on_cpu[1])
    print(f"rows {rows:.2e}, decoded {decoded:.2e}; from exact {error(on_device[0], exact[0]):.2e}")
    assert rows < 2e-3
    assert decoded < 1e-5  # scales never meet a rounded number
    assert 1e-4 < error(on_device[0], exact[0]) < 2e-2
    assert on_device[2] == on_cpu[2]


def test_what_the_device_does_not_cache_is_refused(
    models: dict[int, Path], emulated_cuda: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LLMCORE_CUDA_LIBRARY", str(emulated_cuda))
    for name in ("bf16", "q4_0"):
        with pytest.raises(InvalidArgumentError, match=r"kv_cache_type on cuda .* one of F32, F16, Q8_0$"):
            LLM(models[64], device="cuda", kv_cache_type=name)
    with pytest.raises(InvalidArgumentError, match=r"heads; got 80; expected a multiple of 32"):
        LLM(models[80], device="cuda", kv_cache_type="q8_0")
