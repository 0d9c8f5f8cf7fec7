"""`llmcore tune`, its table, and what a model's loading makes of one: also of damaged ones."""

from __future__ import annotations

import json
import logging
import re
from pathlib import Path
from typing import Any

import msgspec
import pytest
from click.testing import CliRunner

from llmcore import LLM, SamplingParams, _core, kernels, tuning
from llmcore.cli import main
from llmcore.errors import InvalidArgumentError
from llmcore.tools import tune
from llmcore.tools.shapes import Shape
from llmcore.tools.synthesize import synthesize

EFFORT = tune.Effort(rows=(1, 3), repeats=2, least_seconds=0.0005, cold_bytes=1)
SLOW = "linear_q8_0_scalar"


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("model") / "tiny.gguf"
    synthesize(path, Shape("llama", 64, 1, 4, 2, 16, 128, 320, 4096), "Q8_0")
    return path


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.delenv("LLMCORE_TUNE", raising=False)


def table_of(**changes: Any) -> dict[str, Any]:
    choice = {"kernel": SLOW, "m": 1, "n": 64, "k": 64, "seconds": 1e-6, "built_in_seconds": 2e-6}
    choice |= changes.pop("choice", {})
    return {"key": tuning.machine_key(), "cpu": "x", "threads": 2, "choices": [choice], **changes}


def write(content: Any, path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content if isinstance(content, str) else json.dumps(content), encoding="utf-8")
    return path


def linear_uses(model: Path) -> dict[str, set[str]]:
    """Of steps of one row: reasons, with their kernels."""
    with LLM(model, threads=1, n_ctx=32, max_batch=1) as llm:
        llm.generate([[5]], SamplingParams(max_tokens=2, temperature=0.0, ignore_eos=True))
        found: dict[str, set[str]] = {}
        for use in llm.kernel_uses():
            if use.op == "linear" and use.rows[0] == 1:
                found.setdefault(use.reason, set()).add(use.kernel)
        return found


def test_the_fastest_kernel_is_found() -> None:
    lines: list[str] = []
    found = tune.measure(
        [tune.Matrix("Q8_0", 512, 256)], EFFORT, threads=1, portable=True, report=lines.append
    )
    names = {kernel.name for kernel in tune.candidates("Q8_0", portable=True)}
    if len(names) < 2:
        pytest.skip("this machine has one kernel for the format")
    assert [(choice.m, choice.n, choice.k) for choice in found.choices] == [(1, 512, 256), (3, 512, 256)]
    for choice in found.choices:
        assert choice.kernel in names - {SLOW}  # twenty times slower than any other
        assert 0 < choice.seconds <= choice.built_in_seconds
    assert len(lines) == 2


def test_without_a_choice_nothing_is_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LLMCORE_ISA", "scalar")
    monkeypatch.setattr(kernels, "compare", lambda *_, **__: pytest.fail("measured"))
    lines: list[str] = []
    found = tune.measure([tune.Matrix("Q8_0", 64, 64)], EFFORT, threads=1, report=lines.append)
    assert found.choices == []
    assert lines == ["Q8_0 64 x 64: one kernel, nothing to choose"]


def test_a_wrong_kernel_is_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    right = kernels.run
    fast = [kernel.name for kernel in tune.candidates("Q8_0", portable=False)]
    monkeypatch.setattr(
        kernels, "run", lambda name, **given: right(name, **given) * (1.01 if name in fast else 1)
    )
    lines: list[str] = []
    found = tune.measure([tune.Matrix("Q8_0", 64, 64)], EFFORT, threads=1, portable=True, report=lines.append)
    assert found.choices == []
    if SLOW not in fast:
        assert "WRONG RESULT" in lines[0]


def test_equal_kernels_leave_the_built_in_choice(monkeypatch: pytest.MonkeyPatch) -> None:
    if len(tune.candidates("Q8_0", portable=True)) < 2:
        pytest.skip("this machine has one kernel for the format")
    times = {SLOW: 0.98}
    monkeypatch.setattr(
        kernels,
        "compare",
        lambda names, **_: {name: kernels.Timing((times.get(name, 1.0),)) for name in names},
    )
    matrix = [tune.Matrix("Q8_0", 64, 64)]
    (choice, _) = tune.measure(matrix, EFFORT, threads=1, portable=True, report=lambda _: None).choices
    assert choice.kernel == _core.linear_kernel("Q8_0", 1, 64, 64) != SLOW
    times[SLOW] = 0.9
    (choice, _) = tune.measure(matrix, EFFORT, threads=1, portable=True, report=lambda _: None).choices
    assert choice.kernel == SLOW


