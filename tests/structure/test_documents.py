"""The documents speak of what is there: files, commands and each other."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

DOCUMENTS = ["README.md", "README.zh-CN.md", "ARCHITECTURE.md", "CONTRIBUTING.md", "server/README.md"]
PATH = re.compile(r"`((?:[\w.-]+/)*[\w.-]+(?:\.(?:py|cpp|h|md|toml)|/))`")
LINK = re.compile(r"\]\(([^)#:]+)\)")


def is_there(repository: Path, name: str) -> bool:
    """A path from the root, or the end of one path below it, as `stepper.cpp` stands for csrc/engine's."""
    if (repository / name).exists():
        return True
    roots = [repository / folder for folder in ("csrc", "python", "server", "tests", "benchmarks")]
    return any(next(root.rglob(name.rstrip("/")), None) for root in roots)


@pytest.mark.parametrize("document", DOCUMENTS)
def test_paths_and_links_exist(repository: Path, document: str) -> None:
    text = (repository / document).read_text(encoding="utf-8")
    prose = re.sub(r"```.*?```", "", text, flags=re.DOTALL)
    named = [name for name in PATH.findall(prose) if not name.startswith("linear_q4_0_plain")]
    missing = [name for name in named + LINK.findall(prose) if not is_there(repository, name)]
    assert not missing


def test_the_readmes_commands_exist(repository: Path) -> None:
    text = (repository / "README.md").read_text(encoding="utf-8")
    commands = set(
        re.findall(r"llmcore (serve|keys|pull|run|inspect|bench|synth|doctor|kernels|tune)\b", text)
    )
    helped = subprocess.run(
        [sys.executable, "-m", "llmcore", "--help"], capture_output=True, text=True, check=True
    ).stdout
    assert {"serve", "run", "inspect"} <= commands
    assert not {command for command in commands if not re.search(rf"^  {command}\b", helped, re.MULTILINE)}


@pytest.mark.parametrize("document", ["README.md", "README.zh-CN.md"])
def test_the_readmes_python_runs_on_the_embedded_model(repository: Path, document: str) -> None:
    text = (repository / document).read_text(encoding="utf-8")
    examples = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    (example,) = [code for code in examples if "with LLM() as" in code]
    ran = subprocess.run([sys.executable, "-c", example], capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stderr
    assert ran.stdout.splitlines()[-1].endswith(")")
    assert len(ran.stdout) > 40
