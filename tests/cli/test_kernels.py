"""`llmcore kernels`: the list that `LLMCORE_KERNEL` takes its names from."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path


def run_llmcore(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "llmcore", *arguments],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )


def test_every_kernel_file_is_listed(repository: Path) -> None:
    listed = {kernel["name"] for kernel in json.loads(run_llmcore("kernels", "--json").stdout)}
    files = {path.stem for path in (repository / "csrc" / "kernels" / "cpu").glob("*.cpp")}
    assert listed
    assert listed <= files


def test_a_name_from_the_list_can_be_forced_and_no_other(repository: Path) -> None:
    model = repository / "python" / "llmcore" / "default_model" / "default.gguf"
    arguments = ("run", str(model), "hello", "-n", "2", "-q", "--temperature", "0")
    forced = run_llmcore(*arguments, LLMCORE_KERNEL="linear_q8_0_scalar")
    assert forced.returncode == 0, forced.stderr
    unknown = run_llmcore(*arguments, LLMCORE_KERNEL="linear_q8_0_abacus")
    assert unknown.returncode == 1
    assert "linear_q8_0_abacus" in unknown.stderr


def test_no_name_is_cut() -> None:
    shown = run_llmcore("kernels", COLUMNS="60").stdout
    assert all(kernel["name"] in shown for kernel in json.loads(run_llmcore("kernels", "--json").stdout))
    assert "…" not in shown
