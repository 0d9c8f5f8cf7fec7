"""Conversations of `llmcore run -i`: what is forgotten and what is told about it."""

from __future__ import annotations

import os
import pty
import select
import subprocess
import sys

import pytest

FEW = ("-i", "--temperature", 0, "-n", 4, "-t", 1)


def test_a_full_context_forgets_the_oldest_messages(llmcore) -> None:
    result = llmcore("run", *FEW, "--n-ctx", 64, "--system", "Be brief.", stdin="hi\n" * 12)
    assert result.exit_code == 0, result.output
    assert result.stderr.count(" + ") == 12
    assert result.stderr.count("the context is full") == 1


def test_a_message_that_does_not_fit_leaves_the_conversation(llmcore) -> None:
    result = llmcore("run", *FEW, "--n-ctx", 64, stdin="hi\n" + "many words " * 99 + "\nhi\n")
    assert result.exit_code == 0, result.output
    assert result.stderr.count(" + ") == 2
    assert result.stderr.count("does not fit") >= 1
    assert "the context is full" not in result.stderr


def test_bytes_that_are_no_text_leave_the_conversation(llmcore) -> None:
    result = llmcore("run", *FEW, stdin=b"caf\xe9\nhi\n")
    assert result.exit_code == 0, result.output
    assert "not UTF-8 at 3" in result.stderr
    assert result.stderr.count(" + ") == 1


def test_without_a_template_it_tells_once_that_it_forgets(llmcore, tiny_model) -> None:
    result = llmcore("run", tiny_model, *FEW, stdin="ba\nbe\n")
    assert result.stderr.count("forgotten") == 1
    assert "forgotten" not in llmcore("run", *FEW, stdin="hi\n").stderr


def test_a_system_message_needs_a_template(llmcore, tiny_model) -> None:
    raw = llmcore("run", "--raw", "--system", "x", "hi", "-n", 1)
    assert raw.exit_code == 2
    assert "--raw" in raw.stderr
    bare = llmcore("run", tiny_model, "ba", "--system", "x", "-n", 1)
    assert bare.exit_code == 1
    assert "without a chat template" in bare.stderr


def test_lines_can_be_edited_at_a_terminal() -> None:
    """Backspaces are the terminal's own business, but Ctrl-A is readline's."""
    pytest.importorskip("readline")
    ours, theirs = pty.openpty()
    command = [sys.executable, "-m", "llmcore", "run", *map(str, FEW)]
    environment = {**os.environ, "TERM": "xterm"}
    with subprocess.Popen(
        command, stdin=theirs, stdout=theirs, stderr=subprocess.PIPE, env=environment
    ) as process:
        os.close(theirs)
        try:
            shown = b""
            while b"> " not in shown and select.select([ours], [], [], 20)[0]:
                shown += os.read(ours, 1024)
            os.write(ours, b"quit\x01/\r")
            _, errors = process.communicate(timeout=20)
        finally:
            process.kill()
            os.close(ours)
    assert process.returncode == 0, errors
    assert b" + " not in errors
