"""Quantization: its error beside ggml's on the same values, its limits, and what it refuses."""

from __future__ import annotations

import hashlib
import importlib.util
import json
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from gguf import GGML_QUANT_SIZES, GGMLQuantizationType
from gguf.quants import dequantize as reference_dequantize
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from llmcore import _core
from llmcore.errors import InvalidArgumentError, ModelError

REFERENCE = Path(__file__).resolve().parent / "reference"
RECORDED: dict[str, Any] = json.loads((REFERENCE / "ggml_errors.json").read_text(encoding="utf-8"))
BLOCK_FORMATS = [
    "Q4_0", "Q4_1", "Q5_0", "Q5_1", "Q8_0", "IQ4_NL", "Q2_K", "Q3_K", "Q4_K", "Q5_K", "Q6_K", "IQ4_XS",
]  # fmt: skip
FORMATS = ["F32", "F16", "BF16", *BLOCK_FORMATS]

# The largest magnitude a block can hold: the largest half times the largest integers.
LARGEST_HALF = 65504.0
LARGEST = {
    "Q4_0": 8, "Q4_1": 16, "Q5_0": 16, "Q5_1": 32, "Q8_0": 128, "IQ4_NL": 127, "Q2_K": 45, "Q3_K": 128,
    "Q4_K": 945, "Q5_K": 1953, "Q6_K": 4096, "IQ4_XS": 4064,
}  # fmt: skip


