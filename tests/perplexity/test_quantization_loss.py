"""What `llmcore quantize` costs a trained model: more bits, less divergence."""

from __future__ import annotations

import sys
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

FAMILIES = [
    ("Q4_0", "Q5_0", "Q8_0", "F16"),
    ("Q4_1", "Q5_1", "Q8_0"),
    ("Q2_K", "Q3_K_M", "Q4_K_M", "Q5_K_M", "Q6_K", "Q8_0"),
    ("Q2_K", "IQ4_XS", "Q5_K_M"),
    ("Q3_K_M", "IQ4_NL", "Q5_0"),
]


@pytest.fixture(scope="module")
def rows(repository: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """Each format's figures, by the format's name."""
    sys.path.insert(0, str(repository))
    from benchmarks import quantization_loss  # noqa: PLC0415 - beside the package, no part of it

    folder = tmp_path_factory.mktemp("quantized")
    return {row.quant: row for row in quantization_loss.measure(None, quantization_loss.FORMATS, 12, folder)}


@pytest.mark.parametrize("family", FAMILIES, ids="-".join)
def test_divergence_falls_as_bits_rise(rows: dict[str, Any], family: tuple[str, ...]) -> None:
    for coarse, fine in pairwise(family):
        assert rows[coarse].bits_per_weight < rows[fine].bits_per_weight
        assert rows[coarse].divergence.kl_mean.value > 1.25 * rows[fine].divergence.kl_mean.value
        assert rows[coarse].divergence.kl_p99 > rows[fine].divergence.kl_p99
        assert rows[coarse].divergence.same_top.value <= rows[fine].divergence.same_top.value + 0.01


def test_equal_bits_better_spent(rows: dict[str, Any]) -> None:
    """A table of uneven steps, or minima of their own, say more with four bits than even steps around 0."""
    for better in ("IQ4_NL", "Q4_1", "Q4_K_M"):
        assert rows[better].divergence.kl_mean.value < rows["Q4_0"].divergence.kl_mean.value


def test_sizes_of_the_losses(rows: dict[str, Any]) -> None:
    """Of the order that these formats have in other models; Q8_0 gives back this model's very weights."""
    most = {
        "F16": 1e-5,
        "Q8_0": 1e-3,
        "Q6_K": 3e-3,
        "Q5_K_M": 8e-3,
        "Q4_K_M": 2e-2,
        "Q4_0": 4e-2,
        "Q2_K": 0.2,
    }
    for quant, limit in most.items():
        divergence = rows[quant].divergence
        assert 0 < divergence.kl_mean.value < limit
        assert divergence.kl_median <= divergence.kl_p99 <= divergence.kl_max


def test_answers_are_known_by_heart(rows: dict[str, Any]) -> None:
    """The answers of dialogues that training did not see, as the float model and as four bits."""
    spoken = rows["Q4_K_M"].spoken
    assert 1 < spoken.reference_perplexity.value < 1.1
    assert abs(spoken.perplexity_ratio.value - 1) < 0.02


def test_rows_of_704_fall_back(rows: dict[str, Any]) -> None:
    """They are no whole blocks of 256."""
    assert rows["Q6_K"].types["Q8_0"] == 6
    assert set(rows["IQ4_XS"].types) == {"IQ4_XS", "IQ4_NL", "Q6_K"}
