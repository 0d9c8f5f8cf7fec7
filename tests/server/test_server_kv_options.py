"""The KV cache's options of `llmcore serve`, in real processes."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
from served_process import REAL_SERVER, ServedProcess

CHAT = {
    # More than the 32 tokens of a block.
    "messages": [
        {"role": "user", "content": 3 * "Why is the sky blue, and what has that to do with the sea?"}
    ],
    "max_tokens": 40,
    "temperature": 0,
}


def serve(*options: str) -> ServedProcess:
    process = ServedProcess(REAL_SERVER, ["--port", "0", "--threads", "1", "--n-ctx", "256", *options])
    process.wait_until_ready()
    return process


def answer(process: ServedProcess) -> tuple[str, int]:
    body = process.post("/v1/chat/completions", CHAT).json()
    cached = body["usage"]["prompt_tokens_details"]["cached_tokens"]
    return body["choices"][0]["message"]["content"], cached


def test_what_was_cached_is_there_after_a_restart(tmp_path: Path) -> None:
    folder = str(tmp_path / "cache")
    options = ["--kv-cache-type", "q8_0", "--kv-spill-ram", "16MB", "--kv-cache-dir", folder]
    process = serve(*options, "--kv-cache-dir-limit", "64MB")
    text, cached = answer(process)
    assert (bool(text), cached) == (True, 0)
    assert process.stop() == 0
    assert "KV cache: Q8_0, " in process.said
    assert "context 256, " in process.said
    again = serve(*options)
    try:
        found, cached = answer(again)
        assert found == text
        assert cached == 32
    finally:
        assert again.stop() == 0
    assert "cannot" not in again.said


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--kv-cache-type", "q5_0"], "'q5_0' is not one of"),
        (["--kv-spill-ram", "lots"], "is not a size"),
        (["--kv-cache-dir-limit", "1GB"], "--kv-cache-dir-limit needs --kv-cache-dir"),
        (["--kv-cache-dir", __file__], "is a file"),
    ],
)
def test_options_that_make_no_sense(arguments: list[str], said: str) -> None:
    result = subprocess.run(
        [*REAL_SERVER, "--port", "0", *arguments], capture_output=True, text=True, timeout=30, check=False
    )
    assert result.returncode != 0
    assert said in result.stderr
    assert "Traceback" not in result.stderr
