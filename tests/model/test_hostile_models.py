"""Sound GGUF files that lie about their model: each is refused with an error that names the lie, or runs."""

from __future__ import annotations

import random
import re
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from gguf import GGML_QUANT_SIZES, GGMLQuantizationType, GGUFValueType
from model_file import (
    BOOL,
    F32,
    F64,
    I32,
    I64,
    REFUSALS,
    STRING,
    TENSOR_F16,
    TENSOR_F32,
    U32,
    U64,
    Change,
    ModelFile,
    Tensor,
    all_of,
    array,
    key,
    no_key,
    no_tensor,
    peak_memory,
    run,
    tensor,
)  # fmt: skip

from llmcore import LLM, SamplingParams
from llmcore.errors import ContextLengthError, ModelError
from llmcore.tools.shapes import Shape
from llmcore.tools.synthesize import synthesize

SHAPE = Shape("llama", 32, 2, 4, 2, 8, 64, 300, 64)
PROMPT = [1, 270, 281, 290]
MOST_MEMORY = 300 << 20  # bytes above what was there before
N_CASES = 500


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> ModelFile:
    path = tmp_path_factory.mktemp("sound") / "sound.gguf"
    synthesize(path, SHAPE, "F32")
    return ModelFile.read(path)


@pytest.fixture(autouse=True)
def _bounded_memory() -> Iterator[None]:
    peak_memory()
    before = peak_memory()
    yield
    after = peak_memory()
    if before is not None and after is not None:
        assert after - before < MOST_MEMORY


def test_the_unchanged_file_runs(sound: ModelFile, tmp_path: Path) -> None:
    assert np.isfinite(run(sound.copy().write(tmp_path / "m.gguf"), PROMPT)).all()


def _number_lies() -> Iterator[tuple[str, Change, str]]:
    sizes = ("embedding_length", "context_length", "block_count", "attention.head_count")
    sizes += (
        "attention.head_count_kv",
        "feed_forward_length",
        "attention.key_length",
        "rope.dimension_count",
    )
    for name in sizes:
        full = f"llama.{name}"
        for kind, value in ((U32, 0), (I32, -1), (U64, 2**63), (I64, -(2**63)), (U64, 2**40), (F32, 2.0)):
            yield f"{name}={value}", key(full, kind, value), re.escape(full)
        yield f"{name}=text", key(full, STRING, "8"), re.escape(full)
        yield f"{name}=[]", array(full, U32, []), re.escape(full)
    for name in ("attention.head_count", "attention.head_count_kv", "feed_forward_length"):
        full = f"llama.{name}"
        yield f"{name} for one layer", array(full, U32, [4]), re.escape(full)
        yield f"{name} with 0", array(full, U32, [4, 0]), re.escape(full)
        yield f"{name} as numbers with a point", array(full, F32, [4.0, 4.0]), re.escape(full)
    for name in ("rope.freq_base", "attention.layer_norm_rms_epsilon"):
        for value in (float("nan"), float("inf"), -1.0):
            yield f"{name}={value}", key(f"llama.{name}", F32, value), re.escape(f"llama.{name}")
    yield "a base that overflows", key("llama.rope.freq_base", F64, 1e-300), r"rope frequency|rope\.freq_base"
    scaling = key("llama.rope.scaling.type", STRING, "linear")
    for value in (0.0, float("nan"), -2.0):
        factor = key("llama.rope.scaling.factor", F32, value)
        yield f"rope factor {value}", all_of(scaling, factor), r"llama\.rope\.scaling\.factor"
    nameless = key("llama.rope.scaling.factor", F32, float("nan"))
    yield "a factor of a scaling without a name", nameless, r"llama\.rope\.scaling\.factor"
    yield "yarn", key("llama.rope.scaling.type", STRING, b"\xff\n"), r"rope\.scaling\.type.*\\xff"


