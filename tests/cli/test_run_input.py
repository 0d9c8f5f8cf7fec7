"""What `llmcore run` takes for the model and the prompt, and standard input as it may be."""

from __future__ import annotations

import subprocess
import sys

import pytest
from adapter_files import random_adapter

FEW = ("-q", "--temperature", 0, "-n", 4, "-t", 1)


def test_a_model_that_is_missing_is_no_prompt(llmcore, tmp_path) -> None:
    result = llmcore("run", tmp_path / "nothere.gguf", *FEW, stdin="prompt")
    assert result.exit_code == 1
    assert result.stdout == ""
    assert result.stderr.startswith("error: cannot read '")
    assert "nothere.gguf" in result.stderr
    assert result.stderr.count("\n") == 1


def test_a_model_file_of_any_name_is_the_model(llmcore, tiny_model, tmp_path) -> None:
    other = tmp_path / "model"
    other.symlink_to(tiny_model)
    assert llmcore("run", other, *FEW, stdin="ba").stdout == llmcore("run", tiny_model, "ba", *FEW).stdout


def test_default_is_the_embedded_model_unless_a_file_has_that_name(
    llmcore, tiny_model, tmp_path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    named = llmcore("run", "default", "hello", *FEW)
    assert named.exit_code == 0, named.output
    assert (
        named.stdout
        == llmcore("run", "hello", *FEW).stdout
        == llmcore("run", "default", *FEW, stdin="hello").stdout
    )
    (tmp_path / "default").symlink_to(tiny_model)
    assert llmcore("run", "default", "ba", *FEW).stdout == llmcore("run", tiny_model, "ba", *FEW).stdout


@pytest.mark.parametrize(("command", "arguments"), [("run", ()), ("embed", ("default",))])
def test_standard_input_that_is_closed(command: str, arguments: tuple[str, ...]) -> None:
    result = subprocess.run(
        ["sh", "-c", 'exec "$@" <&-', "sh", sys.executable, "-m", "llmcore", command, *arguments],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert result.returncode == 2
    assert "Missing argument" in result.stderr
    assert "Traceback" not in result.stderr


@pytest.mark.parametrize(("command", "arguments"), [("run", ("-q",)), ("embed", ("default",))])
def test_standard_input_that_is_not_utf8(llmcore, command: str, arguments: tuple[str, ...]) -> None:
    result = llmcore(command, *arguments, stdin=b"caf\xe9")
    assert result.exit_code == 1
    assert "standard input; got bytes that are not UTF-8 at 3" in result.stderr


def test_an_adapter_is_told_from_a_model(llmcore, tiny_model, tmp_path) -> None:
    adapter = random_adapter(tmp_path / "a.gguf", tiny_model, seed=1)
    result = llmcore("run", adapter, "ba", *FEW)
    assert result.exit_code == 1
    assert "got an adapter" in result.stderr
