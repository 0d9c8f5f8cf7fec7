"""Tiny models on the CUDA backend, its kernels emulated on the CPU, against the golden logits.

As float32 they take every step exactly; as float16 they also reach the products that are meant to be fast, in
which activations are bf16.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from test_golden import F16_CACHE, log_softmax, relative_error, worst_row

from llmcore import LLM, SamplingParams

EXACT = 1e-5  # float32 throughout, over up to 62 layers
F16_WEIGHTS = 6e-2  # bf16 activations, over up to 62 layers; now and then another expert is chosen
TEXTS = [
    "Once upon a time",
    "The little dog",
    "Lily",
    "One day, a boy named Tom went to the park to play with",
]
N_GENERATED = 40
# Of each kind of norm, rotation and window one.
ALONE = ["llama", "llama-biases", "mistral-window", "qwen3", "gemma2", "gemma3", "chatglm3"]
N_ALONE = 6  # of conftest's


@pytest.mark.parametrize(("kv_cache_type", "allowed"), [("f32", EXACT), ("f16", F16_CACHE)])
def test_logits_agree(golden, emulated_runs, model_name: str, kv_cache_type: str, allowed: float) -> None:
    logits = emulated_runs(model_name, kv_cache_type, None).logits
    assert logits.shape == golden.logits.shape
    error, row_error = relative_error(logits, golden.logits), worst_row(logits, golden.logits)
    print(f"{model_name} {kv_cache_type}: error {error:.2e}, of the worst row {row_error:.2e}")
    assert error <= allowed
    assert row_error <= 4 * allowed


def test_logits_of_float16_weights_agree(golden, emulated_runs, model_name: str) -> None:
    logits = emulated_runs(model_name, "f16", "F16").logits
    error = relative_error(logits, golden.logits)
    print(f"{model_name} F16: error {error:.2e}, of the worst row {worst_row(logits, golden.logits):.2e}")
    assert error <= F16_WEIGHTS


def test_generation_in_a_batch_finds_the_same(golden, emulated_runs, model_name: str) -> None:
    """Prompts of several lengths, some computed in two steps, and decoding beside them."""
    run = emulated_runs(model_name, "f32", None)
    assert (run.sequences == golden.ids).all()
    expected = log_softmax(golden.logits[:-1])
    for logprobs in run.logprobs:
        assert relative_error(logprobs, expected) <= EXACT


def test_layers_split_with_the_cpu_agree(golden, split_runs, model_name: str) -> None:
    """Half the layers there and half on the CPU: as a prompt, and generating behind it."""
    run = split_runs(model_name)
    error = relative_error(run.logits, golden.logits)
    print(
        f"{model_name} split: error {error:.2e}, of the worst row {worst_row(run.logits, golden.logits):.2e}"
    )
    assert error <= EXACT
    assert (run.sequences == golden.ids).all()
    assert relative_error(run.logprobs[0], log_softmax(golden.logits[:-1])) <= EXACT


def test_trained_model_tells_the_same_as_on_the_cpu(
    stories_model: Path, emulated_cuda: Path, monkeypatch
) -> None:
    monkeypatch.setenv("LLMCORE_CUDA_LIBRARY", str(emulated_cuda))
    params = SamplingParams(max_tokens=N_GENERATED, temperature=0.0, ignore_eos=True)

    def told(device: str) -> list[list[int]]:
        with LLM(stories_model, device=device, threads=1, n_ctx=128, max_batch=len(TEXTS)) as llm:
            return [list(completion.token_ids) for completion in llm.generate(TEXTS, params)]

    assert told("cuda") == told("cpu")


@pytest.mark.parametrize("name", ALONE)
def test_one_kernel_a_step_is_the_same_as_launches(emulated_alone, name: str) -> None:
    alone, launched = (emulated_alone(name, persistent) for persistent in ("1", "0"))
    assert (alone.sequences == launched.sequences).all()
    differences = np.abs(alone.logprobs - launched.logprobs)[0, -N_ALONE:].max(axis=-1)
    # Where sums round otherwise an activation is now and then the next int8, of few in so small a model.
    assert np.median(differences) <= EXACT
    assert differences.max() <= 0.5
    assert differences.max() > 0, "nothing ran as one kernel"
