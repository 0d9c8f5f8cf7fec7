"""Clients of the server: in this process over a fake engine, and over sockets."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from fake_engine import FakeEngine
from in_process_client import InProcessClient
from served_process import FAKE_SERVER, REAL_SERVER, ServedProcess


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
