"""`llmcore bench`: the JSON that scripts read, and figures that fit together."""

from __future__ import annotations

import json
from pathlib import Path

import gguf
import pytest

from llmcore.tools.shapes import Shape
from llmcore.tools.synthesize import synthesize
from llmcore.tools.weight_bytes import decode_weight_bytes


@pytest.fixture
def short_model(tmp_path: Path) -> Path:
    synthesize(tmp_path / "short.gguf", Shape("llama", 256, 1, 8, 4, 32, 512, 512, 64), "Q8_0")
    return tmp_path / "short.gguf"


def test_json(llmcore, tiny_model) -> None:
    result = llmcore("bench", tiny_model, "-p", 40, "-n", 8, "-b", 1, "-t", 1, "-d", 0, "-r", 2, "--json")
    assert result.exit_code == 0, result.output
    report = json.loads(result.stdout)
    assert result.stdout.count("\n") == 1
    assert "decode 2/2" in result.stderr
    keys = {"model", "device", "gpu_layers", "threads", "prefill_tps", "decode_tps", "results"}
    assert set(report) == keys
    assert report["model"] == str(tiny_model)
    assert (report["device"], report["gpu_layers"]) == ("cpu", 0)
    assert report["threads"] == 1
    prefill, decode = report["results"]
    keys = {"test", "n_prompt", "n_gen", "batch", "depth", "tps", "samples", "weight_gb_s"}
    assert set(prefill) == set(decode) == keys
    assert (prefill["test"], prefill["n_prompt"], prefill["n_gen"]) == ("prefill", 40, 0)
    assert (decode["test"], decode["n_prompt"], decode["n_gen"]) == ("decode", 0, 8)
    assert prefill["tps"] == report["prefill_tps"] > 0
    assert decode["tps"] == report["decode_tps"] > 0
    assert len(prefill["samples"]) == len(decode["samples"]) == 2
    assert prefill["weight_gb_s"] is None
    assert decode["weight_gb_s"] == pytest.approx(decode_weight_bytes(tiny_model) * decode["tps"] / 1e9)


def test_batch_at_depth(llmcore, tiny_model) -> None:
    result = llmcore("bench", tiny_model, "-p", 0, "-n", 6, "-b", 3, "-d", 130, "-r", 1, "-t", 1, "--json")
    assert result.exit_code == 0, result.output
    report = json.loads(result.stdout)
    assert report["prefill_tps"] is None
    (decode,) = report["results"]
    assert (decode["batch"], decode["depth"]) == (3, 130)
    assert decode["weight_gb_s"] == pytest.approx(decode_weight_bytes(tiny_model) * decode["tps"] / 3 / 1e9)


def test_table(llmcore, tiny_model) -> None:
    result = llmcore("bench", tiny_model, "-p", 16, "-n", 0, "-r", 1, "-t", 1)
    assert result.exit_code == 0, result.output
    assert "prefill" in result.stdout
    assert "decode" not in result.stdout


def test_weights_read_by_a_step(tiny_model) -> None:
    """All but the embedding table: two layers and the head."""
    tensors = gguf.GGUFReader(tiny_model).tensors
    read = sum(int(tensor.n_bytes) for tensor in tensors if tensor.name != "token_embd.weight")
    assert decode_weight_bytes(tiny_model) == read


def test_a_prompt_is_cut_to_a_short_context(llmcore, short_model) -> None:
    result = llmcore("bench", short_model, "-n", 1, "-r", 1, "-t", 1, "--json")
    assert result.exit_code == 0, result.output
    assert json.loads(result.stdout)["results"][0]["n_prompt"] == 63


@pytest.mark.parametrize("arguments", [("-p", 64), ("-d", 64), ("-n", 64)])
def test_more_than_the_context(llmcore, short_model, arguments: tuple[str, int]) -> None:
    result = llmcore("bench", short_model, *arguments, "-r", 1, "-t", 1)
    assert result.exit_code == 1
    assert f"{arguments[0]} {arguments[1]}" in result.stderr
    assert "context, 64" in result.stderr


def test_the_embedded_model(llmcore) -> None:
    result = llmcore("bench", "default", "-p", 4, "-n", 0, "-r", 1, "-t", 1, "--json")
    assert result.exit_code == 0, result.output
    assert json.loads(result.stdout)["model"].endswith("default.gguf")
