"""Every kernel that runs here, alone on arrays, against NumPy in float64."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from llmcore import _core, kernels
from llmcore.errors import InvalidArgumentError

INT8 = 6e-3  # activations as int8, a scale per 32
FLOAT = 1e-5
# What a cache's format leaves of N(0, 1) numbers. With a scale per 32, 4 bits cannot do better than 8e-2.
CACHED = {"F32": 1e-6, "F16": 3e-4, "BF16": 2.5e-3, "Q8_0": 6e-3, "Q4_0": 9.5e-2}

random = np.random.default_rng(7)


def names(op: str) -> list[str]:
    return [kernel.name for kernel in kernels.list(op)]


def format_of(name: str) -> str:
    return next(kernel.format or "" for kernel in kernels.list() if kernel.name == name)


def normal(*shape: int) -> np.ndarray:
    return random.standard_normal(shape, np.float32)


def error(a: np.ndarray, b: np.ndarray) -> float:
    return float(np.linalg.norm(a - b) / np.linalg.norm(b))


def allowed(kernel: kernels.Kernel) -> float:
    # Random codes are of such different sizes that few of a row count.
    info = next(entry for entry in _core.formats() if entry["name"] == kernel.format)
    return INT8 if info["can_quantize"] else 2 * INT8


@pytest.mark.parametrize("name", names("linear"))
@pytest.mark.parametrize("m", [1, 5, 13])
def test_linear(name: str, m: int) -> None:
    kernel = next(kernel for kernel in kernels.list("linear") if kernel.name == name)
    n, k = 70, 512
    weight, x = kernels.random_weight(kernel.format, n, k), normal(m, k)
    exact = _core.dequantize(kernel.format, weight.reshape(-1), n * k).reshape(n, k).astype(np.float64)
    expected = x.astype(np.float64) @ exact.T
    got = kernels.run(name, weight=weight, x=x, threads=2)
    assert got.shape == (m, n)
    assert error(got, expected) <= (FLOAT if kernel.act_layout == "f32" else allowed(kernel))


@pytest.mark.parametrize("name", names("norm"))
def test_norm(name: str) -> None:
    x, weight = normal(3, 100), normal(100)
    wide = x.astype(np.float64)
    expected = wide / np.sqrt((wide**2).mean(-1, keepdims=True) + 1e-5) * weight
    assert error(kernels.run(name, x=x, weight=weight), expected) <= FLOAT


@pytest.mark.parametrize("name", names("layer_norm"))
@pytest.mark.parametrize("n", [1, 7, 16, 100])
def test_layer_norm(name: str, n: int) -> None:
    x, weight, bias = normal(3, n) + np.float32(50.0), normal(n), normal(n)
    x[1] = 3.0  # no spread
    wide = x.astype(np.float64)
    centred = wide - wide.mean(-1, keepdims=True)
    expected = centred / np.sqrt((centred**2).mean(-1, keepdims=True) + 1e-5) * weight
    # The mean of numbers near 50 is as exact as float32 is there.
    assert np.abs(kernels.run(name, x=x, weight=weight) - expected).max() <= 1e-4
    got = kernels.run(name, x=x, weight=weight, bias=bias, threads=2)
    assert np.abs(got - (expected + bias)).max() <= 1e-4


@pytest.mark.parametrize("name", names("glu"))
def test_glu(name: str) -> None:
    gate, up = normal(3, 100), normal(3, 100)
    wide = gate.astype(np.float64)
    silu = wide / (1 + np.exp(-wide))
    assert error(kernels.run(name, gate=gate, up=up), silu * up) <= FLOAT
    assert error(kernels.run(name, gate=gate, activation="relu"), np.maximum(wide, 0)) <= FLOAT


@pytest.mark.parametrize("name", names("row_max"))
def test_row_max(name: str) -> None:
    x = normal(200)
    x[130] = np.nan
    assert np.array_equal(
        kernels.run(name, x=x), [x[:64].max(), x[64:128].max(), np.nan, x[192:].max()], True
    )


@pytest.mark.parametrize("name", names("exp_sum"))
def test_exp_sum(name: str) -> None:
    x = normal(200)
    terms = np.exp((x.astype(np.float64) - x.max()) * 1.5) * (x >= -0.5)
    expected = [terms[i : i + 64].sum() for i in range(0, 200, 64)]
    assert error(kernels.run(name, x=x, scale=1.5, least=-0.5), np.array(expected)) <= FLOAT


@pytest.mark.parametrize("name", names("rope"))
def test_rope(name: str) -> None:
    x, positions = normal(4, 2, 16), np.array([0, 3, 1000, 7])
    inv_freq = 10000.0 ** -(np.arange(8) / 8)
    turn = np.exp(1j * positions[:, None, None] * inv_freq.astype(np.float32))
    pairs = x[..., 0::2].astype(np.float64) + 1j * x[..., 1::2]
    expected = np.empty_like(x)
    expected[..., 0::2], expected[..., 1::2] = (pairs * turn).real, (pairs * turn).imag
    got = kernels.run(name, x=x, positions=positions, inv_freq=inv_freq, style="adjacent")
    assert error(got, expected) <= 1e-4


@pytest.mark.parametrize("name", names("attention"))
def test_attention(name: str) -> None:
    q, k, v = normal(5, 4, 64), normal(70, 2, 64), normal(70, 2, 64)
    expected = np.empty(q.shape)
    for token, position in enumerate(range(65, 70)):
        for head in range(4):
            keys, values = k[: position + 1, head // 2], v[: position + 1, head // 2]
            scores = keys.astype(np.float64) @ q[token, head] / 8
            weights = np.exp(scores - scores.max())
            expected[token, head] = weights @ values / weights.sum()
    assert error(kernels.run(name, q=q, k=k, v=v, threads=2), expected) <= FLOAT + 2 * CACHED[format_of(name)]


@pytest.mark.parametrize("name", names("attention"))
def test_attention_in_both_directions(name: str) -> None:
    q, k, v = normal(40, 2, 32), normal(40, 2, 32), normal(40, 2, 32)
    scores = np.einsum("qhd,khd->hqk", q.astype(np.float64), k) / np.sqrt(32)
    weights = np.exp(scores - scores.max(-1, keepdims=True))
    expected = np.einsum("hqk,khd->qhd", weights / weights.sum(-1, keepdims=True), v)
    assert (
        error(kernels.run(name, q=q, k=k, v=v, causal=False, threads=2), expected)
        <= FLOAT + 2 * CACHED[format_of(name)]
    )


@pytest.mark.parametrize("name", names("kv_store"))
def test_kv_store(name: str) -> None:
    k, v = normal(40, 2, 64), normal(40, 2, 64)
    format = format_of(name)
    cache = kernels.run(name, k=k, v=v)
    values = _core.dequantize(format, cache, 2 * 2 * 2 * 32 * 64).reshape(2, 2, 2, 32, 64)
    # block, k or v, head, token
    assert error(values[1, 1, 1, :8], v[32:, 1]) <= CACHED[format]
    assert error(values[0, 0, 0], k[:32, 0]) <= CACHED[format]
    assert not values[1, :, :, 8:].any()


def packers(layout: str) -> list[str]:
    return [kernel.name for kernel in kernels.list("pack") if kernel.out_layout == layout]


@pytest.mark.parametrize("name", packers("bf16_x32"))
def test_packers_interleave_rounded_rows(name: str) -> None:
    x = normal(35, 70)
    got = kernels.run(name, x=x)
    assert got.shape == (64, 2 * 96)  # whole groups of 32 rows and of 32 columns
    # In a group, for each 32 columns: two halves of 16 rows, in these for each two columns the rows' pairs.
    words = got.view(np.uint16).reshape(2, 3, 2, 16, 16, 2)
    rows = words.transpose(0, 2, 4, 1, 3, 5).reshape(64, 96)[:35]
    np.testing.assert_allclose((rows.astype(np.uint32) << 16).view(np.float32)[:, :70], x, rtol=2**-8)
    assert not rows[:, 70:].any()


@pytest.mark.parametrize("name", packers("q8_32"))
def test_packers_agree(name: str) -> None:
    x = normal(3, 128)
    got, expected = kernels.run(name, x=x), kernels.run("pack_q8_32_scalar", x=x)
    np.testing.assert_array_equal(got[:, :128], expected[:, :128])  # the integers
    scales = [packed[:, 128 : 128 + 4 * 4].copy().view(np.float32) for packed in (got, expected)]
    np.testing.assert_allclose(*scales, rtol=1e-6)


@pytest.mark.parametrize("name", names("peak"))
def test_peaks_do_what_they_count(name: str) -> None:
    if "read" in name:
        assert kernels.run(name, size=1 << 20).sum() == 1 << 18  # ones of 32 bits
    else:
        counts = kernels.run(name, size=3)
        assert counts.min() == counts.max() >= 4096


def test_timing_counts_every_sample() -> None:
    weight = kernels.quantize(normal(32, 256), "Q4_0")
    timing = kernels.time(
        "linear_q4_0_scalar", weight=weight, x=normal(1, 256), copies=3, repeats=4, least_seconds=0.001
    )
    assert len(timing.samples) == 4
    assert 0 < timing.best <= timing.median


WEIGHT = np.zeros((4, 144), np.uint8)


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        (lambda: kernels.run("linear_q4_k_bogus", weight=WEIGHT, x=normal(1, 256)), "unknown kernel"),
        (lambda: kernels.run("linear_q4_k_scalar", weight=WEIGHT, x=normal(1, 250)), "multiple of 256"),
        (lambda: kernels.run("linear_q4_k_scalar", weight=WEIGHT, x=normal(1, 512)), "size of weight"),
        (lambda: kernels.run("linear_q4_k_scalar", weight=WEIGHT, x=normal(256)), "dimensions of x"),
        (lambda: kernels.run("linear_q4_k_scalar", q=WEIGHT), "arguments of linear_q4_k_scalar"),
        (lambda: kernels.run("norm_rms_scalar", x=normal(2, 8), weight=normal(9)), "size of weight"),
        (lambda: kernels.run("norm_rms_scalar", x=normal(1, 8), weight=normal(8), threads=0), "threads"),
        (lambda: kernels.run("glu_f32_scalar", gate=normal(2, 8), activation="no"), "activation"),
        (
            lambda: kernels.run(
                "rope_f32_scalar", x=normal(1, 1, 8), positions=[0], inv_freq=normal(5), style="halves"
            ),
            "frequencies",
        ),
        (
            lambda: kernels.run(
                "attention_f32_scalar", q=normal(3, 2, 8), k=normal(2, 2, 8), v=normal(2, 2, 8)
            ),
            "tokens that ask",
        ),
        (
            lambda: kernels.run(
                "attention_f32_scalar", q=normal(1, 3, 8), k=normal(2, 2, 8), v=normal(2, 2, 8)
            ),
            "a shape for",
        ),
    ],
)
def test_wrong_arguments_are_told(wrong: Callable[[], object], said: str) -> None:
    with pytest.raises(InvalidArgumentError, match=said):
        wrong()
