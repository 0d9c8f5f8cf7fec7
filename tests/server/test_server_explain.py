"""`llmcore serve --explain --mmap`: what a loaded model runs on is told once its first step is through."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import cast

import pytest

from llmcore import AsyncEngine
from llmcore_server.load_planning import LoadPlan
from llmcore_server.model_file import ModelFile
from llmcore_server.process import EngineOptions


def test_kernels_are_told_as_a_model_is_loaded(capsys: pytest.CaptureFixture[str]) -> None:
    plan = LoadPlan(ModelFile("default", None, 1, 1))
    silent = EngineOptions("cpu", 1, 64, None, 1)
    for options in (silent, replace(silent, mmap=True, explain=True)):
        engine = cast(AsyncEngine, options.build(plan))
        try:
            asyncio.run(options.warm_up(engine))
        finally:
            engine.close()
        told = capsys.readouterr().err
        assert ("weights: 6 MB in the file's own pages" in told) == options.explain
        assert ("attention" in told and "built-in" in told) == options.explain
