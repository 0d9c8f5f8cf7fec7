"""The command group: discovery, errors, and help that costs nothing."""

from __future__ import annotations

import subprocess
import sys
from importlib.metadata import EntryPoint

import click
import pytest

import llmcore.cli
from llmcore import _core

OWN = ["bench", "doctor", "inspect", "run", "synth"]


def test_help_lists_the_commands(llmcore) -> None:
    result = llmcore("--help")
    assert result.exit_code == 0
    assert set(OWN) <= {line.split()[0] for line in result.stdout.splitlines() if line.startswith("  ")}


@pytest.mark.parametrize("name", OWN)
def test_every_command_explains_itself(llmcore, name: str) -> None:
    result = llmcore(name, "--help")
    assert result.exit_code == 0
    assert result.stdout.startswith("Usage: ")


def test_version(llmcore) -> None:
    assert llmcore("--version").stdout == f"llmcore {_core.__version__}\n"


def test_unknown_command(llmcore) -> None:
    result = llmcore("serv")
    assert result.exit_code == 2
    assert "No such command 'serv'" in result.stderr


def test_help_imports_neither_numpy_nor_the_core() -> None:
    script = (
        "import sys, llmcore.cli as cli\n"
        "cli._contributed_commands = dict\n"
        "cli.main(['--help'], standalone_mode=False)\n"
        "slow = {'numpy', 'gguf', 'rich', 'llmcore._core', 'llmcore_server'} & set(sys.modules)\n"
        "sys.exit(f'imported {slow}' if slow else 0)\n"
    )
    result = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr


@click.command(short_help="Say hello.")
def greet() -> None:
    click.echo("hello")


@pytest.fixture
def contributed(monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> None:
    """Two commands of other packages, one of which cannot be imported."""
    monkeypatch.setitem(sys.modules, "greeting_package", request.module)
    group = llmcore.cli.ENTRY_POINT_GROUP
    points = [
        EntryPoint("greet", "greeting_package:greet", group),
        EntryPoint("broken", "package_that_is_not_there:command", group),
    ]
    monkeypatch.setattr(llmcore.cli, "entry_points", lambda group: points if group == points[0].group else [])


@pytest.mark.usefixtures("contributed")
def test_commands_of_other_packages(llmcore) -> None:
    assert llmcore("greet").stdout == "hello\n"
    assert "Say hello." in llmcore("--help").stdout


@pytest.mark.usefixtures("contributed")
def test_a_command_that_cannot_be_imported_leaves_the_others_alone(llmcore) -> None:
    help_text = llmcore("--help").stdout
    assert "cannot be loaded" in help_text
    assert "inspect" in help_text
    result = llmcore("broken")
    assert result.exit_code == 1
    assert result.stderr.startswith("error: the command 'broken' cannot be loaded: No module named")


@pytest.mark.parametrize("command", ["inspect", "bench"])
def test_errors_are_one_line_and_no_traceback(tmp_path, llmcore, command: str) -> None:
    damaged = tmp_path / "damaged.gguf"
    damaged.write_bytes(b"GGUF" + bytes(40))
    for path in (damaged, tmp_path / "missing.gguf"):
        result = llmcore(command, path)
        assert result.exit_code == 1
        assert isinstance(result.exception, SystemExit)
        assert result.stderr.startswith("error: ")
        assert result.stderr.count("\n") == 1
        assert result.stdout == ""
