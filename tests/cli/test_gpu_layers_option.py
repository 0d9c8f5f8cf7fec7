"""`--gpu-layers` of the commands that load a model."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

FEW = ("-n", 2, "-t", 1)


@pytest.fixture
def gpu(emulated_cuda: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LLMCORE_CUDA_LIBRARY", str(emulated_cuda))


@pytest.mark.parametrize("name", ["--gpu-layers", "--n-gpu-layers", "-ngl"])
@pytest.mark.usefixtures("gpu")
def test_run_tells_what_is_where(llmcore, tiny_model, name: str) -> None:
    result = llmcore("run", tiny_model, "hello", *FEW, "-q", name, 1, "--explain")
    assert result.exit_code == 0, result.output
    where = "the last layer of 2 and the head on cuda (emulated), the embedding and the first layer on cpu"
    assert result.stderr.count(where) == 2  # at the start, and of --explain
    assert where not in result.stdout


@pytest.mark.usefixtures("gpu")
def test_bench_tells_it_in_its_json(llmcore, tiny_model) -> None:
    what = ("-p", 8, "-n", 1, "-r", 1, "-t", 1, "--json")
    result = llmcore("bench", tiny_model, *what, "--gpu-layers", 1)
    assert result.exit_code == 0, result.output
    report = json.loads(result.stdout)
    assert (report["device"], report["gpu_layers"]) == ("cpu + cuda (emulated)", 1)
    assert "the last layer of 2" in result.stderr


@pytest.mark.parametrize("value", ["3", "-2", "some"])
def test_an_error_in_a_line(llmcore, tiny_model, value: str) -> None:
    result = llmcore("run", tiny_model, "hello", *FEW, "--gpu-layers", value)
    assert result.exit_code == 1
    assert result.stderr.startswith(f"error: [engine] gpu_layers; got {value}; expected ")
    assert result.stderr.count("\n") == 1
