"""The check of GPU kernels' registers finds what grew, appeared and vanished."""

from __future__ import annotations

from pathlib import Path

import cuda_registers
import pytest
from cuda_registers import Use, complaints, read_baseline, read_log, write_baseline

SPACE = "_ZN7llmcore4cuda41_GLOBAL__N__219d8d01_9_argmax_cu_65b71f9e"


def entry(kernel: str, arch: str, registers: int, stores: int = 0, loads: int = 0) -> str:
    return "\n".join(
        [
            f"ptxas info    : Compiling entry function '{kernel}' for '{arch}'",
            f"ptxas info    : Function properties for {kernel}",
            f"    {stores} bytes stack frame, {stores} bytes spill stores, {loads} bytes spill loads",
            f"ptxas info    : Used {registers} registers, used 1 barriers",
        ]
    )


LOG = "\n".join(
    [
        "[1/2] Building CUDA object",
        entry(f"{SPACE}13argmax_kernelENS0_14ArgmaxRowsArgsE", "sm_80", 48),
        entry(f"{SPACE}13argmax_kernelENS0_14ArgmaxRowsArgsE", "sm_90a", 40, 8, 4),
        entry(f"{SPACE}5otherILi3EEEvi", "sm_80", 20),
    ]
)
FOUND = {
    ("argmax: argmax_kernel", "sm_80"): Use(48, 0),
    ("argmax: argmax_kernel", "sm_90a"): Use(40, 12),
    ("argmax: other<3>", "sm_80"): Use(20, 0),
}


def test_a_log_is_read_and_a_baseline_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cuda_registers, "BASELINE", tmp_path / "baseline.tsv")
    found = read_log(LOG)
    assert found == FOUND
    write_baseline("13.0", found)
    assert read_baseline() == ("13.0", FOUND)


def test_only_what_is_worse_is_told() -> None:
    kernel = "argmax: argmax_kernel"
    fewer = {**FOUND, (kernel, "sm_80"): Use(40, 0), (kernel, "sm_90a"): Use(40, 0)}
    assert complaints(fewer, FOUND) == []
    assert complaints({**FOUND, (kernel, "sm_80"): Use(49, 0)}, FOUND) == [
        f"{kernel} for sm_80: 49; in the baseline 48"
    ]
    assert complaints({**FOUND, (kernel, "sm_90a"): Use(40, 16)}, FOUND) == [
        f"{kernel} for sm_90a: 40 spilling 16; in the baseline 40 spilling 12"
    ]
    assert complaints({**FOUND, ("new", "sm_80"): Use(9, 0)}, FOUND) == [
        "new for sm_80: 9; in the baseline missing"
    ]
    # An architecture that was not built is not missed, a kernel is.
    assert complaints({(kernel, "sm_90a"): Use(40, 12)}, FOUND) == []
    assert complaints({(kernel, "sm_80"): Use(48, 0)}, FOUND) == [
        "argmax: other<3> for sm_80: not built; in the baseline 20"
    ]


def test_the_committed_baseline_is_whole() -> None:
    _, baseline = read_baseline()
    assert {arch for _, arch in baseline} == {"sm_80", "sm_90a", "sm_120"}
    assert len({kernel for kernel, _ in baseline}) > 200
