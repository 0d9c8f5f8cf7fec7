"""Synthetic models: types, sizes, determinism, and files that readers accept."""

from __future__ import annotations

from dataclasses import replace
from itertools import islice

import gguf
import numpy as np
import pytest
from gguf import GGMLQuantizationType as Type

from llmcore import _core
from llmcore.errors import InvalidArgumentError
from llmcore.tools.encoder_shapes import ALL_SHAPES
from llmcore.tools.quant_mix import QUANT_NAMES, UNIFORM_TYPES, tensor_type
from llmcore.tools.random_blocks import random_weights
from llmcore.tools.shapes import SHAPES, Role, Shape, TensorSpec, rope_factors
from llmcore.tools.synthesize import synthesize
from llmcore.tools.synthetic_vocab import made_up_vocabulary, vocabulary_of

_BLOCK_TYPES = (
    "Q4_0", "Q4_1", "Q5_0", "Q5_1", "Q8_0", "Q2_K", "Q3_K", "Q4_K", "Q5_K", "Q6_K", "IQ4_NL", "IQ4_XS",
    "IQ1_S", "IQ1_M", "IQ2_XXS", "IQ2_XS", "IQ2_S", "IQ3_XXS", "IQ3_S", "TQ1_0", "TQ2_0", "MXFP4",
)  # fmt: skip
TINY = Shape("llama", 256, 2, 8, 4, 32, 512, 512, 256)

# Weights in billions, as published (embeddings counted once).
PARAMETERS = {
    "llama-2-7b": 6.738, "llama-3-8b": 8.030, "llama-3.1-8b": 8.030, "llama-3.2-1b": 1.236,
    "llama-3.2-3b": 3.213, "tinyllama-1.1b": 1.100, "mistral-7b": 7.248, "mixtral-8x7b": 46.703,
    "qwen-7b": 7.721, "qwen-14b": 14.167, "qwen1.5-moe-a2.7b": 14.316, "qwen2-0.5b": 0.494,
    "qwen2-7b": 7.616, "qwen3-0.6b": 0.596, "qwen3-8b": 8.191, "qwen3-30b-a3b": 30.532,
    "gemma-2b": 2.506, "gemma-7b": 8.538, "gemma-2-2b": 2.614, "gemma-2-9b": 9.242, "gemma-3-1b": 1.000,
    "gemma-3-4b": 3.880, "phi-3-mini-4k": 3.821, "phi-4-mini": 3.836, "chatglm3-6b": 6.244,
    "glm-4-9b": 9.400, "glm-4-9b-0414": 9.400, "gpt-oss-20b": 20.915,
}  # fmt: skip


@pytest.mark.parametrize("name", SHAPES)
def test_shapes_hold_the_published_number_of_weights(name: str) -> None:
    count = sum(int(np.prod(tensor.shape)) for tensor in SHAPES[name].tensors())
    assert count / 1e9 == pytest.approx(PARAMETERS[name], rel=2e-3)


@pytest.mark.parametrize("name", SHAPES)
def test_tensor_names_are_those_of_the_architecture(name: str) -> None:
    shape = SHAPES[name]
    architecture = {value: key for key, value in gguf.MODEL_ARCH_NAMES.items()}[shape.architecture]
    known = {gguf.TENSOR_NAMES[tensor] for tensor in gguf.MODEL_TENSORS[architecture]}
    for tensor in shape.tensors():
        stem = tensor.name.rsplit(".", 1)[0].replace(f"blk.{tensor.layer}.", "blk.{bid}.")
        assert stem in known


@pytest.mark.parametrize("quant", QUANT_NAMES)
def test_file_can_be_read_and_has_the_spread(tmp_path, quant: str) -> None:
    path = tmp_path / "model.gguf"
    written = synthesize(path, TINY, quant)
    tensors = {tensor.name: tensor for tensor in gguf.GGUFReader(path).tensors}
    assert written == sum(int(tensor.n_bytes) for tensor in tensors.values())
    assert [path] == list(tmp_path.iterdir())
    for name, deviation in {"blk.0.ffn_gate.weight": 1 / 16, "output.weight": 2 / 16}.items():
        values = gguf.quants.dequantize(tensors[name].data, tensors[name].tensor_type)
        assert values.std() == pytest.approx(deviation, rel=0.05)
        assert abs(values.mean()) < 0.03 * deviation


