"""The embedded model and a text for it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from llmcore import LLM, default_model


@pytest.fixture(scope="session")
def text(repository: Path) -> str:
    """Prose of a few thousand characters."""
    return (repository / "CONTRIBUTING.md").read_text(encoding="utf-8")


@pytest.fixture(scope="session")
def llm() -> Iterator[LLM]:
    with LLM(default_model.path(), n_ctx=64, max_batch=1, threads=1) as loaded:
        yield loaded
