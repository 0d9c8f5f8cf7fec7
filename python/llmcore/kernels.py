"""The kernel lab: every kernel of this build, run and timed alone on NumPy arrays.

Arguments by operation (float32 unless said otherwise, C order):

- ``linear``: weight uint8 (n, bytes of a row in the kernel's format, see `quantize`), x (m, k) → (m, n).
  Activations are packed first where the kernel wants that. ``copies``: weights in so many places, taken in
  turn, so that they come from memory and not from a cache.
- ``pack``: x (m, k) → uint8 (m, bytes of a packed row); for layouts that interleave rows, as many as fill
  their groups.
- ``norm``: x (m, n), weight (n), eps=1e-5 → (m, n).
- ``layer_norm``: x (m, n), weight (n), bias (n) or None, eps=1e-5 → (m, n).
- ``glu``: gate (m, n), up (m, n) or None, activation="silu" → (m, n).
- ``rope``: x (m, heads, head_dim), positions int32 (m), inv_freq (rope_dims / 2), style="adjacent" or
  "halves" → the shape of x. Timed runs go on from each other's result.
- ``attention``: q (tokens, heads, head_dim), k and v (cached, kv_heads, head_dim), scale=1/√head_dim,
  softcap=0, window=0, causal=True → the shape of q. The last tokens of the cached ones ask; each sees those
  up to itself, or all if it is not causal.
- ``kv_store``: k and v as above → uint8, the cache's blocks.
- ``row_max``: x (n) → (blocks of 64), each one's largest value, NaN if it holds NaN or +infinity.
- ``exp_sum``: x (n), scale=1, least=-inf → (blocks of 64), each one's sum of exp((x - max(x)) * scale) over
  x >= least.
- ``peak``: size: bytes to read, or rows of work → (rows), each row's count of words or products.

InvalidArgumentError is raised for an unknown kernel, one that this machine cannot run, arguments of another
operation, and shapes that do not fit or that the kernel does not support.
"""

from __future__ import annotations

import builtins
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from llmcore import _core
from llmcore.errors import InvalidArgumentError

__all__ = ["Kernel", "Timing", "compare", "list", "quantize", "random_weight", "run", "time"]


# Rows that a layout interleaves; there is memory for whole groups of them.
_PACKED_TOGETHER = {"bf16_x32": 32}


class Kernel(msgspec.Struct, frozen=True):
    """A kernel's descriptor."""

    name: str
    op: str
    isa: str
    format: str | None
    """Of the weights, or of the cache."""
    act_layout: str
    out_layout: str
    usable: bool
    """Whether this machine can run it."""


class Timing(msgspec.Struct, frozen=True):
    """Seconds a run, one of each sample."""

    samples: tuple[float, ...]

    @property
    def best(self) -> float:
        return min(self.samples)

    @property
    def median(self) -> float:
        return float(np.median(self.samples))


def list(op: str | None = None, format: str | None = None, usable: bool = True) -> builtins.list[Kernel]:
    """The kernels of this build: all, or those of an operation and a format; `usable`: that run here."""
    kernels = [msgspec.convert(entry, Kernel) for entry in _core.kernels()]
    return [
        kernel
        for kernel in kernels
        if op in (None, kernel.op) and format in (None, kernel.format) and (kernel.usable or not usable)
    ]


def quantize(weight: NDArray[np.float32], format: str) -> NDArray[np.uint8]:
    """A float32 matrix (n, k) in a tensor format, uint8 (n, bytes of a row)."""
    return _core.quantize(format, np.ascontiguousarray(weight, np.float32))


