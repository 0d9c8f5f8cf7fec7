"""This machine's limits: bytes it reads from memory and products it computes, by threads.

    python -m benchmarks.peak [--json]

Each figure is the best of several samples of a kernel that does nothing else (`llmcore kernels` lists them as
peak_*), and each kernel's own count of its work is checked before its time counts.
"""

import argparse
import json
import sys

import msgspec

from llmcore import _core, kernels

_READ_BYTES = 1 << 30  # far more than caches hold
_ROWS = 256
_REPEATS = 5


class Peak(msgspec.Struct, frozen=True):
    """The best of a kernel's samples: 1e9 bytes, or 1e9 multiplications with their additions, a second."""

    kernel: str
    threads: int
    per_second: float

    @property
    def unit(self) -> str:
        return "GB/s" if "read" in self.kernel else "GMAC/s"


def measure(kernel: str, threads: int, size: int | None = None) -> Peak:
    """Runs one peak kernel; RuntimeError if it does not do the work it is paid for."""
    reads = "read" in kernel
    if size is None:
        size = _READ_BYTES if reads else _ROWS * threads
    timing = kernels.time(kernel, size=size, threads=threads, repeats=_REPEATS, least_seconds=0.1)
    counts = kernels.run(kernel, size=1 << 16 if reads else 8)
    if counts.min() != counts.max() or counts[0] < 1:
        raise RuntimeError(f"{kernel} counts {counts.min()} to {counts.max()} for equal rows")
    work = size if reads else float(counts[0]) * size
    return Peak(kernel, threads, work / timing.best / 1e9)


def best_kernels() -> dict[str, str]:
    """By kind of work (read, f32, int8, bf16), the kernel of the highest instruction set that may be used."""
    machine = _core.machine()
    allowed = machine["isas"][: machine["isas"].index(machine["isa_ceiling"]) + 1]
    usable = [kernel for kernel in kernels.list("peak") if kernel.isa in allowed]
    chosen: dict[str, str] = {}
    for kernel in sorted(usable, key=lambda kernel: allowed.index(kernel.isa)):
        chosen[kernel.name.split("_")[1]] = kernel.name
    return chosen


def read_bandwidth(threads: int) -> float:
    """GB/s (1e9 bytes) that `threads` read from memory: the ceiling of decoding, where every weight is read
    once a token. Take the best of several, made between the runs they judge."""
    return measure(best_kernels()["read"], threads).per_second


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--json", action="store_true", help="one JSON object on standard output")
    parser.add_argument("-t", "--threads", type=int, action="append", help="may be repeated")
    arguments = parser.parse_args()
    machine = _core.machine()
    threads = arguments.threads or sorted({1, machine["processors"]})
    peaks = [measure(kernel, count) for kernel in best_kernels().values() for count in threads]
    if arguments.json:
        results = [{**msgspec.to_builtins(peak), "unit": peak.unit} for peak in peaks]
        print(json.dumps({"machine": machine, "peaks": results}))
        return 0
    print(f"{machine['cpu']}, {machine['isa_ceiling']}")
    for peak in peaks:
        print(f"{peak.kernel:20} {peak.threads:3} threads {peak.per_second:10.1f} {peak.unit}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
