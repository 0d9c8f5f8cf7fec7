"""Runs the command line in this process, and a tiny model to run it on."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from llmcore.cli import main
from llmcore.tools.shapes import Shape
from llmcore.tools.synthesize import synthesize


@pytest.fixture
def llmcore() -> Callable[..., Result]:
    """`llmcore("synth", "--shape", ...)` runs a command and returns its exit code and output."""

    def run(*arguments: object, stdin: str | bytes | None = None) -> Result:
        return CliRunner().invoke(main, [str(argument) for argument in arguments], input=stdin)

    return run


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A two-layer model with random weights and no chat template."""
    path = tmp_path_factory.mktemp("model") / "tiny.gguf"
    synthesize(path, Shape("llama", 256, 2, 8, 4, 32, 512, 512, 65536), "Q4_K_M")
    return path
