"""The kernel bench prints times of right results alone."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from llmcore import kernels


@pytest.fixture
def usable(repository: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.syspath_prepend(str(repository))
    names = {kernel.name for kernel in kernels.list()}
    for isa in ("avx2", "dotprod"):
        if {f"peak_int8_{isa}", f"linear_q4_0_{isa}"} <= names:
            return f"linear_q4_0_{isa}"
    pytest.skip("this machine has no kernel that measures its multiplications")


def test_it_reports_every_kernel_asked_for(usable: str, repository: Path, tmp_path: Path) -> None:
    report = tmp_path / "report.json"
    command = [sys.executable, "-m", "benchmarks.kernels", "-k", usable, "-m", "1", "-m", "20", "-t", "1"]
    subprocess.run([*command, "--shape", "64x256", "--json", report], cwd=repository, check=True)
    results = json.loads(report.read_text())["results"]
    assert [result["m"] for result in results] == [1, 20]
    for result in results:
        assert result["kernel"] == usable
        assert 0 < result["error"] < 6e-3
        assert result["gflop_s"] == pytest.approx(2 * result["m"] * 64 * 256 / result["seconds"] / 1e9)
        assert result["percent_of_limit"] > 0


def test_a_wrong_result_is_not_timed(usable: str, monkeypatch: pytest.MonkeyPatch) -> None:
    from benchmarks import kernels as bench  # noqa: PLC0415 - beside the package, no part of it

    right = kernels.run
    kernel = next(kernel for kernel in kernels.list("linear") if kernel.name == usable)
    limits = bench.Limits(10.0, {"int8": 100.0, "f32": 50.0})
    monkeypatch.setattr(kernels, "run", lambda name, **given: 1.01 * right(name, **given))
    monkeypatch.setattr(kernels, "time", lambda *_, **__: pytest.fail("timed"))
    with pytest.raises(bench.WrongResultError, match=usable):
        bench.bench(kernel, (2, 64, 256), limits, 1)
