"""Memory does not grow with the number of requests, in the engine and behind HTTP."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

# The whole exercise takes 10,000 requests. A few show every day what grows by kilobytes a request, above what
# is touched for the first time.
REQUESTS = int(os.environ.get("LLMCORE_MEMORY_REQUESTS", "800"))
MOST_GROWTH = 0.02 if REQUESTS >= 10_000 else 0.04


@pytest.mark.parametrize("arguments", [[], ["--http"]], ids=["engine", "http"])
def test_resident_memory_after_many_requests(repository: Path, arguments: list[str]) -> None:
    program = [sys.executable, "-m", "benchmarks.memory", "--requests", str(REQUESTS), "--json", *arguments]
    run = subprocess.run(program, cwd=repository, capture_output=True, text=True, check=False, timeout=3600)
    assert run.stdout, run.stderr
    resident = {int(number): size for number, size in json.loads(run.stdout).items()}
    assert resident[REQUESTS] <= (1 + MOST_GROWTH) * resident[500], resident
