"""Fixtures that all tests share."""

from __future__ import annotations

import importlib.util
import os
from pathlib import Path
from types import ModuleType

import pytest
from native_build import build

REPOSITORY = Path(__file__).resolve().parent.parent


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """What is compiled beside the tests (.ci/run) is asked for last."""
    items.sort(key=lambda item: REPOSITORY / "tests" / "native" in item.path.parents)


@pytest.fixture(scope="session")
def repository() -> Path:
    """The root of the checkout."""
    return REPOSITORY


@pytest.fixture(scope="session")
def test_data() -> Path:
    """Real vocabularies and a real tiny model: LLMCORE_TEST_DATA, or ../shared beside the checkout.

    Tests that need them are skipped where there are none, but a variable that names nothing is an error.
    """
    named = os.environ.get("LLMCORE_TEST_DATA")
    folder = Path(named) if named else REPOSITORY.parent / "shared"
    if not folder.is_dir():
        if named:
            pytest.fail(f"LLMCORE_TEST_DATA names no folder: {named}")
        pytest.skip("no test data; set LLMCORE_TEST_DATA")
    return folder


@pytest.fixture(scope="session")
def stories_model(test_data: Path) -> Path:
    """A really trained model of 260,000 parameters, Llama architecture, float32."""
    return test_data / "models" / "stories260K.gguf"


@pytest.fixture(scope="session")
def emulated_cuda(repository: Path) -> Path:
    """The CUDA backend's library as it runs on the CPU."""
    return build(repository, "plain", "llmcore_cuda_emulated") / "libllmcore_cuda_emulated.so"


@pytest.fixture(scope="session")
def reference_decoder() -> ModuleType:
    """The NumPy oracle, tests/reference/decoder.py."""
    path = REPOSITORY / "tests" / "reference" / "decoder.py"
    spec = importlib.util.spec_from_file_location("reference_decoder", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
