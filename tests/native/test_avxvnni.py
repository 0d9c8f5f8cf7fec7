"""The kernels of AVX-VNNI against float64 wherever there is AVX2: their one instruction is emulated."""

from __future__ import annotations

from pathlib import Path

import pytest
from native_build import build, run

from llmcore import _core


def test_avxvnni_emulated(repository: Path) -> None:
    if "avx2" not in _core.machine()["isas"]:
        pytest.skip("no AVX2")
    folder = build(repository, "plain", "llmcore_avxvnni_tests")
    output = run([str(folder / "llmcore_avxvnni_tests"), "kernels"])
    assert ", 0 failed," in output
