"""`llmcore serve --gpu-layers`: a model's layers on both sides, told as it is loaded. The GPU is emulated."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from pathlib import Path
from typing import cast

import pytest

from llmcore import AsyncEngine
from llmcore.tools.shapes import Shape
from llmcore.tools.synthesize import synthesize
from llmcore_server.load_planning import LoadPlan
from llmcore_server.model_file import ModelFile
from llmcore_server.process import EngineOptions

SPLIT = "the last layer of 3 and the head on cuda (emulated), the embedding and the first 2 layers on cpu"


@pytest.fixture
def plan(tmp_path: Path) -> LoadPlan:
    path = tmp_path / "tiny.gguf"
    synthesize(path, Shape("llama", 64, 3, 4, 2, 16, 96, 320, 256), "F32")
    return LoadPlan(ModelFile("tiny", path, path.stat().st_size, 1))


def told_while_building(
    options: EngineOptions, plan: LoadPlan, capsys: pytest.CaptureFixture[str]
) -> tuple[str, int]:
    engine = cast(AsyncEngine, options.build(plan))
    try:
        asyncio.run(options.warm_up(engine))
        layers = engine.model_info.gpu_layers
    finally:
        engine.close()
    return capsys.readouterr().err, layers


def test_layers_are_placed_and_told(
    plan: LoadPlan, emulated_cuda: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("LLMCORE_CUDA_LIBRARY", str(emulated_cuda))
    options = EngineOptions("auto", 1, 64, None, 1, gpu_layers="1")
    told, layers = told_while_building(options, plan, capsys)
    assert told.splitlines()[0] == SPLIT
    assert layers == 1
    # A request that keeps its model off the GPU may.
    told, layers = told_while_building(options, replace(plan, prefer_gpu=False), capsys)
    assert told.splitlines()[0] == "all 3 layers on cpu"
    assert layers == 0
