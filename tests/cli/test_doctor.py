"""`llmcore doctor`: what is found, and whether a model can be served."""

from __future__ import annotations

import json
import os
import subprocess
import sys

from llmcore import _core


def run_doctor(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "llmcore", "doctor", *arguments]
    return subprocess.run(
        command, env={**os.environ, **environment}, capture_output=True, text=True, check=False, timeout=60
    )


def test_findings() -> None:
    result = run_doctor("--json")
    assert result.returncode == 0, result.stdout + result.stderr
    report = json.loads(result.stdout)
    assert report["can_serve"] is True
    values = {finding["name"]: finding["value"] for finding in report["findings"]}
    assert values["instruction sets"].split(", ") == _core.machine()["isas"]
    assert "GiB" in values["memory"]
    usable, total = (int(word) for word in values["kernels"].split() if word.isdigit())
    assert 0 < usable <= total
    assert {"python", "llmcore", "processor", "threads", "CUDA backend", "embedded model", "server"} <= set(
        values
    )


def test_a_lowered_instruction_set_is_named() -> None:
    result = run_doctor(LLMCORE_ISA="scalar")
    assert result.returncode == 0
    assert "scalar" in result.stdout
    assert "Ready to serve." in result.stdout


def test_an_unusable_setting_is_found_and_fails() -> None:
    result = run_doctor(LLMCORE_ISA="sse9")
    assert result.returncode == 1
    assert "sse9" in result.stdout
    assert "Cannot serve" in result.stdout