@pytest.mark.parametrize("quant", UNIFORM_TYPES)
def test_no_two_blocks_are_alike(quant: str) -> None:
    rng = np.random.Generator(np.random.SFC64(3))
    data = np.concatenate(list(random_weights(rng, Type[quant], 256 * 64, 1.0)))
    blocks = data.reshape(64, -1)
    assert len(np.unique(blocks, axis=0)) == 64


@pytest.mark.parametrize("name", _BLOCK_TYPES)
def test_random_blocks_are_valid_and_spread_as_asked(name: str) -> None:
    rng = np.random.Generator(np.random.SFC64(3))
    data = np.concatenate(list(random_weights(rng, Type[name], 1 << 19, 0.03)))
    values = gguf.quants.dequantize(data, Type[name])
    assert np.isfinite(values).all()
    assert values.std() == pytest.approx(0.03, rel=0.02)
    assert abs(values.mean()) < 0.01 * 0.03
    assert abs(values).max() < 6 * 0.03


def test_two_bit_codes_of_tq2_0_are_ternary() -> None:
    rng = np.random.Generator(np.random.SFC64(3))
    data = np.concatenate(list(random_weights(rng, Type.TQ2_0, 256 * 64, 1.0))).reshape(64, -1)
    codes = data[:, :64, None] >> np.array([0, 2, 4, 6], np.uint8) & 3
    assert set(np.unique(codes).tolist()) == {0, 1, 2}


def test_weights_come_in_bounded_chunks() -> None:
    rng = np.random.Generator(np.random.SFC64(3))
    chunks = [chunk.nbytes for chunk in islice(random_weights(rng, Type.Q4_0, 1 << 30, 1.0), 3)]
    assert len(chunks) == 3
    assert max(chunks) <= 8 << 20


def test_same_seed_same_file(tmp_path) -> None:
    for name, seed in {"a": 1, "b": 1, "c": 2}.items():
        synthesize(tmp_path / name, TINY, "Q4_K_M", seed=seed)
    a, b, c = ((tmp_path / name).read_bytes() for name in "abc")
    assert a == b
    assert a != c


def test_a_tensor_depends_on_nothing_but_seed_and_name(tmp_path) -> None:
    synthesize(tmp_path / "two", TINY, "Q4_0")
    synthesize(tmp_path / "one", replace(TINY, n_layers=1), "Q4_0")
    one, two = (
        {tensor.name: tensor.data for tensor in gguf.GGUFReader(tmp_path / name).tensors}
        for name in ("one", "two")
    )
    assert len(one) < len(two)
    assert all(np.array_equal(data, two[name]) for name, data in one.items())


def test_q4_k_m_gives_more_bits_to_the_outer_and_every_third_layer() -> None:
    shape = SHAPES["llama-2-7b"]
    types = {tensor.name: tensor_type("Q4_K_M", shape, tensor) for tensor in shape.tensors()}
    finer = [layer for layer in range(32) if types[f"blk.{layer}.ffn_down.weight"] is Type.Q6_K]
    assert finer == [0, 1, 2, 3, 6, 9, 12, 15, 18, 21, 24, 27, 28, 29, 30, 31]
    assert finer == [layer for layer in range(32) if types[f"blk.{layer}.attn_v.weight"] is Type.Q6_K]
    assert types["output.weight"] is Type.Q6_K
    assert types["token_embd.weight"] is Type.Q4_K
    assert types["blk.5.attn_q.weight"] is Type.Q4_K
    assert types["output_norm.weight"] is Type.F32


@pytest.mark.parametrize(
    ("quant", "row", "expected"),
    [
        ("Q4_K", 896, Type.Q5_0),
        ("Q5_K", 896, Type.Q5_1),
        ("Q6_K", 896, Type.Q8_0),
        ("Q2_K", 896, Type.Q4_0),
        ("Q3_K", 896, Type.Q4_0),
        ("IQ4_XS", 896, Type.IQ4_NL),
        ("Q4_0", 896, Type.Q4_0),
        ("Q4_0", 100, Type.F16),
        ("Q4_K", 100, Type.F16),
        ("Q4_K", 1024, Type.Q4_K),
    ],
)
def test_rows_that_do_not_fit_a_block_fall_back(quant: str, row: int, expected: Type) -> None:
    assert tensor_type(quant, TINY, TensorSpec("blk.0.ffn_up.weight", (8, row), Role.UP, 0)) is expected


