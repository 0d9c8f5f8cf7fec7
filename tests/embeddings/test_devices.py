"""Encoders beside a device that does not run them: a library that is a device by name alone."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).parent
SCRIPT = """
import sys
from llmcore import LLM
from llmcore.errors import ModelError
try:
    LLM(sys.argv[1], device="cuda")
except ModelError as error:
    print(error)
with LLM(sys.argv[1], device="auto", threads=1) as llm:
    print(llm.model_info.device, llm.embed("ab").shape)
    print(llm.model_info.device_note)
"""


def test_the_device_refuses_in_a_line_and_the_cpu_serves(
    encoder_files: dict[str, Path], repository: Path, tmp_path: Path
) -> None:
    compiler = os.environ.get("CXX") or shutil.which("c++") or shutil.which("g++")
    if compiler is None:
        pytest.skip("no C++ compiler")
    library = tmp_path / "bare_device.so"
    options = ["-std=c++20", "-shared", "-fPIC", f"-I{repository / 'csrc'}", "-o", str(library)]
    subprocess.run([compiler, *options, str(HERE / "bare_device.cpp")], check=True, timeout=120)
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, str(encoder_files["bert"])],
        env={**os.environ, "LLMCORE_CUDA_LIBRARY": str(library)},
        capture_output=True, text=True, check=False, timeout=120,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:]
    refusal, served, note = done.stdout.splitlines()
    expected = "[engine] the device runs no encoders such as bert; got cuda (bare); expected the CPU"
    assert refusal == expected
    assert served == "cpu (1, 64)"
    assert note == f"using the CPU: {expected}"
