"""Runs the command line in this process."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from click.testing import CliRunner, Result

from llmcore.cli import main


@pytest.fixture
def llmcore() -> Callable[..., Result]:
    """`llmcore("synth", "--shape", ...)` runs a command and returns its exit code and output."""

    def run(*arguments: object) -> Result:
        return CliRunner().invoke(main, [str(argument) for argument in arguments])

    return run