def _shape_lies() -> Iterator[tuple[str, Change, str]]:
    heads = key("llama.attention.head_count", U32, 5)
    yield "heads that do not divide", heads, r"heads"
    yield "heads of half the length", key("llama.attention.head_count", U32, 8), "dimension_count"
    yield "more heads than columns", key("llama.attention.head_count", U32, 64), "key_length"
    yield "longer heads", key("llama.attention.key_length", U32, 16), "keys and values|attn_q"
    lengths = [key(f"llama.attention.{part}_length", U32, 16) for part in ("key", "value")]
    yield "longer heads, both", all_of(*lengths), r"blk\.0\.attn_q\.weight"
    yield "odd rope", key("llama.rope.dimension_count", U32, 7), r"llama\.rope\.dimension_count"
    yield "rope above the head", key("llama.rope.dimension_count", U32, 10), r"llama\.rope\.dimension_count"
    yield "layers of two widths", array("llama.feed_forward_length", U32, [64, 32]), "layers"
    yield "one layer too many", key("llama.block_count", U32, 3), r"blk\.2\.attn_norm\.weight"
    yield "one layer too few", key("llama.block_count", U32, 1), r"blk\.1\."
    yield "a wider model", key("llama.embedding_length", U32, 64), r"token_embd\.weight|attn"
    yield "experts", key("llama.expert_count", U32, 8), r"llama\.expert_used_count"
    yield "architecture", key("general.architecture", STRING, b"\xff\x00" * 99), r"architecture.*\\xff"
    yield "no architecture", no_key("general.architecture"), r"general\.architecture"
    yield "number for architecture", key("general.architecture", U32, 3), r"general\.architecture"


def _tensor_lies() -> Iterator[tuple[str, Change, str]]:
    def case(name: str, shape: list[int], kind: GGMLQuantizationType = TENSOR_F32) -> tuple[str, Change, str]:
        return f"{name} {shape} {kind.name}", tensor(name, shape, kind), re.escape(name)

    yield case("output.weight", [64, 300])
    yield case("output.weight", [32, 299])
    yield case("output.weight", [300, 32])
    yield case("token_embd.weight", [64, 300])
    yield case("output_norm.weight", [31])
    yield case("output_norm.weight", [32, 2])
    yield case("output_norm.weight", [32], TENSOR_F16)
    yield case("output_norm.weight", [32], GGMLQuantizationType.Q8_0)
    yield case("blk.0.attn_norm.weight", [1, 32])
    yield case("blk.1.attn_q.weight", [32, 31])
    yield case("blk.1.attn_q.weight", [32, 31, 2])
    yield case("blk.1.attn_k.weight", [32, 32])
    yield case("blk.1.attn_v.weight", [16, 32])
    yield case("blk.0.ffn_down.weight", [32, 64])
    yield case("blk.0.ffn_gate.weight", [32, 64], GGMLQuantizationType.I32)
    yield case("blk.0.ffn_gate.weight", [32, 64], GGMLQuantizationType.F64)
    yield case("blk.0.attn_q.bias", [31])
    yield case("blk.0.attn_k.bias", [32])
    yield case("blk.0.attn_v.bias", [16], TENSOR_F16)
    yield case("blk.0.attn_q_norm.weight", [32])
    yield case("blk.0.attn_output.bias", [1])
    yield case("rope_freqs.weight", [8])
    yield case("rope_freqs.weight", [4], TENSOR_F16)
    yield case("blk.2.attn_q.weight", [32, 32])
    yield case("blk.00.attn_q.weight", [32, 32])
    yield case("output.bias", [299])
    yield case("output.weight", [32, 30, 10])
    for name in ("token_embd.weight", "output_norm.weight", "blk.1.ffn_up.weight", "blk.0.attn_norm.weight"):
        yield f"no {name}", no_tensor(name), re.escape(name)
    for value in (0.0, float("nan"), 1e-45):
        yield (
            f"rope factors {value}",
            tensor("rope_freqs.weight", [4], fill=value),
            r"rope_freqs\.weight|rope frequency",
        )
    rows = tensor("token_embd.weight", [32, 299])
    yield "an embedding one token short", all_of(rows, no_tensor("output.weight")), "tokenizer.ggml.tokens"


