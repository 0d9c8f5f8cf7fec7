"""Tiny models of every architecture against golden logits of an independent implementation."""

from __future__ import annotations

import numpy as np

EXACT = 5e-6  # float32 throughout
F16_CACHE = 5e-3  # float32 weights, float16 cache


def relative_error(actual: np.ndarray, expected: np.ndarray) -> float:
    return float(np.linalg.norm(actual - expected) / np.linalg.norm(expected))


def log_softmax(logits: np.ndarray) -> np.ndarray:
    shifted = logits.astype(np.float64) - logits.max(axis=-1, keepdims=True)
    return shifted - np.log(np.exp(shifted).sum(axis=-1, keepdims=True))


def worst_row(actual: np.ndarray, expected: np.ndarray) -> float:
    return max(relative_error(row, wanted) for row, wanted in zip(actual, expected, strict=True))


def test_reference_kernels_agree_to_the_last_digits(golden, golden_runs, model_name: str) -> None:
    logits = golden_runs(model_name, "scalar", "f32").logits
    assert logits.dtype == np.float32
    assert logits.shape == golden.logits.shape
    assert relative_error(logits, golden.logits) <= EXACT
    assert worst_row(logits, golden.logits) <= 2 * EXACT


def test_default_kernels_and_cache_agree(golden, golden_runs, model_name: str, isa: str) -> None:
    logits = golden_runs(model_name, isa, "f16").logits
    assert relative_error(logits, golden.logits) <= F16_CACHE
    assert worst_row(logits, golden.logits) <= 4 * F16_CACHE


def test_generation_in_a_batch_finds_the_same(golden, golden_runs, model_name: str, isa: str) -> None:
    """Prompts of several lengths, some computed in two steps, and decoding beside them."""
    run = golden_runs(model_name, isa, "f32")
    assert (run.sequences == golden.ids).all()
    expected = log_softmax(golden.logits[:-1])
    for logprobs in run.logprobs:
        assert relative_error(logprobs, expected) <= EXACT
