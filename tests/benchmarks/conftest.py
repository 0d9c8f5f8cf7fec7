"""The benchmarks lie beside the package: a checkout runs them."""

from __future__ import annotations

from pathlib import Path

import pytest

from llmcore.tools.shapes import Shape
from llmcore.tools.synthesize import synthesize


@pytest.fixture(autouse=True)
def importable(repository: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(repository))
    monkeypatch.setenv("PYTHONPATH", str(repository))  # for processes of their own


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("model") / "tiny.gguf"
    synthesize(path, Shape("llama", 64, 1, 4, 2, 16, 128, 320, 4096), "Q8_0")
    return path
