"""Builds what has no Python in it, a folder of build/ for each set of sanitizers.

As a program, all that the tests will ask for: to be run beside them, so that they find it done.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import subprocess
from pathlib import Path

from llmcore import _core

SANITIZERS = {"plain": "", "address-undefined": "address,undefined", "thread": "thread"}


def run(command: list[str], **environment: str) -> str:
    result = subprocess.run(
        command, capture_output=True, text=True, env={**os.environ, **environment}, check=False
    )
    output = result.stdout + result.stderr
    assert result.returncode == 0, f"{' '.join(command)}\n{output[-8000:]}"
    return output


def build(repository: Path, sanitizer: str, *targets: str) -> Path:
    """The folder that the targets' files are in.

    Under sanitizers kernels take long to compile: those that cannot run here are left out.
    """
    isas = _core.machine()["isas"] if SANITIZERS[sanitizer] else []
    options = {"LLMCORE_SANITIZE": SANITIZERS[sanitizer], "LLMCORE_KERNEL_ISAS": ";".join(isas)}
    if SANITIZERS[sanitizer]:
        options["CMAKE_DISABLE_PRECOMPILE_HEADERS"] = "ON"  # shows that each file includes what it needs
    return _build(repository, f"native-{sanitizer}", targets, options)


def can_build_for_aarch64() -> bool:
    return all(shutil.which(program) for program in ("aarch64-linux-gnu-g++", "qemu-aarch64"))


def build_for_aarch64(repository: Path, *targets: str) -> Path:
    """The same for AArch64, hardly optimized: compiling takes longer than running."""
    options = {
        "CMAKE_TOOLCHAIN_FILE": str(repository / "cmake" / "aarch64-linux-gnu.cmake"),
        "CMAKE_CXX_FLAGS_RELEASE": "-O1",
        "LLMCORE_UNITE_KERNELS": "ON",
        "CMAKE_DISABLE_PRECOMPILE_HEADERS": "ON",
    }
    return _build(repository, "native-aarch64", targets, options)


def _build(repository: Path, name: str, targets: tuple[str, ...], special: dict[str, str]) -> Path:
    folder = repository / "build" / name
    options = {"LLMCORE_BUILD_TESTS": "ON", "LLMCORE_CUDA": "OFF", "LLMCORE_WERROR": "ON", **special}
    if shutil.which("ccache"):
        options["CMAKE_CXX_COMPILER_LAUNCHER"] = "ccache"
    if ninja := shutil.which("ninja"):
        options["CMAKE_MAKE_PROGRAM"] = ninja
    definitions = [f"-D{name}={value}" for name, value in options.items()]
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # of one who builds beside the tests
        # Where the wheel was built in the same folder, its objects serve; the module is the wheel's.
        run(["cmake", "-S", str(repository), "-B", str(folder), "-G", "Ninja", "-USKBUILD", *definitions])
        run(["cmake", "--build", str(folder), "--target", *targets])
    return folder / "csrc"


if __name__ == "__main__":
    root = Path(__file__).resolve().parent.parent
    build(root, "plain", "llmcore_cuda_emulated")  # the first that is asked for
    for name in ("address-undefined", "thread"):
        build(root, name, "llmcore_tests")
    build(root, "plain", "llmcore_tests", "llmcore_emulated_tests")
    if can_build_for_aarch64():
        build_for_aarch64(root, "llmcore_kernel_tests")
