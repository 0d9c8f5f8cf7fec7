"""Tiny models on the CUDA backend, its kernels emulated on the CPU, against the golden logits.

Float32 weights and the whole path that a step takes: norms and their readers, attention over the paged cache,
experts, prompts beside decoding.
"""

from __future__ import annotations

from pathlib import Path

import pytest
from test_golden import log_softmax, relative_error, worst_row

from llmcore import LLM, SamplingParams

ALLOWED = 2.5e-2  # what int8 or bf16 activations may cost; float32 throughout stays far below
TEXTS = ["Once upon a time", "The little dog", "Lily", "One day, a boy named Tom went to the park to play with"]
N_GENERATED = 40

@pytest.mark.parametrize("kv_cache_type", ["f16", "f32"])
def test_logits_agree(golden, emulated_runs, record_property, model_name: str, kv_cache_type: str) -> None:
    logits = emulated_runs(model_name, kv_cache_type).logits
    assert logits.shape == golden.logits.shape
    error, row_error = relative_error(logits, golden.logits), worst_row(logits, golden.logits)
    record_property("relative_error", error)
    print(f"{model_name} {kv_cache_type}: error {error:.2e}, of the worst row {row_error:.2e}")
    assert error <= ALLOWED
    assert row_error <= 4 * ALLOWED


def test_generation_in_a_batch_finds_the_same(golden, emulated_runs, model_name: str) -> None:
    run = emulated_runs(model_name, "f32")
    assert (run.sequences == golden.ids).all()
    expected = log_softmax(golden.logits[:-1])
    for logprobs in run.logprobs:
        assert relative_error(logprobs, expected) <= ALLOWED


def test_trained_model_tells_the_same_as_on_the_cpu(stories_model: Path, emulated_cuda: Path, monkeypatch) -> None:
    monkeypatch.setenv("LLMCORE_CUDA_LIBRARY", str(emulated_cuda))
    params = SamplingParams(max_tokens=N_GENERATED, temperature=0.0, ignore_eos=True)

    def told(device: str) -> list[list[int]]:
        with LLM(stories_model, device=device, threads=1, n_ctx=128, max_batch=len(TEXTS)) as llm:
            return [list(completion.token_ids) for completion in llm.generate(TEXTS, params)]

    assert told("cuda") == told("cpu")
