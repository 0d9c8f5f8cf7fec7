"""Folders as published models have them, made here: tiny, with random weights."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from model_folders import ModelFolder, tiny_model


@pytest.fixture
def make_folder(tmp_path: Path) -> Callable[..., ModelFolder]:
    """`make_folder("llama")` writes a folder of that model_type; keywords replace numbers of its config."""

    def make(model_type: str, **config: object) -> ModelFolder:
        folder = tiny_model(model_type, **config)
        folder.write(tmp_path / model_type)
        return folder

    return make