def load_inputs() -> ModuleType:
    spec = importlib.util.spec_from_file_location("quantize_inputs", REFERENCE / "inputs.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


INPUTS = load_inputs()


def restored(name: str, values: np.ndarray) -> np.ndarray:
    """The values after quantization here and dequantization by the gguf package."""
    blocks = _core.quantize(name, values)
    elements, size = GGML_QUANT_SIZES[GGMLQuantizationType[name]]
    assert blocks.shape == (values.shape[0], values.shape[1] // elements * size)
    assert blocks.dtype == np.uint8
    if name == "F32":
        return blocks.view(np.float32)
    return reference_dequantize(blocks, GGMLQuantizationType[name])


def error_of(name: str, values: np.ndarray) -> float:
    return float(INPUTS.squared_error(values, restored(name, values)))


def assert_no_worse_than_ggml(recorded: dict[str, float], values: np.ndarray) -> None:
    assert set(BLOCK_FORMATS) <= set(recorded)
    for name, theirs in recorded.items():
        assert error_of(name, values) <= theirs * (1 + 1e-6), name


@pytest.mark.parametrize("name", INPUTS.INPUTS)
def test_error_is_no_larger_than_ggmls(name: str) -> None:
    assert_no_worse_than_ggml(RECORDED["inputs"][name], INPUTS.make_input(name))


def test_every_input_was_measured() -> None:
    assert set(RECORDED["inputs"]) == set(INPUTS.INPUTS)


def test_error_on_trained_weights(stories_model: Path) -> None:
    recorded = RECORDED["models"][stories_model.name]
    assert hashlib.sha256(stories_model.read_bytes()).hexdigest() == recorded["sha256"]
    assert_no_worse_than_ggml(recorded["errors"], INPUTS.model_weights(stories_model))


def test_error_on_the_embedded_model(repository: Path) -> None:
    model = repository / "python" / "llmcore" / "default_model" / "default.gguf"
    recorded = RECORDED["models"][model.name]
    if hashlib.sha256(model.read_bytes()).hexdigest() != recorded["sha256"]:
        pytest.skip("measured on another embedded model; run measure_ggml.py again")
    assert_no_worse_than_ggml(recorded["errors"], INPUTS.model_weights(model))


def test_gaussian_errors_are_well_below_ggmls() -> None:
    """The searches for scales do their work: at least 3 percent, and much more where ggml does not search."""
    values = INPUTS.make_input("gauss")
    for name in BLOCK_FORMATS:
        assert error_of(name, values) < 0.97 * RECORDED["inputs"]["gauss"][name], name


@pytest.mark.parametrize("name", FORMATS)
def test_zeros_stay_zero(name: str) -> None:
    values = np.zeros((3, 512), np.float32)
    values[1] = -0.0
    assert not restored(name, values).any()


@pytest.mark.parametrize("name", BLOCK_FORMATS)
@pytest.mark.parametrize("scale", [1e-45, 1e-38, 1e-12, 1e-8, 1e-7, 1e-6])
def test_tiny_values_are_no_worse_than_zeros(name: str, scale: float) -> None:
    values = (INPUTS.make_input("gauss")[:8] / 0.02 * scale).astype(np.float32)
    result = restored(name, values)
    assert np.isfinite(result).all()
    assert INPUTS.squared_error(values, result) <= INPUTS.squared_error(values, 0 * values)


@pytest.mark.parametrize("name", BLOCK_FORMATS)
@pytest.mark.parametrize("scale", [1e5, 1e7, 1e12, 3e37])
def test_values_out_of_reach_become_the_nearest(name: str, scale: float) -> None:
    values = (INPUTS.make_input("laplace")[:8] / 0.02 * scale).astype(np.float32)
    result = restored(name, values)
    assert np.isfinite(result).all()
    assert np.abs(result).max() <= LARGEST[name] * LARGEST_HALF
    if scale > 1e11:  # far beyond: all at the limits
        far = np.abs(values) > 0.1 * scale
        assert (np.sign(result)[far] == np.sign(values)[far]).mean() > 0.9
    assert INPUTS.squared_error(values, result) <= INPUTS.squared_error(values, 0 * values)


@pytest.mark.parametrize(("name", "largest"), [("F16", 65504.0), ("BF16", 3.3895313892515355e38)])
def test_narrow_floats_saturate(name: str, largest: float) -> None:
    values = np.array([[3.4e38, -3.4e38, 1.5, 0.0]], np.float32)
    assert restored(name, values).tolist() == [[largest, -largest, 1.5, 0.0]]


def test_narrow_floats_round_to_even() -> None:
    values = INPUTS.make_input("student_t")
    assert np.array_equal(restored("F16", values), values.astype(np.float16).astype(np.float32))
    ties = np.array([[1.0 + 2**-8, 1.0 + 3 * 2**-8]], np.float32)
    assert restored("BF16", ties).tolist() == [[1.0, 1.0 + 2**-6]]
    assert np.array_equal(_core.quantize("F32", values).view(np.float32), values)


@pytest.mark.parametrize("name", BLOCK_FORMATS)
@pytest.mark.parametrize("value", [0.7, -0.7, 3000.0, -0.05])
def test_constant_blocks(name: str, value: float) -> None:
    values = np.full((2, 512), value, np.float32)
    assert restored(name, values) == pytest.approx(values, rel=2e-3)


@pytest.mark.parametrize("name", BLOCK_FORMATS)
def test_one_outlier(name: str) -> None:
    values = np.zeros((1, 512), np.float32)
    values[0, 77] = -5.0
    assert restored(name, values)[0, 77] == pytest.approx(-5.0, rel=5e-3)
    assert error_of(name, values) < 2e-3 * 25.0  # IQ4_NL and IQ4_XS have no zero


@pytest.mark.parametrize("name", BLOCK_FORMATS)
def test_what_was_quantized_before_is_kept_nearly(name: str) -> None:
    """A grid of the format's own values is found again."""
    values = restored(name, INPUTS.make_input("gauss")[:16])
    first = error_of(name, INPUTS.make_input("gauss")[:16])
    assert error_of(name, values) < 0.3 * first


@pytest.mark.parametrize("name", FORMATS)
def test_blocks_do_not_depend_on_each_other(name: str) -> None:
    values = INPUTS.make_input("weights")[:5]
    whole = _core.quantize(name, values)
    assert np.array_equal(whole, np.concatenate([_core.quantize(name, values[i : i + 1]) for i in range(5)]))


@pytest.mark.parametrize("name", FORMATS)
@given(
    values=arrays.arrays(
        np.float32,
        (1, 256),
        elements=st.floats(width=32, allow_nan=False, allow_infinity=False),
        fill=st.sampled_from([0.0, 1.0, -1e-7, 1e30]),
    )
)
@settings(max_examples=30, deadline=None)
def test_any_finite_values(name: str, values: np.ndarray) -> None:
    result = restored(name, values)
    assert np.isfinite(result).all()
    assert INPUTS.squared_error(values, result) <= INPUTS.squared_error(values, 0 * values) * (1 + 1e-6)


@pytest.mark.parametrize("name", FORMATS)
@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_what_is_not_finite_is_refused(name: str, bad: float) -> None:
    values = np.ones((2, 512), np.float32)
    values[1, 300] = bad
    with pytest.raises(InvalidArgumentError, match=r"quantize.*at element 812.*expected finite"):
        _core.quantize(name, values)


def test_wrong_arguments() -> None:
    with pytest.raises(InvalidArgumentError, match="unknown tensor format"):
        _core.quantize("Q9_9", np.zeros((1, 256), np.float32))
    with pytest.raises(InvalidArgumentError, match="100 columns; expected a multiple of 32"):
        _core.quantize("Q4_0", np.zeros((2, 100), np.float32))
    with pytest.raises(InvalidArgumentError, match="1 dimensions; expected 2"):
        _core.quantize("Q4_0", np.zeros(256, np.float32))
    with pytest.raises(ModelError, match="cannot write the tensor format; got IQ2_XS"):
        _core.quantize("IQ2_XS", np.zeros((1, 256), np.float32))


def test_no_rows() -> None:
    assert _core.quantize("Q4_K", np.zeros((0, 512), np.float32)).shape == (0, 288)


def test_formats_say_what_can_be_written() -> None:
    assert {entry["name"] for entry in _core.formats() if entry["can_quantize"]} == set(FORMATS)