def _vocabulary_lies() -> Iterator[tuple[str, Change, str]]:
    tokens = "tokenizer.ggml.tokens"
    yield "no tokens", no_key(tokens), re.escape(tokens)
    yield "empty tokens", array(tokens, STRING, []), re.escape(tokens)
    yield "tokens are numbers", array(tokens, U32, [1] * 300), re.escape(tokens)
    yield "tokens are one text", key(tokens, STRING, "abc"), re.escape(tokens)
    yield "fewer tokens", array(tokens, STRING, ["a", "b"]), r"tokenizer\.ggml\.(token_type|scores)"
    for name in ("token_type", "scores"):
        full = f"tokenizer.ggml.{name}"
        kind = I32 if name == "token_type" else F32
        yield f"short {name}", array(full, kind, [1] * 299), re.escape(full)
        yield f"text {name}", array(full, STRING, ["x"] * 300), re.escape(full)
        yield f"single {name}", key(full, kind, 1), re.escape(full)
    yield "type 7", array("tokenizer.ggml.token_type", I32, [7] * 300), r"tokenizer\.ggml\.token_type"
    yield "bytes everywhere", array("tokenizer.ggml.token_type", I32, [6] * 300), "byte token"
    for name in ("bos", "eos", "unknown", "eot"):
        full = f"tokenizer.ggml.{name}_token_id"
        for kind, value in ((U32, 300), (U64, 2**63), (I64, -2), (STRING, "1"), (BOOL, True)):
            yield f"{name}={value}", key(full, kind, value), f"{name}_token_id"
    for name in ("model", "add_bos_token", "chat_template"):
        full = f"tokenizer.{'ggml.' if name != 'chat_template' else ''}{name}"
        yield f"{name} of another type", array(full, F32, [1.0]), re.escape(full)
    template = "tokenizer.chat_template"
    yield "a broken template", key(template, STRING, "\n{% for x in %}"), "template is broken: line 2"
    yield "an unknown filter", key(template, STRING, "{{ messages | shell }}"), "no filter 'shell'"
    endless = "{% for a in range(9999) %}{% for b in range(9999) %}{{ a }}{% endfor %}{% endfor %}"
    yield "an endless template", key(template, STRING, endless), "template breaks a limit"
    yield "unknown model", key("tokenizer.ggml.model", STRING, b"\xc3("), r"tokenizer\.ggml\.model"
    long = ["<" + "x" * 20000 + ">"]
    yield "a token without end", array(tokens, STRING, long * 300), re.escape(tokens)
    twice = all_of(array(tokens, STRING, ["x"] * 300), no_key("tokenizer.ggml.token_type"))
    yield "one text for all tokens", twice, re.escape(tokens)
    nan = array("tokenizer.ggml.scores", F64, [float("nan")] * 300)
    yield "scores that are no numbers", nan, r"tokenizer\.ggml\.scores"
    names = [f"<{i:05d}{'x' * 3000}>" for i in range(300)]
    controls = array("tokenizer.ggml.token_type", I32, [3] * 300)
    yield "long control tokens", all_of(array(tokens, STRING, names), controls), re.escape(tokens)


LIES = [*_number_lies(), *_shape_lies(), *_tensor_lies(), *_vocabulary_lies()]


@pytest.mark.parametrize(("change", "named"), [pytest.param(c, n, id=i) for i, c, n in LIES])
def test_lies_are_refused_by_name(sound: ModelFile, tmp_path: Path, change: Change, named: str) -> None:
    file = sound.copy()
    change(file)
    with pytest.raises(REFUSALS, match=named):
        run(file.write(tmp_path / "m.gguf"), PROMPT)


def _harmless() -> Iterator[tuple[str, Change]]:
    yield "a huge context", key("llama.context_length", U32, 1 << 24)
    yield "a context of one block", key("llama.context_length", U32, 32)
    yield "lengths a layer", array("llama.feed_forward_length", U64, [64, 64])
    yield "a row of four dimensions", tensor("output_norm.weight", [32, 1, 1, 1])
    yield (
        "more rows than tokens",
        all_of(tensor("token_embd.weight", [32, 333]), tensor("output.weight", [32, 333])),
    )
    yield "a name that is no text", key("general.name", STRING, b"\xff\xfe\x00")
    yield "no token types", no_key("tokenizer.ggml.token_type")
    yield "only control tokens", array("tokenizer.ggml.token_type", I32, [3] * 300)
    yield "only unknown tokens", array("tokenizer.ggml.token_type", I32, [2] * 300)
    yield "only user-defined tokens", array("tokenizer.ggml.token_type", I32, [4] * 300)
    yield (
        "tokens that are no text",
        all_of(
            array("tokenizer.ggml.tokens", STRING, [bytes([0x80 + i % 128, i % 251]) for i in range(300)]),
            no_key("tokenizer.ggml.token_type"),
        ),
    )
    for value in (float("inf"), 1e300):
        yield f"scores {value}", array("tokenizer.ggml.scores", F64, [value] * 300)
    yield "norms without epsilon", key("llama.attention.layer_norm_rms_epsilon", F32, 0.0)