def test_the_command_writes_what_models_load(model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tune, "QUICK", EFFORT)
    result = CliRunner().invoke(main, ["tune", "--quick", "--model", str(model), "--portable", "-t", "1"])
    assert result.exit_code == 0, result.output
    path = tuning.cache_path()
    assert str(path) in result.stdout
    table = msgspec.json.decode(path.read_bytes(), type=tuning.Table)
    assert table.key == tuning.machine_key()
    assert [entry.name for entry in path.parent.iterdir()] == [path.name]  # nothing left behind
    loaded = tuning.load()
    assert len(loaded.choices) == len(table.choices)
    if table.choices:
        assert set(linear_uses(model)) == {"tuned"}
    monkeypatch.setenv("LLMCORE_TUNE", "off")
    assert tuning.load().choices == ()
    assert set(linear_uses(model)) == {"built-in"}


def test_matrices_of_a_model(model: Path) -> None:
    found = {(matrix.n, matrix.k) for matrix in tune.matrices_of(model)}
    assert found == {(64, 64), (32, 64), (128, 64), (64, 128), (320, 64)}
    with pytest.raises(InvalidArgumentError, match="Q9_9"):
        tune.usual_matrices(["Q9_9"])


def test_a_table_decides_and_does_not_change_the_result(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    small, head = table_of()["choices"][0], table_of(choice={"n": 320})["choices"][0]
    table = write(table_of(choices=[small, head]), tmp_path / "own.json")
    monkeypatch.setenv("LLMCORE_TUNE", str(table))
    assert linear_uses(model) == {"tuned": {SLOW}}
    with LLM(model, threads=1, n_ctx=32) as llm:
        tuned, fingerprint = llm.logits([1, 2, 3]), llm.model_info.system_fingerprint
        assert "own.json" in llm.explain()
    monkeypatch.setenv("LLMCORE_TUNE", "off")
    monkeypatch.setenv("LLMCORE_KERNEL", SLOW)
    with LLM(model, threads=1, n_ctx=32) as llm:
        assert (llm.logits([1, 2, 3]) == tuned).all()
        assert llm.model_info.system_fingerprint != fingerprint


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("", "truncated"),
        ("[1, 2", "malformed|truncated|expected"),
        ("null", "object"),
        (table_of(key="0" * 16), "another processor"),
        (table_of(choice={"kernel": "linear_q8_0_abacus"}), "linear_q8_0_abacus"),
        (table_of(choice={"kernel": "norm_rms_scalar"}), "norm_rms_scalar"),
        (table_of(choice={"kernel": "\n\x1b[31m" * 50}), "no linear one"),
        (table_of(choice={"kernel": 7}), "str"),
        (table_of(choice={"m": 0}), ">= 1"),
        (table_of(choice={"n": 1.5}), "int"),
        (table_of(choice={"k": 1 << 40}), "<"),
        (table_of(choice={"seconds": -1}), "> 0"),
        (table_of(choice={"extra": 1}), "extra"),
        (table_of(choices={}), "array"),
        ("[" * 100_000, "."),
        (" " * (5 << 20), "larger than"),
    ],
)  # fmt: skip
def test_a_damaged_table_is_passed_over_with_one_line(  # noqa: PLR0917 - pytest passes them by name
    content: Any,
    said: str,
    model: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setenv("LLMCORE_TUNE", str(write(content, tmp_path / "bad.json")))
    with caplog.at_level(logging.WARNING):
        assert set(linear_uses(model)) == {"built-in"}
    (record,) = caplog.records
    message = record.getMessage()
    assert "bad.json" in message
    assert message.isprintable()
    assert len(message) < 600
    assert re.search(said, message, re.IGNORECASE)


@pytest.mark.parametrize("kind", ["missing", "folder"])
def test_a_table_that_cannot_be_read(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("LLMCORE_TUNE", str(tmp_path if kind == "folder" else tmp_path / "nothing.json"))
    assert tuning.load().choices == ()
    assert len(caplog.records) == 1


def test_no_table_is_no_reason_to_warn(caplog: pytest.LogCaptureFixture) -> None:
    assert tuning.load().choices == ()
    assert caplog.records == []


def test_the_core_checks_for_itself(model: Path) -> None:
    for wrong in (("linear_q8_0_abacus", 1, 1, 1), ("norm_rms_scalar", 1, 1, 1), (SLOW, 0, 1, 1)):
        with pytest.raises(InvalidArgumentError, match="tuned"):
            _core.Engine(model, tuned=[wrong])
