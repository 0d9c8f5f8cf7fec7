"""Operands to measure linear kernels with, and the check that a product is right before its time counts."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from llmcore import _core, kernels

_CHECKED = 64  # weight rows
_ALLOWED = {"f32": 1e-5, "q8_32": 6e-3, "bf16_x32": 3e-3}  # error against float64, by the activations' layout
_OTHER_LAYOUTS = 6e-3
_RANDOM_CODES = 2  # times that, for formats that nothing here can write: their rows are of few large weights


class WrongResultError(Exception):
    """A kernel's product is not what it should be, so its time means nothing."""


def weights(format_name: str, n: int, k: int) -> NDArray[np.uint8]:
    """n rows in a format, uint8 (n, bytes of a row): the same few again and again."""
    rows = min(n, _CHECKED)
    few = kernels.random_weight(format_name, rows, k)
    return np.tile(few, (math.ceil(n / rows), 1))[:n]


def activations(m: int, k: int) -> NDArray[np.float32]:
    """N(0, 1), float32 (m, k), always the same."""
    return np.random.default_rng(2).standard_normal((m, k), np.float32)


def checked_error(kernel: kernels.Kernel, weight: NDArray[np.uint8], x: NDArray[np.float32]) -> float:
    """The error of a kernel's product with some of the rows, ‖a−b‖₂/‖b‖₂ against float64; WrongResultError
    if it is too large."""
    few, k = weight[:_CHECKED], x.shape[1]
    format_name = kernel.format or ""
    exact = _core.dequantize(format_name, few.reshape(-1), len(few) * k).reshape(-1, k).astype(np.float64)
    expected = x.astype(np.float64) @ exact.T
    got = kernels.run(kernel.name, weight=few, x=x)
    error = float(np.linalg.norm(got - expected) / np.linalg.norm(expected))
    info = next(entry for entry in _core.formats() if entry["name"] == format_name)
    allowed = _ALLOWED.get(kernel.act_layout, _OTHER_LAYOUTS)
    allowed *= 1 if info["can_quantize"] else _RANDOM_CODES
    if not error <= allowed:  # also for what is not a number
        raise WrongResultError(f"{kernel.name}: error {error:.2e}, allowed {allowed:.0e}")
    return error
