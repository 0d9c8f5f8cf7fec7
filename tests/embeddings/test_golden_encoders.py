"""Tiny encoders against golden states of independent implementations, for every pooling and kernel path."""

from __future__ import annotations

import numpy as np
import pytest
from golden_encoders import golden_states, pooled
from tiny_encoders import encoder_named

EXACT = 2e-6  # float32 throughout
F16_CACHE = 2e-3  # float32 weights, float16 keys and values
Q8_0 = 3e-2  # a mean of few tokens that differ is small

POOLINGS = ("mean", "cls", "last")
FILE_POOLING = {None: "mean", 0: "mean", 1: "mean", 2: "cls", 3: "last"}


def worst_error(vectors: np.ndarray, name: str, pooling: str) -> float:
    expected = np.stack([pooled(states, pooling) for states in golden_states(name)])
    assert vectors.dtype == np.float32
    assert vectors.shape == expected.shape
    return float((np.linalg.norm(vectors - expected, axis=1) / np.linalg.norm(expected, axis=1)).max())


@pytest.mark.parametrize("pooling", POOLINGS)
def test_reference_kernels_agree_to_the_last_digits(encoder_runs, encoder_name: str, pooling: str) -> None:
    vectors = encoder_runs("scalar", "f32")[f"{encoder_name}/{pooling}"]
    assert worst_error(vectors, encoder_name, pooling) <= EXACT


@pytest.mark.parametrize("pooling", POOLINGS)
def test_every_instruction_set_agrees(encoder_runs, encoder_name: str, isa: str, pooling: str) -> None:
    exact = encoder_runs(isa, "f32")[f"{encoder_name}/{pooling}"]
    assert worst_error(exact, encoder_name, pooling) <= 2 * EXACT
    usual = encoder_runs(isa, "f16")[f"{encoder_name}/{pooling}"]
    assert worst_error(usual, encoder_name, pooling) <= F16_CACHE


def test_quantized_weights_stay_near(encoder_runs, encoder_name: str, isa: str) -> None:
    vectors = encoder_runs(isa, "f16", "Q8_0")[f"{encoder_name}/mean"]
    assert worst_error(vectors, encoder_name, "mean") <= Q8_0


def test_the_files_own_pooling_is_the_default(encoder_runs, encoder_name: str) -> None:
    runs = encoder_runs("scalar", "f32")
    wanted = FILE_POOLING[encoder_named(encoder_name).pooling]
    assert (runs[f"{encoder_name}/file"] == runs[f"{encoder_name}/{wanted}"]).all()