def test_routers_and_biases_of_experts_stay_float32() -> None:
    shape = SHAPES["gpt-oss-20b"]
    types = {tensor.name: tensor_type("MXFP4_MOE", shape, tensor) for tensor in shape.tensors()}
    assert types["blk.3.ffn_gate_inp.weight"] is Type.F32
    assert types["blk.3.ffn_down_exps.bias"] is Type.F32
    assert types["blk.3.ffn_down_exps.weight"] is Type.MXFP4
    assert types["blk.3.attn_q.weight"] is Type.Q8_0
    assert types["output.weight"] is Type.Q8_0


def test_the_head_of_a_narrow_model_is_q8_0() -> None:
    shape = SHAPES["qwen2-0.5b"]  # 896 wide, embeddings tied
    embedding = next(shape.tensors())
    assert tensor_type("Q4_K_M", shape, embedding) is Type.Q8_0


@pytest.mark.parametrize("n_tokens", [260, 512, 32000, 256000])
def test_made_up_vocabularies_have_no_duplicates(n_tokens: int) -> None:
    tokens = made_up_vocabulary(n_tokens).fields["tokenizer.ggml.tokens"][0]
    assert len(tokens) == len(set(tokens)) == n_tokens


def test_made_up_pieces_can_be_merged() -> None:
    """Every piece of more than one character is two known pieces side by side."""
    tokens = made_up_vocabulary(20000).fields["tokenizer.ggml.tokens"][0][259:]
    known = set(tokens)
    for token in tokens:
        assert len(token) == 1 or any(token[:i] in known and token[i:] in known for i in range(1, len(token)))


def test_vocabulary_copied_from_another_file(tmp_path, test_data) -> None:
    source = test_data / "vocab" / "ggml-vocab-phi-3.gguf"
    vocabulary = vocabulary_of(source)
    synthesize(tmp_path / "model.gguf", TINY, "Q4_0", vocabulary=vocabulary)
    copy, original = (_core.GGUFFile(path) for path in (tmp_path / "model.gguf", source))
    keys = [key for key in original.keys() if key.startswith("tokenizer.")]  # noqa: SIM118, not a mapping
    assert len(keys) > 5
    for key in keys:
        ours, theirs = copy.get(key), original.get(key)
        assert type(ours) is type(theirs), key
        assert np.array_equal(ours, theirs), key
        assert getattr(ours, "dtype", None) == getattr(theirs, "dtype", None), key
    embedding = next(tensor for tensor in copy.tensors if tensor.name == "token_embd.weight")
    assert embedding.shape[1] == vocabulary.n_tokens


def test_rope_factors_of_llama_3_2() -> None:
    """High frequencies stay, low ones are divided by 32, and the divisors grow between."""
    factors = rope_factors(SHAPES["llama-3.2-1b"])
    assert factors.shape == (32,)
    assert factors[0] == 1.0
    assert factors[-1] == pytest.approx(32.0)
    assert (np.diff(factors) >= 0).all()
    assert ((factors > 1) & (factors < 31.9)).any()


def test_rope_factors_of_a_long_context_grow_to_its_factor() -> None:
    shape = SHAPES["phi-4-mini"]
    long = rope_factors(shape, "rope_factors_long.weight")
    assert long.shape == (48,)
    assert long[0] == 1.0
    assert long[1] == pytest.approx(1.1183, rel=1e-3)  # the published one
    assert long[31:] == pytest.approx(32.0)
    assert (rope_factors(shape, "rope_factors_short.weight") == 1.0).all()


def test_a_name_that_other_programs_know_is_not_spelt_so(tmp_path) -> None:
    """llama.cpp asks for certain tokens in a model that is called phi-3."""
    synthesize(tmp_path / "model.gguf", TINY, "Q4_0", name="phi-3-mini")
    assert _core.GGUFFile(tmp_path / "model.gguf").get("general.name") == "phi 3 mini Q4_0 (random weights)"


