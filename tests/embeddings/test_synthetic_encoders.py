"""Synthetic encoders of published shapes, quantized, and `llmcore embed` over them."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import gguf
import numpy as np
import pytest
from click.testing import CliRunner

from llmcore import LLM
from llmcore.cli import main
from llmcore.tools.encoder_shapes import ENCODER_SHAPES
from llmcore.tools.memory_estimate import estimate_memory
from llmcore.tools.synthesize import synthesize
from llmcore.tools.synthetic_vocab import made_up_wordpiece

# Weights in millions, as published, without the pooler that embeddings do not use.
PARAMETERS = {
    "all-minilm-l6-v2": 22.565, "bge-small": 33.212, "bge-base": 108.892, "bge-large": 334.092,
    "nomic-embed-text-v1.5": 136.727,
}  # fmt: skip


@pytest.mark.parametrize("name", ENCODER_SHAPES)
def test_shapes_hold_the_published_number_of_weights(name: str) -> None:
    count = sum(int(np.prod(tensor.shape)) for tensor in ENCODER_SHAPES[name].tensors())
    assert count / 1e6 == pytest.approx(PARAMETERS[name], rel=1e-3)


@pytest.mark.parametrize("name", ENCODER_SHAPES)
def test_tensor_names_are_those_of_the_architecture(name: str) -> None:
    shape = ENCODER_SHAPES[name]
    architecture = {value: key for key, value in gguf.MODEL_ARCH_NAMES.items()}[shape.architecture]
    known = {gguf.TENSOR_NAMES[tensor] for tensor in gguf.MODEL_TENSORS[architecture]}
    for tensor in shape.tensors():
        stem = tensor.name.rsplit(".", 1)[0].replace(f"blk.{tensor.layer}.", "blk.{bid}.")
        assert stem in known


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A file of each architecture, narrow, half precision."""
    folder = tmp_path_factory.mktemp("synthetic-encoders")
    files = {}
    for name in ("bge-small", "nomic-embed-text-v1.5"):
        shape = replace(ENCODER_SHAPES[name], d_model=256, n_layers=2, n_heads=4, n_kv_heads=4, head_dim=64,
                        d_ff=512, n_vocab=800)  # fmt: skip
        files[name] = folder / f"{name}.gguf"
        synthesize(files[name], shape, "F16", n_ctx=8192)
    return files


@pytest.mark.parametrize("quant", ["F16", "Q8_0", "Q4_K_M"])
@pytest.mark.parametrize("name", ["bge-small", "nomic-embed-text-v1.5"])
def test_files_load_and_quantize(small: dict[str, Path], tmp_path: Path, name: str, quant: str) -> None:
    path, some = small[name], ["ba be bi bo", "the same, but longer: a, b and c."]
    with LLM(path, threads=1) as llm:
        assert llm.model_info.n_ctx_train == ENCODER_SHAPES[name].n_ctx
        assert llm.model_info.pooling == {"bge-small": "cls"}.get(name, "mean")
        exact = llm.embed(some)
    if quant != "F16":
        out = tmp_path / "quantized.gguf"
        result = CliRunner().invoke(main, ["quantize", str(path), str(out), quant])
        assert result.exit_code == 0, result.output
        path = out
    kinds = {tensor.name: tensor.tensor_type.name for tensor in gguf.GGUFReader(path).tensors}
    small_ones = {"token_types.weight", "position_embd.weight", "blk.0.layer_output_norm.bias"} & kinds.keys()
    assert {kinds[tensor] for tensor in small_ones} == {"F32"}
    assert kinds["blk.1.ffn_up.weight"] == {"Q4_K_M": "Q4_K"}.get(quant, quant)
    with LLM(path, threads=1) as llm:
        cosines = (llm.embed(some) * exact).sum(1)
    assert (cosines >= {"F16": 0.99999, "Q8_0": 0.995, "Q4_K_M": 0.8}[quant]).all()


def test_memory_is_estimated_as_it_is_taken(small: dict[str, Path]) -> None:
    for path in small.values():
        with LLM(path, threads=1) as llm:
            info = llm.model_info
        estimate = estimate_memory(path)
        assert estimate.cache == info.kv_bytes
        assert estimate.weights >= info.weight_bytes


def test_made_up_words_cover_texts() -> None:
    vocabulary = made_up_wordpiece(500)
    tokens = vocabulary.fields["tokenizer.ggml.tokens"][0]
    assert len(tokens) == len(set(tokens)) == 500


def run(*arguments: object, **options: str) -> tuple[int, str, str]:
    result = CliRunner().invoke(main, [str(argument) for argument in arguments], **options)
    return result.exit_code, result.stdout, result.stderr


def test_the_command_prints_vectors(small: dict[str, Path]) -> None:
    path = small["bge-small"]
    with LLM(path, threads=1) as llm:
        expected = llm.embed(["ba be", "bo"], normalize=False, pooling="mean")
    code, out, _ = run("embed", path, "ba be", "bo", "--pooling", "mean", "--no-normalize", "-t", 1)
    assert code == 0
    np.testing.assert_allclose(
        [json.loads(line) for line in out.splitlines()], expected, rtol=1e-5, atol=1e-6
    )
    code, out, _ = run("embed", path, "-t", 1, input="ba be\n\nbo\n")
    assert code == 0
    assert [np.linalg.norm(json.loads(line)) for line in out.splitlines()] == pytest.approx([1, 1], abs=1e-5)
    code, out, _ = run("embed", path, "ba be", "bo", "--similarity", "-t", 1)
    assert (code, len(out.splitlines())) == (0, 2)
    assert out.split()[0] == out.split()[3] == "1.000"


def test_commands_that_generate_refuse_encoders_in_a_line(small: dict[str, Path]) -> None:
    code, _, said = run("run", small["bge-small"], "ba", "-t", 1)
    assert code == 1
    assert said == "error: [engine] the model makes embeddings and generates no text\n"
    code, _, said = run("embed", small["bge-small"], "ba " * 600, "-t", 1)
    assert code == 1
    assert "does not fit the context; got 602 tokens; expected at most 512" in said
