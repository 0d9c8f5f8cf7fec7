"""Kernels and decoder for AArch64: cross-compiled, and run by an emulator of processors old and new."""

from __future__ import annotations

from pathlib import Path

import pytest
from native_build import build_for_aarch64, can_build_for_aarch64, run

# The processor, and the highest instruction set that must be found and used there.
PROCESSORS = {"cortex-a72": "neon", "cortex-a76": "dotprod", "max": "i8mm"}


@pytest.fixture(scope="module")
def kernel_tests(repository: Path) -> Path:
    if not can_build_for_aarch64():
        pytest.skip("no cross compiler or emulator; apt-get install g++-aarch64-linux-gnu qemu-user")
    return build_for_aarch64(repository, "llmcore_kernel_tests") / "llmcore_kernel_tests"


@pytest.mark.parametrize("processor", PROCESSORS)
def test_aarch64(kernel_tests: Path, processor: str) -> None:
    emulator = ["qemu-aarch64", "-L", "/usr/aarch64-linux-gnu", "-cpu", processor]
    output = run(
        [*emulator, str(kernel_tests)], LLMCORE_TEST_QUICK="1", LLMCORE_TEST_ISA=PROCESSORS[processor]
    )
    assert ", 0 failed," in output