def random_weight(format: str, n: int, k: int, seed: int = 1) -> NDArray[np.uint8]:
    """Weights (n, k) in a format, uint8 (n, bytes of a row): N(0, 1) quantized, or random codes where
    `quantize` cannot write the format. Those are of such different sizes that few of a row count."""
    random = np.random.default_rng(seed)
    info = next(entry for entry in _core.formats() if entry["name"] == format)
    if info["can_quantize"]:
        return quantize(random.standard_normal((n, k), np.float32), format)
    # Scales are some two bytes of a block: without the upper bits they are small and finite.
    blocks = random.integers(0, 64, (n, k // info["block_elements"], info["block_bytes"]), np.uint8)
    if format == "MXFP4":  # an exponent: as small it would be a subnormal float, which is slow
        blocks[..., 0] += 96
    return blocks.reshape(n, -1)


def run(name: str, *, threads: int = 1, **arguments: Any) -> NDArray[Any]:
    """Runs a kernel once and returns its output; see the module for the arguments."""
    call, shaped = _call(name, arguments)
    call.run(_core.ThreadPool(threads))
    return shaped(call.output())


def time(
    name: str, *, threads: int = 1, repeats: int = 5, least_seconds: float = 0.05, **arguments: Any
) -> Timing:
    """Times a kernel: `repeats` samples of at least `least_seconds` each."""
    call, _ = _call(name, arguments)
    return Timing(tuple(call.time(_core.ThreadPool(threads), repeats, least_seconds)))


def compare(
    names: Sequence[str], *, threads: int = 1, repeats: int = 5, least_seconds: float = 0.05, **arguments: Any
) -> dict[str, Timing]:
    """Times several kernels on the same arguments, as `time`, by name. They take turns, so that what else
    the machine does falls on all of them."""
    calls = {name: _call(name, arguments)[0] for name in names}
    samples: dict[str, builtins.list[float]] = {name: [] for name in names}
    pool = _core.ThreadPool(threads)
    for _ in range(repeats):
        for name, call in calls.items():
            samples[name] += call.time(pool, 1, least_seconds)
    return {name: Timing(tuple(values)) for name, values in samples.items()}


Shaped = Callable[[NDArray[np.uint8]], NDArray[Any]]


def _call(name: str, arguments: Mapping[str, Any]) -> tuple[_core.KernelCall, Shaped]:
    ops = {kernel.name: kernel.op for kernel in list(usable=False)}
    op = ops.get(name)
    if op is None:
        raise InvalidArgumentError(
            f"[kernels] unknown kernel; got {name}; expected a name that 'llmcore kernels' lists"
        )
    try:
        return _BUILDERS[op](name, **arguments)
    except TypeError as error:
        raise InvalidArgumentError(f"[kernels] arguments of {name}, which is a {op}: {error}") from None


def _floats(array: Any) -> NDArray[np.float32]:
    return np.ascontiguousarray(array, np.float32)


def _as_floats(*shape: int) -> Shaped:
    return lambda output: output.view(np.float32).reshape(shape)


def _linear(name: str, *, weight: Any, x: Any, copies: int = 1) -> tuple[_core.KernelCall, Shaped]:
    weight, x = np.ascontiguousarray(weight, np.uint8), _floats(x)
    return _core.KernelCall.linear(name, weight, x, copies), _as_floats(-1, len(weight))


def _pack(name: str, *, x: Any) -> tuple[_core.KernelCall, Shaped]:
    rows = _floats(x)
    call = _core.KernelCall.pack(name, rows)
    (layout,) = (kernel.out_layout for kernel in list("pack") if kernel.name == name)
    together = _PACKED_TOGETHER.get(layout, 1)
    return call, lambda output: output.reshape(-(-len(rows) // together) * together, -1)


def _norm(name: str, *, x: Any, weight: Any, eps: float = 1e-5) -> tuple[_core.KernelCall, Shaped]:
    rows = _floats(x)
    return _core.KernelCall.norm(name, rows, _floats(weight), eps), _as_floats(*rows.shape)


def _layer_norm(
    name: str, *, x: Any, weight: Any, bias: Any = None, eps: float = 1e-5
) -> tuple[_core.KernelCall, Shaped]:
    rows = _floats(x)
    shift = None if bias is None else _floats(bias)
    return _core.KernelCall.layer_norm(name, rows, _floats(weight), shift, eps), _as_floats(*rows.shape)


def _glu(
    name: str, *, gate: Any, up: Any = None, activation: str = "silu"
) -> tuple[_core.KernelCall, Shaped]:
    gate = _floats(gate)
    call = _core.KernelCall.glu(name, gate, None if up is None else _floats(up), activation)
    return call, _as_floats(*gate.shape)


def _rope(
    name: str, *, x: Any, positions: Any, inv_freq: Any, style: str = "adjacent"
) -> tuple[_core.KernelCall, Shaped]:
    x, positions = _floats(x), np.ascontiguousarray(positions, np.int32)
    return _core.KernelCall.rope(name, x, positions, _floats(inv_freq), style), _as_floats(*x.shape)


def _attention(
    name: str,
    *,
    q: Any,
    k: Any,
    v: Any,
    scale: float | None = None,
    softcap: float = 0.0,
    window: int = 0,
    causal: bool = True,
) -> tuple[_core.KernelCall, Shaped]:
    q = _floats(q)
    if scale is None:
        scale = float(q.shape[-1] ** -0.5)
    call = _core.KernelCall.attention(name, q, _floats(k), _floats(v), scale, softcap, window, causal)
    return call, _as_floats(*q.shape)


def _kv_store(name: str, *, k: Any, v: Any) -> tuple[_core.KernelCall, Shaped]:
    return _core.KernelCall.kv_store(name, _floats(k), _floats(v)), lambda output: output


def _row_max(name: str, *, x: Any) -> tuple[_core.KernelCall, Shaped]:
    return _core.KernelCall.row_blocks(name, _floats(x), 0.0, 1.0, 0.0), _as_floats(-1)


def _exp_sum(
    name: str, *, x: Any, scale: float = 1.0, least: float = -np.inf
) -> tuple[_core.KernelCall, Shaped]:
    row = _floats(x)
    most = float(row.max()) if row.size else 0.0
    return _core.KernelCall.row_blocks(name, row, most, scale, least), _as_floats(-1)


def _peak(name: str, *, size: int) -> tuple[_core.KernelCall, Shaped]:
    return _core.KernelCall.peak(name, size), _as_floats(-1)


_BUILDERS: Mapping[str, Callable[..., tuple[_core.KernelCall, Shaped]]] = {
    "linear": _linear,
    "pack": _pack,
    "norm": _norm,
    "layer_norm": _layer_norm,
    "glu": _glu,
    "rope": _rope,
    "attention": _attention,
    "kv_store": _kv_store,
    "peak": _peak,
    "row_max": _row_max,
    "exp_sum": _exp_sum,
}