@pytest.mark.parametrize("change", [pytest.param(c, id=i) for i, c in _harmless()])
def test_odd_but_possible_models_run(sound: ModelFile, tmp_path: Path, change: Change) -> None:
    file = sound.copy()
    change(file)
    assert np.isfinite(run(file.write(tmp_path / "m.gguf"), PROMPT)).all()


@pytest.mark.parametrize(("shape", "quant"), [
    (Shape("llama", 24, 2, 6, 2, 5, 7, 300, 64, rope_dims=2), "F32"),
    (Shape("llama", 1, 1, 1, 1, 2, 1, 300, 64), "F32"),
    (Shape("qwen2", 40, 2, 3, 1, 34, 33, 300, 64, rope_dims=30, qkv_bias=True, tied_embeddings=True), "F16"),
    (Shape("qwen2", 32, 1, 32, 1, 3, 32, 300, 64, rope_dims=2, qkv_bias=True), "F32"),
    (Shape("llama", 96, 2, 3, 3, 32, 160, 300, 64), "Q8_0"),
])  # fmt: skip
def test_ragged_sizes_are_computed_right(
    shape: Shape, quant: str, tmp_path: Path, reference_decoder: Any
) -> None:
    """Sizes that fill no vector: the kernels' ends of rows, against the float64 oracle."""
    synthesize(tmp_path / "m.gguf", shape, quant)
    expected = reference_decoder.ReferenceDecoder(tmp_path / "m.gguf").logits(PROMPT)
    error = np.linalg.norm(run(tmp_path / "m.gguf", PROMPT) - expected) / np.linalg.norm(expected)
    assert error < (2.5e-2 if quant == "Q8_0" else 2e-3)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -3e38])
@pytest.mark.parametrize(
    "name", ["token_embd.weight", "blk.0.attn_q.weight", "blk.1.ffn_down.weight", "output_norm.weight"]
)
def test_weights_that_are_no_numbers(sound: ModelFile, tmp_path: Path, name: str, value: float) -> None:
    """The model loads; what cannot be sampled from ends the request with an error, not the process."""
    file = sound.copy()
    file.put(name, file.tensors[name].shape, fill=value)
    with LLM(file.write(tmp_path / "m.gguf"), threads=1, max_batch=2) as llm:
        logits = llm.logits(PROMPT)
        params = SamplingParams(max_tokens=3, logprobs=2, ignore_eos=True)
        if np.isfinite(logits).all():
            llm.generate([PROMPT], params)
        else:
            with pytest.raises(ModelError, match="logits"):
                llm.generate([PROMPT], params)
        assert llm.stats().kv_blocks_free == llm.stats().kv_blocks_total


def test_pieces_within_pieces_do_not_fill_the_memory(sound: ModelFile, tmp_path: Path) -> None:
    """Every beginning of a long piece is a piece too: pairs of them grow with the square."""
    file = sound.copy()
    pieces = ["<unk>", "<s>", "</s>", *("a" * n for n in range(1, 3300))]
    file.set_array("tokenizer.ggml.tokens", STRING, pieces)
    file.set_array("tokenizer.ggml.token_type", I32, [2, 3, 3, *[1] * (len(pieces) - 3)])
    file.set_array("tokenizer.ggml.scores", F32, [0.0] * len(pieces))
    for name in ("token_embd.weight", "output.weight"):
        file.put(name, [32, len(pieces)])
    with LLM(file.write(tmp_path / "m.gguf"), threads=1, max_batch=1) as llm:
        assert llm.detokenize(llm.tokenize("a" * 9000, add_special=False)) == "a" * 9000


def test_more_layers_than_any_model_has(sound: ModelFile, tmp_path: Path) -> None:
    file = sound.copy()
    file.set("llama.block_count", U32, 1025)
    for number in range(1025):
        file.put(f"blk.{number}.attn_norm.weight", [32])
    with pytest.raises(ModelError, match=r"llama\.block_count; got 1025; expected 1 to 1024"):
        run(file.write(tmp_path / "m.gguf"), PROMPT)


