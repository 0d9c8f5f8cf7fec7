"""A served embedded model, and each client's own environment."""

from __future__ import annotations

import os
import shutil
import sys
import venv
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))
sys.path.insert(0, str(Path(__file__).parent.parent / "server"))

from commands import HERE, INSTALL_LIMIT, RUN_LIMIT, run
from roomy_model import write_endless_model, write_roomy_model
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
def endless_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServedProcess]:
    """The same model without an end of its turn."""
    path = write_endless_model(tmp_path_factory.mktemp("models"))
    process = ServedProcess(REAL_SERVER, ["--port", "0", str(path)])
    process.wait_until_ready()
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


@pytest.fixture(scope="session")
def run_in_node(environments: Path) -> Callable[..., str]:
    """(example, arguments…): what examples/EXAMPLE prints, with what package.json lists installed."""
    node, npm = shutil.which("node"), shutil.which("npm")
    if node is None or npm is None:
        pytest.skip("no Node")
    folder = environments / "node"
    shutil.copytree(HERE / "examples", folder, dirs_exist_ok=True)
    package = folder / "package.json"
    same = package.exists() and package.read_text() == (HERE / "package.json").read_text()
    # npm writes that file last.
    if not same or not (folder / "node_modules" / ".package-lock.json").exists():
        shutil.copy(HERE / "package.json", package)
        run([npm, "install", "--no-audit", "--no-fund"], limit=INSTALL_LIMIT, cwd=folder)

    def ran(example: str, *arguments: str, limit: float = RUN_LIMIT) -> str:
        return run([node, example, *arguments], limit=limit, cwd=folder)

    return ran


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
