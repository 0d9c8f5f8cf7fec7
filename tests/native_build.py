"""Builds what has no Python in it, a folder of build/ for each set of sanitizers."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

SANITIZERS = {"plain": "", "address-undefined": "address,undefined", "thread": "thread"}


def run(command: list[str], **environment: str) -> str:
    result = subprocess.run(
        command, capture_output=True, text=True, env={**os.environ, **environment}, check=False
    )
    output = result.stdout + result.stderr
    assert result.returncode == 0, f"{' '.join(command)}\n{output[-8000:]}"
    return output


def build(repository: Path, sanitizer: str, *targets: str) -> Path:
    """The folder that the targets' files are in."""
    return _build(repository, f"native-{sanitizer}", targets, {"LLMCORE_SANITIZE": SANITIZERS[sanitizer]})


def build_for_aarch64(repository: Path, *targets: str) -> Path:
    """The same for AArch64, hardly optimized: compiling takes longer than running."""
    options = {
        "CMAKE_TOOLCHAIN_FILE": str(repository / "cmake" / "aarch64-linux-gnu.cmake"),
        "CMAKE_CXX_FLAGS_RELEASE": "-O1",
        "LLMCORE_UNITE_KERNELS": "ON",
    }
    return _build(repository, "native-aarch64", targets, options)


def _build(repository: Path, name: str, targets: tuple[str, ...], special: dict[str, str]) -> Path:
    folder = repository / "build" / name
    options = {"LLMCORE_BUILD_TESTS": "ON", "LLMCORE_CUDA": "OFF", "LLMCORE_WERROR": "ON", **special}
    if shutil.which("ccache"):
        options["CMAKE_CXX_COMPILER_LAUNCHER"] = "ccache"
    definitions = [f"-D{name}={value}" for name, value in options.items()]
    run(["cmake", "-S", str(repository), "-B", str(folder), "-G", "Ninja", *definitions])
    run(["cmake", "--build", str(folder), "--target", *targets])
    return folder / "csrc"
