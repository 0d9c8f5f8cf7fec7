"""`llmcore inspect`: what a file holds, for people and for scripts."""

from __future__ import annotations

import json

import pytest

from llmcore.cli import inspect


@pytest.fixture
def summary(llmcore, tiny_model) -> dict:
    result = llmcore("inspect", tiny_model, "--json")
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout)


def test_totals_fit_the_tensors(summary, tiny_model) -> None:
    tensors = summary["tensors"]
    assert len(tensors) == 2 * 9 + 3
    assert summary["parameters"] == sum(tensor["parameters"] for tensor in tensors)
    assert summary["weight_bytes"] == sum(tensor["bytes"] for tensor in tensors)
    assert summary["bytes"] == tiny_model.stat().st_size
    assert summary["bits_per_weight"] == pytest.approx(
        8 * summary["weight_bytes"] / summary["parameters"], abs=1e-3
    )


def test_quantization_mix(summary) -> None:
    assert set(summary["types"]) == {"Q4_K", "Q6_K", "F32"}
    assert sum(row["tensors"] for row in summary["types"].values()) == len(summary["tensors"])
    embedding = next(tensor for tensor in summary["tensors"] if tensor["name"] == "token_embd.weight")
    assert embedding == {
        "name": "token_embd.weight",
        "type": "Q4_K",
        "shape": [256, 512],
        "parameters": 256 * 512,
        "bytes": 512 * 144,
    }


def test_metadata_tells_arrays_by_their_length(summary) -> None:
    assert summary["architecture"] == "llama"
    assert summary["metadata"]["llama.block_count"] == 2
    assert summary["metadata"]["tokenizer.ggml.add_bos_token"] is True
    tokens = summary["metadata"]["tokenizer.ggml.tokens"]
    assert tokens["length"] == 512
    assert tokens["first"][:3] == ["<unk>", "<s>", "</s>"]


def test_tables(llmcore, tiny_model) -> None:
    brief = llmcore("inspect", tiny_model).stdout
    assert "Quantization mix" in brief
    assert "Q6_K" in brief
    assert "blk.0.ffn_down" not in brief
    assert "blk.0.ffn_down" in llmcore("inspect", tiny_model, "--tensors").stdout


def test_no_key_is_cut(llmcore, tiny_model, summary, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "40")
    shown = llmcore("inspect", tiny_model, "--tensors").stdout
    assert all(key in shown for key in summary["metadata"])
    assert all(tensor["name"] in shown for tensor in summary["tensors"])


@pytest.mark.parametrize(
    ("parameters", "told"),
    [(7, "7"), (292_800, "292.8 K"), (999_999, "1 M"), (5_500_000, "5.5 M"), (7_241_732_096, "7.242 B")],
)
def test_numbers_of_parameters(parameters: int, told: str) -> None:
    assert inspect._count(parameters) == told


def test_the_embedded_model(llmcore) -> None:
    result = llmcore("inspect", "default")
    assert result.exit_code == 0, result.output
    assert "M parameters" in result.stdout
