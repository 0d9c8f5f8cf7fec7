"""A served embedded model, and each client's own environment."""

from __future__ import annotations

import os
import sys
import venv
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))
sys.path.insert(0, str(Path(__file__).parent.parent / "server"))

from commands import HERE, INSTALL_LIMIT, run
from roomy_model import write_roomy_model
from served_process import REAL_SERVER, ServedProcess

# The model name of the specification's examples.
MODEL = "qwen-7b-chat"


@pytest.fixture(scope="session")
def server() -> Iterator[ServedProcess]:
    aliases = [f"--alias={name}=llmcore-default" for name in (MODEL, "gpt-3.5-turbo-instruct")]
    process = ServedProcess(REAL_SERVER, ["--port", "0", *aliases])
    yield process
    process.stop()


@pytest.fixture(scope="session")
def roomy_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServedProcess]:
    """The same model with room for tools and schemas in its context."""
    path = write_roomy_model(tmp_path_factory.mktemp("models"))
    process = ServedProcess(REAL_SERVER, ["--port", "0", f"--alias={MODEL}=roomy", str(path)])
    yield process
    process.stop()


@pytest.fixture(scope="session")
def environments(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the clients are installed: LLMCORE_CLIENT_ENVIRONMENTS keeps them, or a temporary folder."""
    named = os.environ.get("LLMCORE_CLIENT_ENVIRONMENTS")
    folder = Path(named) if named else tmp_path_factory.mktemp("clients")
    folder.mkdir(parents=True, exist_ok=True)
    return folder


@pytest.fixture(scope="session")
def python_of(environments: Path) -> Callable[[str], Path]:
    """(name): the interpreter of an environment with what requirements/NAME.txt lists."""

    def made(name: str) -> Path:
        folder = environments / name
        python = folder / "bin" / "python"
        installed = folder / "installed.txt"
        if not installed.exists():
            venv.create(folder, with_pip=True, clear=True)
            requirements = HERE / "requirements" / f"{name}.txt"
            run([python, "-m", "pip", "install", "--quiet", "-r", requirements], limit=INSTALL_LIMIT)
            installed.write_text(run([python, "-m", "pip", "freeze"]))
        return python

    return made


@pytest.fixture
def run_example(
    request: pytest.FixtureRequest, python_of: Callable[[str], Path], tmp_path: Path
) -> Callable[..., str]:
    """(environment, example, server=): what examples/EXAMPLE.py prints; localhost:8000 is our server."""

    def ran(environment: str, example: str, server: str = "server") -> str:
        url = request.getfixturevalue(server).url
        source = (HERE / "examples" / f"{example}.py").read_text()
        script = tmp_path / f"{example}.py"
        script.write_text(source.replace("http://localhost:8000", url))
        return run([python_of(environment), "-W", "ignore", script])

    return ran
