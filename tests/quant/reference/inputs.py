"""The values on which quantizers are compared. The made-up ones depend on no part of NumPy that may
change: raw bits of PCG64, turned into distributions here.
"""

from __future__ import annotations

from pathlib import Path

import gguf
import numpy as np
import numpy.typing as npt

ROWS, COLS = 256, 512

Floats = npt.NDArray[np.float32]


class _Uniform:
    """Doubles in (0, 1) from the bits of one seeded generator."""

    def __init__(self, seed: int) -> None:
        self._bits = np.random.PCG64(seed)

    def __call__(self, *shape: int) -> npt.NDArray[np.float64]:
        raw = self._bits.random_raw(int(np.prod(shape))).reshape(shape)
        return ((raw >> np.uint64(12)).astype(np.float64) + 0.5) * 2.0**-52

    def normal(self, *shape: int) -> npt.NDArray[np.float64]:
        """Box and Muller's transform."""
        return np.sqrt(-2.0 * np.log(self(*shape))) * np.cos(2.0 * np.pi * self(*shape))


def _gauss() -> npt.NDArray[np.float64]:
    return 0.02 * _Uniform(1).normal(ROWS, COLS)


def _laplace() -> npt.NDArray[np.float64]:
    u = _Uniform(2)(ROWS, COLS) - 0.5
    return -0.02 * np.sign(u) * np.log1p(-2.0 * np.abs(u))


def _student_t() -> npt.NDArray[np.float64]:
    """Three degrees of freedom: a normal over the root of a mean of three squares."""
    uniform = _Uniform(3)
    squares = sum(uniform.normal(ROWS, COLS) ** 2 for _ in range(3))
    return 0.02 * uniform.normal(ROWS, COLS) / np.sqrt(squares / 3.0)


def _weights() -> npt.NDArray[np.float64]:
    """What trained projections look like: rows and columns of different spread, a few columns of outliers."""
    uniform = _Uniform(4)
    rows = np.exp(0.3 * uniform.normal(ROWS, 1))
    columns = np.exp(0.2 * uniform.normal(1, COLS))
    columns[:, uniform(COLS) < 0.01] *= 6.0
    return 0.015 * rows * columns * uniform.normal(ROWS, COLS)


def _shifted() -> npt.NDArray[np.float64]:
    """Blocks whose mean is far from zero, to either side."""
    uniform = _Uniform(5)
    means = np.repeat(uniform.normal(ROWS, COLS // 32), 32, axis=1)
    return 0.02 * (uniform.normal(ROWS, COLS) + 2.0 * means)


def _uniform() -> npt.NDArray[np.float64]:
    return 0.1 * (_Uniform(6)(ROWS, COLS) - 0.5)


def _small() -> npt.NDArray[np.float64]:
    """Scales that are subnormal halves."""
    return 2e-5 * _Uniform(7).normal(ROWS, COLS)


def _ternary() -> npt.NDArray[np.float64]:
    """Weights of models that are trained with three values, each row with a scale of its own."""
    uniform = _Uniform(8)
    return 0.03 * np.exp(0.3 * uniform.normal(ROWS, 1)) * np.floor(3.0 * uniform(ROWS, COLS) - 1.0)


def _integers() -> npt.NDArray[np.float64]:
    """What has 16 values, as weights that were of 4 bits before."""
    return np.floor(16.0 * _Uniform(9)(ROWS, COLS)) - 8.0


def _constant() -> npt.NDArray[np.float64]:
    """Values that hardly differ: every level fits them as well."""
    return 5.0 + 0.01 * (2.0 * _Uniform(10)(ROWS, COLS) - 1.0)


INPUTS = {
    "gauss": _gauss,
    "laplace": _laplace,
    "student_t": _student_t,
    "weights": _weights,
    "shifted": _shifted,
    "uniform": _uniform,
    "small": _small,
    "ternary": _ternary,
    "integers": _integers,
    "constant": _constant,
}


def make_input(name: str) -> Floats:
    """The values of that name, of shape (ROWS, COLS)."""
    return INPUTS[name]().astype(np.float32)


def model_weights(path: Path) -> Floats:
    """All matrices of a GGUF file one after another, in rows of COLS; what does not fill a row is dropped."""
    matrices = [tensor for tensor in gguf.GGUFReader(path).tensors if len(tensor.shape) >= 2]
    flat = [gguf.quants.dequantize(tensor.data, tensor.tensor_type).ravel() for tensor in matrices]
    values = np.concatenate(flat).astype(np.float32)
    return values[: values.size // COLS * COLS].reshape(-1, COLS)


def squared_error(values: Floats, restored: Floats) -> float:
    """The sum of squared differences, in double precision."""
    return float(np.sum((values.astype(np.float64) - restored.astype(np.float64)) ** 2))
