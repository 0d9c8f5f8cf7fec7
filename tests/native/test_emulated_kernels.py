"""AVX-VNNI, AVX-512 and AMX kernels where there may be none: llmcore_tests over tests/cpp/isa_emulation."""

from __future__ import annotations

import platform
from pathlib import Path

import pytest
from native_build import build, run

TESTS = ["kernel_names", "_kernels_", "amx_", "model_", "emulated_tiles"]
"""Those that name kernels, run them one by one and in models, and the emulation's own."""


def has_avx2() -> bool:
    try:
        return "avx2" in Path("/proc/cpuinfo").read_text(encoding="utf-8")
    except OSError:
        return False


@pytest.mark.skipif(
    platform.machine() not in {"x86_64", "AMD64"} or not has_avx2(), reason="the emulation needs AVX2"
)
def test_emulated_kernels(repository: Path) -> None:
    folder = build(repository, "plain", "llmcore_emulated_tests")
    output = run([str(folder / "llmcore_emulated_tests"), *TESTS])
    assert ", 0 failed," in output
