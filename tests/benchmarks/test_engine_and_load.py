"""The benches of the engine, of loading and of the kernel sets: what they report fits together."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from llmcore import _core
from llmcore.tools.weight_bytes import decode_weight_bytes


def test_engine_sweep(
    tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from benchmarks import engine  # noqa: PLC0415 - beside the package, no part of it

    out, table = tmp_path / "report.json", tmp_path / "table.md"
    what = [
        "-p",
        "16",
        "-n",
        "3",
        "-b",
        "1",
        "-b",
        "3",
        "-r",
        "2",
        "-t",
        "1",
        "--json",
        out,
        "--markdown",
        table,
    ]
    monkeypatch.setattr(engine, "read_bandwidth", lambda _: 1e6)
    monkeypatch.setattr(sys, "argv", ["engine", *map(str, [tiny_model, *what])])
    assert engine.main() == 0
    report = json.loads(out.read_text())
    assert [(result["test"], result["batch"]) for result in report["results"]] == [
        ("prefill", 1), ("decode", 1), ("decode", 3),
    ]  # fmt: skip
    assert len(report["bandwidth_samples"]) == 6  # one before every sample
    for result in report["results"]:
        assert result["tps"] > 0
        if result["test"] == "decode":
            steps = result["tps"] / result["batch"]
            assert result["weight_gb_s"] == pytest.approx(decode_weight_bytes(tiny_model) * steps / 1e9)
            assert result["percent_of_bandwidth"] == pytest.approx(result["weight_gb_s"] / 1e4)
    assert table.read_text() == capsys.readouterr().out


def test_loading(tiny_model: Path) -> None:
    from benchmarks import load  # noqa: PLC0415

    results = load.measure(tiny_model, threads=1, repetitions=1)
    assert set(results) == {"cold", "warm"}
    for ways in results.values():
        assert set(ways) == {"read", "copied", "mapped"}
        assert ways["read"]["of_reading"] == 1
        for found in ways.values():
            assert found["ready"] > 0
            assert found["of_reading"] == pytest.approx(found["ready"] / ways["read"]["ready"])
    assert "| warm | mapped |" in load.markdown(tiny_model, results)


def test_perplexity_under_every_kernel_set() -> None:
    """Within 0.5 % of the reference kernels'."""
    from benchmarks import kernel_paths  # noqa: PLC0415
    from llmcore import default_model  # noqa: PLC0415

    sets = kernel_paths.usable_sets()
    assert sets[0] == "scalar"
    assert _core.machine()["isa"] in sets or _core.machine()["isa"] == "amx"
    rows = kernel_paths.measure(default_model.path(), "as shipped", sets, 6)
    for row, isa in zip(rows, sets, strict=True):
        assert row.n_tokens > 200
        assert all(name.startswith("linear_q8_0") for name in row.kernels)
        assert any(name.endswith(f"_{isa}") for name in row.kernels) or isa == "amx"
        assert row.is_near, kernel_paths.markdown(rows)
    assert rows[0].ratio == 1
    assert not kernel_paths.PathResult("", "", [], 1, 1.0, 1.006).is_near
