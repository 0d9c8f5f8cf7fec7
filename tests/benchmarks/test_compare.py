"""The comparison, with programs that print what llama.cpp's do."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest

LLAMA_BENCH = """
import json, sys
arguments = dict(zip(sys.argv[1::2], sys.argv[2::2]))
assert arguments["-r"] == "1" and arguments["-o"] == "json" and arguments["-t"] == "1"
print(json.dumps([{"n_prompt": int(arguments["-p"]), "n_gen": int(arguments["-n"]), "avg_ts": 5.0}]))
"""
BATCHED_BENCH = """
import json, sys
arguments = dict(zip(sys.argv[1::2], sys.argv[2::2]))
batch, depth, n = (int(arguments[name]) for name in ("-npl", "-npp", "-ntg"))
assert int(arguments["-c"]) >= batch * (depth + n)
print("\\nloading\\n" + json.dumps({"pp": depth, "pl": batch, "speed_tg": 10.0 * batch}))
"""


def write_program(path: Path, text: str) -> None:
    path.write_text(f"#!{sys.executable}\n{text}", encoding="utf-8")
    path.chmod(0o755)


@pytest.fixture
def programs(tmp_path: Path) -> Path:
    folder = tmp_path / "bin"
    folder.mkdir()
    write_program(folder / "llama-bench", LLAMA_BENCH)
    write_program(folder / "llama-batched-bench", BATCHED_BENCH)
    return folder


def run(monkeypatch: pytest.MonkeyPatch, bandwidth: float, *arguments: object) -> int:
    from benchmarks import compare  # noqa: PLC0415 - beside the package, no part of it

    monkeypatch.setattr(compare, "read_bandwidth", lambda _: bandwidth)
    monkeypatch.setattr(sys, "argv", ["compare", *map(str, arguments)])
    return compare.main()


def test_every_test_has_its_program(
    programs: Path,
    tiny_model: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    report = tmp_path / "report.json"
    what = ["-p", 16, "-n", 3, "-b", 2, "-d", 40, "-t", 1, "-r", 1, "--no-openvino", "--json", report]
    assert run(monkeypatch, 1e6, tiny_model, "--llama-bin", programs, *what) == 0
    rows: list[dict[str, Any]] = json.loads(report.read_text())["rows"]
    names = ["prefill 16", "decode 3 at 0", "decode 3 at 128, 2 sequences", "prefill 40", "decode 3 at 40"]
    assert [row["name"] for row in rows] == names
    assert [row["samples"]["llama.cpp"] for row in rows] == [[5.0], [5.0], [20.0], [5.0], [5.0]]
    for row in rows:
        ours = row["medians"]["llmcore"]
        assert row["ratios"] == {"llama.cpp": pytest.approx(ours / row["medians"]["llama.cpp"])}
        assert (row["weight_gb_s"] is None) == row["name"].startswith("prefill")
    table = capsys.readouterr().out
    assert table.count("\n|") == 2 + len(rows)


def test_more_than_the_memory_delivers_is_void(
    programs: Path, tiny_model: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    what = ["-p", 0, "-n", 2, "-t", 1, "-r", 1, "--no-openvino"]
    assert run(monkeypatch, 1e-9, tiny_model, "--llama-bin", programs, *what) == 1
    assert "(void)" in capsys.readouterr().out


def test_programs_take_turns_and_one_that_fails_is_named(tmp_path: Path) -> None:
    from benchmarks.peers import LlamaBatchedBench, LlamaBench, Test  # noqa: PLC0415

    write_program(tmp_path / "llama-bench", "import sys; sys.exit('no such model')")
    bench = LlamaBench(tmp_path / "llama-bench", Path("model.gguf"), 1)
    with pytest.raises(RuntimeError, match="no such model"):
        bench.run(Test("decode", n_gen=1))
    batched = LlamaBatchedBench(tmp_path / "llama-bench", Path("model.gguf"), 1)
    assert not bench.supports(Test("decode", n_gen=1, batch=2))
    assert not batched.supports(Test("prefill", n_prompt=1))


def test_nothing_is_timed_without_sense(tiny_model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import numpy as np  # noqa: PLC0415

    from benchmarks import sanity  # noqa: PLC0415
    from llmcore import LLM  # noqa: PLC0415

    sanity.check(tiny_model, 1)
    right = LLM.logits
    for wrong, said in (
        (lambda llm, ids: right(llm, ids) * np.float32("nan"), "not finite"),
        (lambda llm, ids: -right(llm, ids), "not the likeliest"),
    ):
        monkeypatch.setattr(LLM, "logits", wrong)
        with pytest.raises(SystemExit, match=said):
            sanity.check(tiny_model, 1)
