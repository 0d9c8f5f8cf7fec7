"""Every linear kernel by format, shape and number of activation rows, against this machine's limits.

    python -m benchmarks.kernels [-k NAME] [-m 1 -m 16] [--shape 4096x14336] [--json FILE] [--plot FILE.svg]

A time is printed only for a right result: each kernel's product is compared with one in float64 first. The
limit of a product is the longer of reading its weights from memory and of its multiplications, both as
`benchmarks.peak` measures them in the same run. Weights lie in so many places that caches do not hold them,
except for products of many rows, which read them once for a lot of work.
"""

import argparse
import json
import math
import sys
from datetime import datetime, timezone
from pathlib import Path

import msgspec
import numpy as np

from benchmarks import plots
from benchmarks.peak import best_kernels, measure
from llmcore import _core, kernels
from llmcore.tools.kernel_check import WrongResultError, activations, checked_error, weights

_COLD_BYTES = 256 << 20  # of weights in all, where they are to come from memory
_COLD_ROWS = 16
_COMPUTED_IN = {"f32": "f32", "q8_32": "int8", "bf16_x32": "bf16"}  # by the activations' layout


class Limits(msgspec.Struct, frozen=True):
    """1e9 a second, with as many threads as the kernels get."""

    read_gb_s: float
    gmac_s: dict[str, float]
    """By the type that a product is computed in."""


class Result(msgspec.Struct, frozen=True):
    """One kernel on one shape; seconds are the median of the samples."""

    kernel: str
    format: str
    m: int
    n: int
    k: int
    seconds: float
    error: float
    gb_s: float
    """Of weights."""
    gflop_s: float
    percent_of_limit: float
    intensity: float
    """Multiplications a byte of weights."""


def bench(kernel: kernels.Kernel, shape: tuple[int, int, int], limits: Limits, threads: int) -> Result:
    """Checks one kernel on (m, n, k), then times it."""
    m, n, k = shape
    weight = weights(kernel.format or "", n, k)
    x = activations(m, k)
    error = checked_error(kernel, weight, x)
    copies = math.ceil(_COLD_BYTES / weight.nbytes) if m <= _COLD_ROWS else 1
    timing = kernels.time(kernel.name, weight=weight, x=x, copies=copies, threads=threads)
    macs = m * n * k
    computed_in = _COMPUTED_IN[kernel.act_layout]
    least = max(weight.nbytes / limits.read_gb_s, macs / limits.gmac_s[computed_in]) / 1e9
    return Result(
        kernel.name, kernel.format or "", m, n, k, timing.median, error,
        gb_s=weight.nbytes / timing.median / 1e9, gflop_s=2 * macs / timing.median / 1e9,
        percent_of_limit=100 * least / timing.median, intensity=macs / weight.nbytes,
    )  # fmt: skip


def measured_limits(threads: int) -> Limits:
    """The machine's limits, now."""
    peaks = {kind: measure(kernel, threads).per_second for kind, kernel in best_kernels().items()}
    read = peaks.pop("read")
    if not peaks:
        raise SystemExit(
            "nothing here measures multiplications: LLMCORE_ISA, or this build, has no such kernel"
        )
    return Limits(read, peaks)


def plot(results: list[Result], limits: Limits, path: Path) -> None:
    """A roofline: multiplications a second over multiplications a byte."""
    figure, axes = plots.axes_of_a_figure()
    reach = np.geomspace(0.5, 2048, 100)
    for kind, peak in limits.gmac_s.items():
        axes.plot(reach, np.minimum(reach * limits.read_gb_s, peak), label=f"limit, {kind}", lw=1)
    for name in sorted({result.format for result in results}):
        points = [result for result in results if result.format == name]
        axes.plot(
            [point.intensity for point in points], [point.gflop_s / 2 for point in points], "o", label=name
        )
    axes.set(xscale="log", yscale="log", xlabel="multiplications a byte of weights", ylabel="GMAC/s")
    axes.legend(fontsize="small", ncols=2)
    plots.save(figure, path)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("-k", "--kernel", default="", help="only kernels whose name holds this")
    parser.add_argument("-m", "--rows", type=int, action="append", help="activation rows; may be repeated")
    parser.add_argument("-t", "--threads", type=int, default=_core.machine()["processors"])
    parser.add_argument("--shape", action="append", metavar="NxK", help="weights; may be repeated")
    parser.add_argument("--json", type=Path, help="write the results here")
    parser.add_argument("--plot", type=Path, help="draw a roofline here (.svg, .png)")
    arguments = parser.parse_args()
    shapes = [tuple(map(int, text.split("x"))) for text in arguments.shape or ["4096x4096", "11008x4096"]]
    limits = measured_limits(arguments.threads)
    print(f"limits: {limits.read_gb_s:.1f} GB/s read, " + ", ".join(
        f"{peak:.0f} GMAC/s {kind}" for kind, peak in limits.gmac_s.items()
    ))  # fmt: skip
    print(
        f"{'kernel':26} {'m':>4} {'n x k':>12} {'us':>9} {'GB/s':>6} {'GFLOP/s':>8} "
        f"{'of limit':>8} {'error':>8}"
    )
    results = []
    failed = False
    for kernel in kernels.list("linear"):
        if arguments.kernel not in kernel.name or (not arguments.kernel and kernel.isa == "scalar"):
            continue
        for n, k in shapes:
            for m in arguments.rows or [1, 4, 16, 512]:
                try:
                    result = bench(kernel, (m, n, k), limits, arguments.threads)
                except WrongResultError as error:
                    print(f"WRONG RESULT, not timed: {error}")
                    failed = True
                    continue
                results.append(result)
                print(
                    f"{result.kernel:26} {m:4} {f'{n} x {k}':>12} {result.seconds * 1e6:9.0f} "
                    f"{result.gb_s:6.1f} {result.gflop_s:8.1f} "
                    f"{result.percent_of_limit:7.0f}% {result.error:8.1e}"
                )
    if arguments.json:
        report = {
            "machine": _core.machine(), "date": datetime.now(timezone.utc).date().isoformat(),
            "threads": arguments.threads, "limits": msgspec.to_builtins(limits),
            "results": msgspec.to_builtins(results),
        }  # fmt: skip
        arguments.json.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
    if arguments.plot:
        plot(results, limits, arguments.plot)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