_NUMBERS = [0, 1, 2, 3, 4, 7, 8, 16, 31, 32, 33, 64, 255, 299, 300, 301, 2**16, 2**24, 2**31 - 1, 2**31]
_NUMBERS += [2**32 - 1, 2**32, 2**62, 2**63 - 1]
_FLOATS = [0.0, -0.0, 1.0, -1.0, 1e-45, 1e-30, 1e30, 3.4e38, 1e308, float("nan"), float("inf"), -float("inf")]
_TEXTS = [b"", b"llama", b"qwen2", b"gpt2", b"bert", b"gemma4", b"linear", b"none", b"\xff\xfe", b"x" * 5000]
_TEXTS += [b"{{ bos_token }}{% for m in messages %}", "\u2581a\u0000".encode()]


def _random_scalar(rng: random.Random) -> tuple[GGUFValueType, Any]:
    kind = rng.choice([U64, U64, I64, F64, STRING, BOOL, U32])
    if kind is F64:
        return kind, rng.choice(_FLOATS)
    if kind is STRING:
        return kind, rng.choice(_TEXTS)
    if kind is BOOL:
        return kind, rng.random() < 0.5
    number = rng.choice(_NUMBERS)
    return kind, number if kind is U64 else -number if kind is I64 else number % 2**32


def _change_key(file: ModelFile, rng: random.Random) -> None:
    name = rng.choice(sorted(file.keys))
    action = rng.random()
    if action < 0.15:
        del file.keys[name]
    elif action < 0.3:
        file.keys[name] = file.keys[rng.choice(sorted(file.keys))]
    elif action < 0.5:
        kind, value = _random_scalar(rng)
        file.set_array(name, kind, [value] * rng.choice([0, 1, 2, 3, 299, 300]))
    else:
        file.set(name, *_random_scalar(rng))


def _swap_tokens(file: ModelFile, rng: random.Random) -> None:
    texts = [rng.choice([*_TEXTS[:9], rng.randbytes(3), b"a" * rng.randint(1, 40)]) for _ in range(300)]
    file.set_array("tokenizer.ggml.tokens", STRING, texts)
    file.set_array("tokenizer.ggml.token_type", I32, [rng.choice([0, 1, 1, 2, 3, 4, 5]) for _ in texts])
    file.set_array("tokenizer.ggml.scores", F64, [rng.choice(_FLOATS) for _ in texts])
    if rng.random() < 0.6:
        file.set("tokenizer.ggml.model", STRING, rng.choice([b"gpt2", b"bert", b"gemma4"]))
        rules = [b" ".join(rng.sample(texts, 2)) for _ in range(50)]
        file.set_array("tokenizer.ggml.merges", STRING, rules)


def _change_tensor(file: ModelFile, rng: random.Random) -> None:
    name = rng.choice(sorted(file.tensors))
    changed = file.tensors[name]
    action = rng.randrange(5)
    if action == 0:
        del file.tensors[name]
    elif action == 1:
        file.tensors[name + rng.choice([".bias", "_norm.weight", ""])] = file.tensors.pop(name)
    elif action == 2:
        changed.shape = rng.choice([changed.shape[::-1], [*changed.shape, 1, 1][:4], [1, *changed.shape]])
    elif action == 3:
        noise = np.frombuffer(rng.randbytes(len(changed.data)), np.uint8)
        file.tensors[name] = Tensor(changed.shape, changed.kind, noise.tobytes())
    else:
        shape = [max(1, size + rng.choice([-1, 0, 0, 1, 32])) for size in changed.shape]
        kinds = [k for k, (block, _) in GGML_QUANT_SIZES.items() if shape[0] % block == 0]
        file.put(name, shape, rng.choice(kinds), rng.choice(_FLOATS[:8]))


def test_random_lies(sound: ModelFile, tmp_path: Path) -> None:
    """Whatever is changed, the file is refused, or loads and every request ends."""
    rng = random.Random(23)
    messages = []
    ran = 0
    for _ in range(N_CASES):
        file = sound.copy()
        for _ in range(rng.randint(1, 3)):
            rng.choice([_change_key, _change_key, _change_tensor, _swap_tokens])(file, rng)
        path = file.write(tmp_path / "m.gguf")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)
            try:
                run(path, PROMPT)
                ran += 1
            except (*REFUSALS, ContextLengthError) as error:
                messages.append(str(error))
    assert all(message.startswith("[") for message in messages)
    assert len(messages) > N_CASES // 4
    assert ran > N_CASES // 20
