"""`llmcore perplexity`: the figures that scripts read, and what is refused."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from llmcore import LLM

TEXT = "The cache holds keys and values. A model file is hostile until it is checked.\n" * 30


@pytest.fixture
def text(tmp_path: Path) -> Path:
    path = tmp_path / "text.txt"
    path.write_text(TEXT, encoding="utf-8")
    return path


def report(result) -> dict:
    assert result.exit_code == 0, result.output
    assert result.stdout.count("\n") == 1
    return json.loads(result.stdout)


def test_json(llmcore, tiny_model, text) -> None:
    found = report(llmcore("perplexity", tiny_model, text, "--ctx", 32, "-t", 1, "--json"))
    with LLM(tiny_model, threads=1, n_ctx=32, max_batch=1) as llm:
        tokens = llm.tokenize(TEXT)
        bos = llm.tokenizer.tokenizer.bos_id
        assert tokens[0] == bos
        losses = []
        for start in range(0, len(tokens) - 31, 32):
            ids = [bos, *tokens[start + 1 : start + 32]]
            logits = llm.logits(ids).astype(np.float64)
            for i in range(16, 31):
                losses.append(np.log(np.exp(logits[i]).sum()) - logits[i, ids[i + 1]])
    assert found["perplexity"]["value"] == pytest.approx(np.exp(np.mean(losses)), rel=1e-9)
    assert found["n_scored"] == len(losses) == 15 * found["n_windows"]
    assert (found["n_ctx"], found["stride"], found["bos"]) == (32, None, bos)
    assert found["n_tokens"] == 32 * found["n_windows"]
    assert found["divergence"] is None
    assert found["reference"] is None
    assert found["tokens_per_second"] > 0


def test_embedded_model_and_standard_input(llmcore) -> None:
    """The default window is the context that the embedded model was trained for."""
    found = report(llmcore("perplexity", "default", "-", "-t", 1, "--json", stdin=TEXT))
    assert (found["n_ctx"], found["bos"]) == (256, None)
    assert found["n_tokens"] == 256 * found["n_windows"] > 0
    strided = report(
        llmcore("perplexity", "default", "-", "--stride", 128, "-t", 1, "--json", stdin="Hello you.")
    )
    assert strided["n_windows"] == 1
    assert strided["n_scored"] == strided["n_tokens"] - 1


def test_control_tokens(llmcore) -> None:
    said = "<|im_start|>user\nhello<|im_end|>\n<|im_start|>assistant\n"
    options = ("perplexity", "default", "-", "--stride", 9, "--ctx", 10, "-t", 1, "--json")
    plain = report(llmcore(*options, stdin=said))
    parsed = report(llmcore(*options, "--parse-special", stdin=said))
    assert parsed["n_tokens"] < plain["n_tokens"]


def test_save_and_compare(llmcore, tiny_model, text, tmp_path) -> None:
    kept = tmp_path / "kept.lp"
    options = ("perplexity", tiny_model, text, "-t", 1, "--json")
    saved = report(llmcore(*options, "--ctx", 48, "--stride", 40, "--windows", 3, "--save-logits", kept))
    assert saved["n_windows"] == 3
    assert 0 < kept.stat().st_size - saved["n_scored"] * (2 * 512 + 4) - 4 * saved["n_tokens"] < 200
    same = report(llmcore(*options, "--kl", kept))
    assert (same["n_ctx"], same["stride"], same["n_tokens"]) == (48, 40, saved["n_tokens"])
    assert same["perplexity"] == saved["perplexity"]
    divergence = same["divergence"]
    assert 0 <= divergence["kl_mean"]["value"] < 1e-6
    assert divergence["same_top"] == {"value": 1.0, "error": 0.0}
    coarse = report(llmcore(*options, "--kl", kept, "--kv-cache-type", "f32"))["divergence"]
    assert coarse["kl_mean"]["value"] > divergence["kl_mean"]["value"]
    shown = llmcore("perplexity", tiny_model, text, "-t", 1, "--kl", kept)
    assert shown.exit_code == 0
    assert "KL divergence, mean" in shown.stdout
    assert f"{saved['n_scored']} tokens scored in 3 windows of 48" in shown.stdout
    assert "3/3" in shown.stderr


@pytest.mark.parametrize(("arguments", "told"), [
    (("--ctx", 65537), "n_ctx"),
    (("--ctx", 512, "--stride", 512), "stride"),
    (("--ctx", 60000), "too short"),
    (("--kl", "text.txt"), "no file of log-probabilities"),
    (("--kl", "text.txt", "--ctx", 32), "--kl takes its windows"),
    (("--save-logits", "no/such/folder/x"), "no/such/folder"),
])  # fmt: skip
def test_refusals(llmcore, tiny_model, text, arguments, told) -> None:
    words = [text if word == "text.txt" else word for word in arguments]
    result = llmcore("perplexity", tiny_model, text, "-t", 1, *words)
    assert result.exit_code != 0
    assert told in result.stderr
    assert "Traceback" not in result.output


def test_text_that_is_not_utf8(llmcore, tiny_model, tmp_path) -> None:
    (tmp_path / "bytes").write_bytes(b"good \xff")
    result = llmcore("perplexity", tiny_model, tmp_path / "bytes", "-t", 1)
    assert result.exit_code == 1
    assert "not UTF-8 at 5" in result.stderr


def test_another_text(llmcore, tiny_model, text, tmp_path) -> None:
    kept = tmp_path / "kept.lp"
    assert llmcore("perplexity", tiny_model, text, "--ctx", 32, "--save-logits", kept, "-t", 1).exit_code == 0
    result = llmcore("perplexity", tiny_model, "-", "--kl", kept, "-t", 1, stdin="Other words. " * 99)
    assert result.exit_code == 1
    assert "the text's tokens" in result.stderr


def test_a_folder_that_is_missing_is_told_first(llmcore, tiny_model, text) -> None:
    result = llmcore("perplexity", tiny_model, text, "--save-logits", "no/such/folder/x")
    assert " MB" not in result.stderr
    assert "no/such/folder" in result.stderr
