"""Builds the Python-free executable llmcore_tests and runs it, plain and under the sanitizers."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

SANITIZERS = {"plain": "", "address-undefined": "address,undefined", "thread": "thread"}


def run(command: list[str], **environment: str) -> str:
    result = subprocess.run(
        command, capture_output=True, text=True, env={**os.environ, **environment}, check=False
    )
    output = result.stdout + result.stderr
    assert result.returncode == 0, f"{' '.join(command)}\n{output[-8000:]}"
    return output


def build(repository: Path, sanitizer: str) -> Path:
    folder = repository / "build" / f"native-{sanitizer}"
    launcher = ["-DCMAKE_CXX_COMPILER_LAUNCHER=ccache"] if shutil.which("ccache") else []
    run(
        ["cmake", "-S", str(repository), "-B", str(folder), "-G", "Ninja", "-DLLMCORE_BUILD_TESTS=ON"]
        + ["-DLLMCORE_CUDA=OFF", "-DLLMCORE_WERROR=ON", f"-DLLMCORE_SANITIZE={SANITIZERS[sanitizer]}", *launcher]
    )
    run(["cmake", "--build", str(folder), "--target", "llmcore_tests"])
    return folder / "csrc" / "llmcore_tests"


@pytest.mark.parametrize("sanitizer", SANITIZERS)
def test_native(repository: Path, sanitizer: str) -> None:
    executable = build(repository, sanitizer)
    output = run([str(executable)], UBSAN_OPTIONS="halt_on_error=1:print_stacktrace=1")
    assert ", 0 failed," in output
