"""The oracle of tests/reference against what the models' published code computes in float64."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from tiny_files import write_gguf
from tiny_models import MODELS, model_named

TOLERANCE = 1e-6  # golden logits and a file's numbers are float32


def test_every_architecture_has_a_golden_model(reference_decoder) -> None:
    assert {model.architecture for model in MODELS} == set(reference_decoder.STYLES)


def test_the_oracle_computes_what_the_published_code_does(
    tmp_path: Path, reference_decoder, golden, model_name: str
) -> None:
    write_gguf(model_named(model_name), tmp_path / "model.gguf")
    logits = reference_decoder.ReferenceDecoder(tmp_path / "model.gguf").logits(golden.ids)
    assert logits.shape == golden.logits.shape
    assert golden.logits.std() > 1.0
    assert np.linalg.norm(logits - golden.logits) <= TOLERANCE * np.linalg.norm(golden.logits)