@pytest.mark.parametrize(
    "name", ["gemma-2-2b", "gemma-3-4b", "gpt-oss-20b", "phi-4-mini", "qwen1.5-moe-a2.7b"]
)
def test_metadata_of_newer_architectures(tmp_path, name: str) -> None:
    narrow = replace(SHAPES[name], d_model=256, n_layers=1, d_ff=256, n_vocab=300)
    experts = narrow.experts
    if experts is not None:
        narrow = replace(narrow, experts=replace(experts, d_ff=128))
    synthesize(tmp_path / "model.gguf", narrow, "Q8_0")
    file = _core.GGUFFile(tmp_path / "model.gguf")
    keys = {
        "gemma-2-2b": {
            "attention.sliding_window": 4096, "attn_logit_softcapping": 50.0, "final_logit_softcapping": 30.0
        },
        "gemma-3-4b": {
            "rope.scaling.type": "linear", "rope.scaling.factor": 8.0, "attention.key_length": 256
        },
        "gpt-oss-20b": {
            "rope.scaling.type": "yarn", "rope.scaling.factor": 32.0, "expert_count": 32,
            "expert_used_count": 4, "expert_feed_forward_length": 128, "attention.sliding_window": 128,
            "rope.scaling.original_context_length": 4096,
        },
        "phi-4-mini": {
            "rope.scaling.attn_factor": pytest.approx(1.190238), "rope.scaling.original_context_length": 4096
        },
        "qwen1.5-moe-a2.7b": {
            "expert_feed_forward_length": 128, "expert_shared_feed_forward_length": 5632, "expert_count": 60
        },
    }[name]  # fmt: skip
    assert {key: file.get(f"{narrow.architecture}.{key}") for key in keys} == keys


def test_nothing_is_left_when_it_fails(tmp_path) -> None:
    with pytest.raises(InvalidArgumentError, match="expected more than 259"):
        synthesize(tmp_path / "model.gguf", replace(TINY, n_vocab=100), "Q4_0")
    with pytest.raises(InvalidArgumentError, match="unknown quantization"):
        synthesize(tmp_path / "model.gguf", TINY, "Q9_9")

    def interrupt(done: int, total: int) -> None:
        assert done <= total
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        synthesize(tmp_path / "model.gguf", TINY, "Q4_0", progress=interrupt)
    assert list(tmp_path.iterdir()) == []


def test_command_writes_a_model(tmp_path, llmcore) -> None:
    out = tmp_path / "model.gguf"
    result = llmcore(
        "synth", "--shape", "tinyllama-1.1b", "--quant", "q4_k_m", "--layers", 1, "--ctx", 999, out
    )
    assert result.exit_code == 0, result.output
    assert result.stdout == ""
    file = _core.GGUFFile(out)
    assert file.get("llama.block_count") == 1
    assert file.get("llama.context_length") == 999
    assert len(file.tensors) == 12


def test_command_lists_shapes(llmcore) -> None:
    assert llmcore("synth", "--shape", "list").stdout.split() == list(ALL_SHAPES)


@pytest.mark.parametrize("arguments", [("--shape", "nope"), ("--shape", "llama-2-7b", "--quant", "nope")])
def test_command_explains_a_wrong_name(tmp_path, llmcore, arguments: tuple[str, ...]) -> None:
    result = llmcore("synth", *arguments, tmp_path / "model.gguf")
    assert result.exit_code == 1
    assert result.stderr.startswith("error: ")
    assert "expected one of" in result.stderr
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("arguments", "told"), [(("--ctx", 4294967296), "--ctx"), (("--layers", 999), "expected 1 to 22")]
)
def test_command_refuses_more_than_there_can_be(tmp_path, llmcore, arguments: tuple, told: str) -> None:
    result = llmcore("synth", "--shape", "tinyllama-1.1b", "--layers", 1, *arguments, tmp_path / "model.gguf")
    assert result.exit_code in {1, 2}
    assert told in result.stderr
    assert list(tmp_path.iterdir()) == []


def test_command_overwrites_by_force_alone(tmp_path, llmcore) -> None:
    out = tmp_path / "model.gguf"
    out.write_bytes(b"precious")
    command = ("synth", "--shape", "tinyllama-1.1b", "--layers", 1, out)
    refused = llmcore(*command)
    assert refused.exit_code == 2
    assert "--force" in refused.stderr
    assert out.read_bytes() == b"precious"
    assert llmcore(*command, "--force").exit_code == 0
    assert out.read_bytes()[:4] == b"GGUF"
