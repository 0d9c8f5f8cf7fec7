"""Memory does not grow with the number of requests, in the engine and behind HTTP."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

# The whole exercise takes 10,000 requests, from the 500th on. A few show the way every day, once what the
# first ones touch has been touched.
REQUESTS = int(os.environ.get("LLMCORE_MEMORY_REQUESTS", "2600"))
FIRST = 500 if REQUESTS >= 10_000 else 2000


@pytest.mark.parametrize("arguments", [[], ["--http"]], ids=["engine", "http"])
def test_resident_memory_after_many_requests(repository: Path, arguments: list[str]) -> None:
    program = [sys.executable, "-m", "benchmarks.memory", "--json", *arguments]
    program += ["--first", str(FIRST), "--requests", str(REQUESTS)]
    run = subprocess.run(program, cwd=repository, capture_output=True, text=True, check=False, timeout=3600)
    assert run.stdout, run.stderr
    resident = {int(number): size for number, size in json.loads(run.stdout).items()}
    assert resident[REQUESTS] <= 1.02 * resident[FIRST], resident
    assert run.returncode == 0
