"""The specification's JavaScript, letter by letter: a read is taken for one event, so each must come alone.

Fifty runs of 512 tokens each, one after another, in Chromium and in Node.
"""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from commands import HERE
from served_process import ServedProcess

pytestmark = pytest.mark.clients

PROMPT = "请解释人工智能的概念"
RUNS, TOKENS = 50, 512
LIMIT = 600


def check_runs(server: ServedProcess, ran: Callable[[], str]) -> None:
    generated = server.metric("llmcore_generated_tokens_total")
    runs = json.loads(ran())
    assert len(runs) == RUNS
    for tokens in runs:
        assert len(tokens) >= 2
        assert re.search("[\u4e00-\u9fff]", "".join(tokens))
    assert server.metric("llmcore_generated_tokens_total") - generated == RUNS * TOKENS


def test_in_node(endless_server: ServedProcess, run_in_node: Callable[..., str]) -> None:
    check_runs(
        endless_server,
        lambda: run_in_node("spec_stream_node.mjs", endless_server.url, PROMPT, str(RUNS), limit=LIMIT),
    )


def test_in_chromium(endless_server: ServedProcess, run_in_node: Callable[..., str]) -> None:
    chromium = shutil.which("chromium") or shutil.which("chromium-browser")
    if chromium is None:
        pytest.skip("no Chromium: apt-get install chromium, or what your system calls it")
    arguments = (endless_server.url, PROMPT, str(RUNS), chromium)
    check_runs(endless_server, lambda: run_in_node("spec_stream_chromium.mjs", *arguments, limit=LIMIT))


def test_the_example_is_the_specifications(test_data: Path) -> None:
    """Where the specification is at hand."""
    specification = test_data / "spec" / "api-design.zh.md"
    if not specification.is_file():
        pytest.skip("no specification here")
    assert (HERE / "examples" / "spec_stream.js").read_text() in specification.read_text()
