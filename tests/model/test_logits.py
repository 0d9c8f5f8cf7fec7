"""Logits of two-layer models of every format against the float64 oracle, for every instruction set here."""

from __future__ import annotations

import numpy as np

DEFAULT_TOLERANCE = 2e-2  # int8 activations, float16 cache
TIED_TOLERANCE = 3e-2  # an embedding that is the head as well is small beside what the layers add
REFERENCE_TOLERANCE = 1e-5  # scalar kernels, float32 cache


def relative_error(actual: np.ndarray, expected: np.ndarray) -> float:
    return float(np.linalg.norm(actual - expected) / np.linalg.norm(expected))


def test_logits_of_every_position(model_runs, isa: str, model_name: str) -> None:
    logits, expected = model_runs.runs(isa, "f16")[model_name].logits, model_runs.expected(model_name)
    assert logits.dtype == np.float32
    assert logits.shape == expected.shape
    assert expected.std() > 1.0  # not degenerate
    shape = model_runs.shape(model_name)
    tolerance = TIED_TOLERANCE if shape.tied_embeddings else DEFAULT_TOLERANCE
    errors = [relative_error(row, wanted) for row, wanted in zip(logits, expected, strict=True)]
    assert np.median(errors) <= tolerance
    if shape.experts is None:  # else a token between two experts may go to the other one
        assert relative_error(logits, expected) <= tolerance
        assert max(errors) <= 1.5 * tolerance


def test_scalar_kernels_with_a_float32_cache_are_exact(model_runs, model_name: str) -> None:
    logits = model_runs.runs("scalar", "f32")[model_name].logits
    assert relative_error(logits, model_runs.expected(model_name)) <= REFERENCE_TOLERANCE


def test_decoding_continues_the_prefill(model_runs, model_name: str) -> None:
    """Tokens decoded one at a time are those that a single prefill of the whole sequence finds likeliest."""
    run = model_runs.runs("scalar", "f32")[model_name]
    n = len(run.logits)
    assert run.after[n - 1 : -1].argmax(axis=1).tolist() == run.tokens
    assert relative_error(run.after[:n], run.logits) <= REFERENCE_TOLERANCE


def test_decoding_chooses_near_the_top(model_runs, isa: str, model_name: str) -> None:
    """With approximate kernels a tie may fall the other way, but never to a token that is clearly worse."""
    run = model_runs.runs(isa, "f16")[model_name]
    rows = run.after[len(run.logits) - 1 : -1]
    chosen = rows[np.arange(len(run.tokens)), run.tokens]
    assert (rows.max(axis=1) - chosen <= 0.1 * rows.std()).all()
