"""Builds the Python-free executable llmcore_tests and runs it, plain and under the sanitizers.

The CUDA backend is in it, emulated.
"""

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
    options = {
        "LLMCORE_BUILD_TESTS": "ON",
        "LLMCORE_CUDA": "OFF",
        "LLMCORE_WERROR": "ON",
        "LLMCORE_SANITIZE": SANITIZERS[sanitizer],
    }
    if shutil.which("ccache"):
        options["CMAKE_CXX_COMPILER_LAUNCHER"] = "ccache"
    definitions = [f"-D{name}={value}" for name, value in options.items()]
    run(["cmake", "-S", str(repository), "-B", str(folder), "-G", "Ninja", *definitions])
    run(["cmake", "--build", str(folder), "--target", "llmcore_tests", "llmcore_cuda_emulated"])
    return folder / "csrc" / "llmcore_tests"


@pytest.mark.parametrize("sanitizer", SANITIZERS)
def test_native(repository: Path, sanitizer: str) -> None:
    executable = build(repository, sanitizer)
    output = run([str(executable)], UBSAN_OPTIONS="halt_on_error=1:print_stacktrace=1")
    assert ", 0 failed," in output
