"""Weights in the file's pages (`mmap=True`), or copied: memory, equal results, and files that change."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from llmcore import LLM
from llmcore.tools.shapes import Shape
from llmcore.tools.synthesize import synthesize

CHILD = """
import json, sys
from llmcore import LLM, SamplingParams

def memory():
    lines = open("/proc/self/smaps_rollup").read().splitlines()[1:]
    return {line.split(":")[0]: int(line.split()[1]) << 10 for line in lines}

LLM(sys.argv[3], threads=1, n_ctx=64, max_batch=1).close()  # what everything but weights takes
before = memory()
with LLM(sys.argv[1], threads=2, n_ctx=64, max_batch=1, mmap=sys.argv[2] == "mmap") as llm:
    one = SamplingParams(max_tokens=2, temperature=0.0, ignore_eos=True)
    tokens = list(llm.generate([[5, 6, 7]], one)[0].token_ids)
    print(json.dumps("ready"), flush=True)
    sys.stdin.readline()
    after = memory()
    grown = {name: after[name] - before[name] for name in ("Rss", "Pss", "Anonymous")}
    print(json.dumps({"grown": grown, "tokens": tokens}), flush=True)
    sys.stdin.readline()
    try:
        llm.generate([[5, 6, 7]], one)
        print(json.dumps("no error"), flush=True)
    except Exception as error:
        print(json.dumps([type(error).__name__, str(error)]), flush=True)
"""


class Child:
    """A process with a model, that goes on when it is told."""

    def __init__(self, model: Path, way: str, tiny: Path) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-c", CHILD, model, way, tiny],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self._read() == "ready"

    def _read(self) -> Any:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        assert line, f"the process ended with {self._process.wait()}"
        return json.loads(line)

    def go_on(self) -> Any:
        assert self._process.stdin is not None
        self._process.stdin.write("\n")
        self._process.stdin.flush()
        return self._read()

    def end(self) -> None:
        self._process.kill()
        self._process.communicate()


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("tiny") / "tiny.gguf"
    synthesize(path, Shape("llama", 64, 1, 4, 2, 16, 128, 320, 4096), "Q8_0")
    return path


@pytest.fixture(scope="module")
def large(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """About 200 MB, nearly all of it matrices."""
    path = tmp_path_factory.mktemp("large") / "large.gguf"
    synthesize(path, Shape("llama", 2048, 4, 32, 4, 64, 5632, 8192, 4096), "Q8_0")
    assert 180e6 < path.stat().st_size < 260e6
    yield path
    path.unlink()


def test_memory_holds_the_weights_once(large: Path, tiny: Path) -> None:
    size = large.stat().st_size
    copied = Child(large, "copy", tiny)
    result = copied.go_on()
    copied.end()
    grown = result["grown"]
    assert 0.9 * size < grown["Anonymous"] < 1.3 * size
    assert grown["Rss"] < 1.3 * size  # not the file's pages too

    mapped = [Child(large, "mmap", tiny) for _ in range(2)]
    try:
        for found in [child.go_on() for child in mapped]:
            grown = found["grown"]
            assert found["tokens"] == result["tokens"]
            assert 0.9 * size < grown["Rss"] < 1.3 * size
            assert grown["Anonymous"] < 0.3 * size
            assert grown["Pss"] < 0.5 * size + grown["Anonymous"] + 0.1 * size  # shared by two
    finally:
        for child in mapped:
            child.end()


def test_a_file_that_is_shortened_ends_requests_not_the_process(tiny: Path, tmp_path: Path) -> None:
    own = tmp_path / "own.gguf"
    own.write_bytes(tiny.read_bytes())
    child = Child(own, "mmap", tiny)
    try:
        child.go_on()
        with own.open("r+b") as file:
            file.truncate(own.stat().st_size // 2)
        name, message = child.go_on()
    finally:
        child.end()
    assert name == "GGUFError"
    assert "shortened" in message
    assert "own.gguf" in message


def test_a_copied_model_needs_its_file_no_more(tiny: Path, tmp_path: Path) -> None:
    own = tmp_path / "own.gguf"
    own.write_bytes(tiny.read_bytes())
    child = Child(own, "copy", tiny)
    try:
        child.go_on()
        own.write_bytes(b"")
        assert child.go_on() == "no error"
    finally:
        child.end()


@pytest.mark.parametrize("quantization", [None, "q4_0"])
def test_the_bits_are_the_same(tiny: Path, quantization: str | None) -> None:
    logits = []
    for mmap in (False, True):
        with LLM(tiny, threads=2, n_ctx=64, quantization=quantization, mmap=mmap) as llm:
            logits.append(llm.logits(list(range(3, 40))))
            assert ("the file's own pages" in llm.explain()) == mmap
    assert (logits[0] == logits[1]).all()
