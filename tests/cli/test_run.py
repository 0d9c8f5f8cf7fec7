"""`llmcore run`: text to standard output, statistics to standard error, Ctrl-C that ends it cleanly."""

from __future__ import annotations

import signal
import subprocess
import sys
from functools import partial

import pytest
from adapter_files import random_adapter

from llmcore.cli import run as run_command

GREEDY = ("--temperature", 0, "-n", 24, "-t", 1)
STORY = " a time, there was a little girl named Lily."


def test_answers_a_prompt(llmcore, stories_model) -> None:
    result = llmcore("run", stories_model, "Once upon", *GREEDY)
    assert result.exit_code == 0, result.output
    assert result.stdout.startswith(STORY)
    assert "24 tokens" in result.stderr
    assert "tokens/s" in result.stderr
    assert "length" in result.stderr


def test_quiet_prints_the_text_alone(llmcore, stories_model) -> None:
    result = llmcore("run", "-q", stories_model, "Once upon", *GREEDY)
    assert result.stderr == ""
    assert result.stdout.startswith(STORY)


def test_an_adapter_changes_the_answer(llmcore, tiny_model, tmp_path) -> None:
    adapter = random_adapter(tmp_path / "a.gguf", tiny_model, seed=1)
    texts = [
        llmcore("run", "-q", tiny_model, "ba", *GREEDY, *lora).stdout
        for lora in ((), ("--lora", f"{adapter}:0"), ("--lora", adapter), ("--lora", f"x={adapter}:1"))
    ]
    assert texts[0] == texts[1] != texts[2] == texts[3]
    refused = llmcore("run", "-q", tiny_model, "ba", "--lora", tiny_model)
    assert refused.exit_code == 1
    assert "general.type" in refused.stderr


@pytest.mark.parametrize("arguments", [(), ("-",)])
def test_prompt_from_standard_input(llmcore, stories_model, arguments: tuple[str, ...]) -> None:
    result = llmcore("run", stories_model, *arguments, "-q", *GREEDY, stdin="Once upon")
    assert result.stdout.startswith(STORY)


def test_a_stop_text_ends_the_answer(llmcore, stories_model) -> None:
    result = llmcore("run", "-q", stories_model, "Once upon", *GREEDY, "--stop", " girl")
    assert result.stdout == " a time, there was a little\n"


def test_the_same_seed_gives_the_same_text(llmcore, tiny_model) -> None:
    texts = [llmcore("run", "-q", tiny_model, "ba", "-n", 16, "--seed", seed).stdout for seed in (1, 1, 2)]
    assert texts[0] == texts[1] != texts[2]


def test_a_prompt_alone_goes_to_the_embedded_model(tmp_path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert run_command._read_arguments(("tell me about llama.gguf",), False) == (
        None,
        "tell me about llama.gguf",
    )
    (tmp_path / "model.gguf").touch()
    assert run_command._read_arguments(("model.gguf",), True)[0].name == "model.gguf"


def test_conversation(llmcore, tiny_model) -> None:
    result = llmcore("run", "-i", tiny_model, "-n", 4, "--ignore-eos", stdin="ba be\nbi bo\n/exit\nno\n")
    assert result.exit_code == 0, result.output
    assert result.stderr.count(" + 4 tokens") == 2


def test_conversation_ends_with_the_input(llmcore, tiny_model) -> None:
    result = llmcore("run", "-i", tiny_model, "-n", 4, "--ignore-eos", stdin="ba be\n")
    assert result.exit_code == 0, result.output
    assert result.stderr.count(" + 4 tokens") == 1


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--temperature", "-1"), "temperature"),
        (("--n-ctx", "0"), "n_ctx"),
        (("--top-p", "0"), "top_p"),
    ],
)
def test_values_out_of_range(llmcore, tiny_model, arguments: tuple[str, ...], message: str) -> None:
    result = llmcore("run", tiny_model, "ba", *arguments)
    assert result.exit_code == 1
    assert result.stderr.startswith("error: ")
    assert message in result.stderr


def test_too_many_arguments(llmcore, tiny_model) -> None:
    result = llmcore("run", tiny_model, "two", "words")
    assert result.exit_code == 2
    assert "quotes" in result.stderr


def test_ctrl_c_ends_it_cleanly(tiny_model) -> None:
    command = [
        sys.executable,
        "-m",
        "llmcore",
        "run",
        str(tiny_model),
        "ba",
        "-n",
        "60000",
        "--ignore-eos",
        "-t",
        "1",
    ]
    # A shell starts its background jobs deaf to Ctrl-C, and children inherit that. Nothing else runs in the
    # child before exec.
    hear_ctrl_c = partial(signal.signal, signal.SIGINT, signal.SIG_DFL)
    with subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        preexec_fn=hear_ctrl_c,  # noqa: PLW1509
    ) as process:
        assert process.stdout is not None
        assert process.stdout.read(1)  # it has begun to answer
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=30)
    assert process.returncode == 130
    assert b"Traceback" not in errors
