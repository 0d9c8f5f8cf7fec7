"""Measures which linear kernel is the fastest on this machine, by format, matrix and number of rows."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from llmcore import _core, kernels
from llmcore.errors import InvalidArgumentError
from llmcore.tools.kernel_check import WrongResultError, activations, checked_error, weights
from llmcore.tuning import Choice, Table, machine_key

_HOPELESS = 3.0  # times the fastest's first sample: not measured any further
_EQUAL = 0.97  # of the built-in kernel's time: what is not faster than that is noise
_COLD_ROWS = 16  # up to so many, the weights are to come from memory


@dataclass(frozen=True)
class Matrix:
    """Weights of a linear layer: n rows of k."""

    format: str
    n: int
    k: int


@dataclass(frozen=True)
class Effort:
    """How long to measure: the numbers of activation rows, samples, seconds a sample, and bytes of weights
    in all, where caches are not to hold them."""

    rows: tuple[int, ...]
    repeats: int
    least_seconds: float
    cold_bytes: int


FULL = Effort((1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 64, 128, 512), 5, 0.05, 256 << 20)
QUICK = Effort((1, 4, 16, 64), 3, 0.02, 64 << 20)
_SHAPES = ((1024, 1024), (4096, 4096), (14336, 4096), (4096, 14336))


def usual_matrices(formats: Iterable[str] = ()) -> list[Matrix]:
    """Matrices of the sizes that models have, of the named formats or of all that have kernels.

    Raises InvalidArgumentError for a format without kernels.
    """
    known = sorted({kernel.format for kernel in kernels.list("linear") if kernel.format})
    wanted = list(formats) or known
    for name in wanted:
        if name not in known:
            raise InvalidArgumentError(
                f"[tune] format without kernels; got {name}; expected {', '.join(known)}"
            )
    return [Matrix(name, n, k) for name in wanted for n, k in _SHAPES]


def matrices_of(model: Path) -> list[Matrix]:
    """Every kind of matrix that a model multiplies with. Raises GGUFError or ModelError."""
    tensors = _core.GGUFFile(model).tensors
    has_head = any(tensor.name == "output.weight" for tensor in tensors)
    found = set()
    for tensor in tensors:
        if len(tensor.shape) < 2 or (tensor.name == "token_embd.weight" and has_head):
            continue
        # The third dimension is the experts'.
        found.add(Matrix(tensor.type, int(tensor.shape[1]), int(tensor.shape[0])))
    return sorted(found, key=lambda matrix: (matrix.format, matrix.n * matrix.k, matrix.n))


def candidates(format_name: str, portable: bool) -> list[kernels.Kernel]:
    """The kernels of a format that may run here; portable ones only where there is no other, or if asked."""
    machine = _core.machine()
    allowed = machine["isas"][: machine["isas"].index(machine["isa_ceiling"]) + 1]
    usable = [kernel for kernel in kernels.list("linear", format_name) if kernel.isa in allowed]
    quick = [kernel for kernel in usable if kernel.isa != "scalar"]
    return usable if portable or not quick else quick


def measure(
    matrices: Iterable[Matrix],
    effort: Effort,
    *,
    threads: int,
    portable: bool = False,
    report: Callable[[str], None],
) -> Table:
    """The fastest kernel for each matrix and number of rows, where there is a choice.

    Kernels take turns on the same operands, medians count, and a kernel whose product is wrong is left out
    and reported. The built-in choice stays unless another is 3 % faster. `report` gets lines of progress.
    """
    choices: list[Choice] = []
    for matrix in matrices:
        found = candidates(matrix.format, portable)
        if len(found) < 2:
            report(f"{_name(matrix)}: one kernel, nothing to choose")
            continue
        for choice in _choices(matrix, found, effort, threads, report):
            choices.append(choice)
            report(
                f"{_name(matrix)}, {choice.m} rows: {choice.kernel}, "
                f"{choice.built_in_seconds / choice.seconds:.2f} times as fast as the built-in choice"
            )
    return Table(machine_key(), str(_core.machine()["cpu"]), threads, choices)


def _name(matrix: Matrix) -> str:
    return f"{matrix.format} {matrix.n} x {matrix.k}"


def _choices(
    matrix: Matrix,
    found: list[kernels.Kernel],
    effort: Effort,
    threads: int,
    report: Callable[[str], None],
) -> Iterator[Choice]:
    weight = weights(matrix.format, matrix.n, matrix.k)
    for m in effort.rows:
        x = activations(m, matrix.k)
        right = []
        for kernel in found:
            try:
                checked_error(kernel, weight, x)
            except InvalidArgumentError:
                continue  # not for this shape
            except WrongResultError as error:
                report(f"WRONG RESULT, left out: {error}")
                continue
            right.append(kernel.name)
        built_in = _core.linear_kernel(matrix.format, m, matrix.n, matrix.k)
        if len(right) < 2 or built_in not in right:
            continue
        copies = math.ceil(effort.cold_bytes / weight.nbytes) if m <= _COLD_ROWS else 1
        yield _fastest(
            right, built_in, (m, matrix), {"weight": weight, "x": x, "copies": copies}, effort, threads
        )


def _fastest(  # noqa: PLR0917 - called once
    names: list[str],
    built_in: str,
    product: tuple[int, Matrix],
    operands: dict[str, object],
    effort: Effort,
    threads: int,
) -> Choice:
    m, matrix = product
    first = kernels.compare(names, threads=threads, repeats=1, least_seconds=0.0, **operands)
    least = min(timing.best for timing in first.values())
    kept = [name for name in names if name == built_in or first[name].best <= _HOPELESS * least]
    timings = kernels.compare(
        kept, threads=threads, repeats=effort.repeats, least_seconds=effort.least_seconds, **operands
    )
    best = min(kept, key=lambda name: timings[name].median)
    if timings[best].median > _EQUAL * timings[built_in].median:
        best = built_in
    return Choice(best, m, matrix.n, matrix.k, timings[best].median, timings[built_in].median)
