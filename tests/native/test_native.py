"""Builds the Python-free executable llmcore_tests and runs it, plain and under the sanitizers.

The CUDA backend is in it, emulated.
"""

from __future__ import annotations

from pathlib import Path

import pytest
from native_build import SANITIZERS, build, run


@pytest.mark.parametrize("sanitizer", SANITIZERS)
def test_native(repository: Path, sanitizer: str) -> None:
    folder = build(repository, sanitizer, "llmcore_tests")
    output = run([str(folder / "llmcore_tests")], UBSAN_OPTIONS="halt_on_error=1:print_stacktrace=1")
    assert ", 0 failed," in output
