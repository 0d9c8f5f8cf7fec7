"""Clients of the server: in this process over a fake engine, and over sockets."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import openai
import pytest

sys.path.insert(0, str(Path(__file__).parent))

from fake_engine import FakeEngine
from in_process_client import InProcessClient
from served_process import FAKE_SERVER, REAL_SERVER, ServedProcess

from llmcore import default_model


@pytest.fixture
def engine() -> FakeEngine:
    return FakeEngine()


@pytest.fixture
def client(engine: FakeEngine) -> InProcessClient:
    return InProcessClient(engine)


@pytest.fixture
def serve_fake() -> Iterator[Callable[..., ServedProcess]]:
    """Start servers over a fake engine, in processes of their own."""
    started: list[ServedProcess] = []

    def start(**engine: object) -> ServedProcess:
        started.append(ServedProcess(FAKE_SERVER, [f"{name}={value}" for name, value in engine.items()]))
        return started[-1]

    yield start
    for process in started:
        process.stop()


@pytest.fixture(scope="module")
def served(stories_model: Path) -> Iterator[ServedProcess]:
    """A process that serves the tiny trained model, shared by the tests of a module."""
    process = ServedProcess(REAL_SERVER, ["--port", "0", "--threads", "1", str(stories_model)])
    yield process
    process.stop()


@pytest.fixture(scope="session")
def embedded() -> Iterator[ServedProcess]:
    """A process that serves the embedded model, shared by all tests."""
    if not default_model.path().is_file():
        pytest.skip("this checkout has no embedded model")
    process = ServedProcess(
        REAL_SERVER, ["--port", "0", "--threads", "1", "--alias", "qwen-7b-chat=llmcore-default"]
    )
    yield process
    process.stop()


@pytest.fixture
def sdk(embedded: ServedProcess) -> Iterator[openai.OpenAI]:
    """OpenAI's client, pointed at the embedded model."""
    with openai.OpenAI(base_url=f"{embedded.url}/v1", api_key="any-key", max_retries=0) as client:
        yield client
