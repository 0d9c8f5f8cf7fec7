"""`llmcore quantize`: the files it writes and those it refuses."""

from __future__ import annotations

import os
import tracemalloc
from collections.abc import Callable, Iterator
from pathlib import Path

import gguf
import numpy as np
import pytest
from click.testing import Result
from gguf import GGUFValueType, GGUFWriter

from llmcore import LLM, SamplingParams, _core
from llmcore.tools.quantize import quantize_model
from llmcore.tools.quantize_plan import Choice, plan
from llmcore.tools.shapes import Shape
from llmcore.tools.synthesize import synthesize

Command = Callable[..., Result]
Model = Callable[..., Path]

# Every type a value can have, bytes that are not UTF-8 among them.
VALUES = {
    "odd.u8": (200, GGUFValueType.UINT8),
    "odd.i8": (-100, GGUFValueType.INT8),
    "odd.u16": (60000, GGUFValueType.UINT16),
    "odd.i16": (-30000, GGUFValueType.INT16),
    "odd.u32": (4000000000, GGUFValueType.UINT32),
    "odd.i32": (-5, GGUFValueType.INT32),
    "odd.u64": (2**64 - 1, GGUFValueType.UINT64),
    "odd.i64": (-(2**63), GGUFValueType.INT64),
    "odd.f32": (0.1, GGUFValueType.FLOAT32),
    "odd.f64": (0.1, GGUFValueType.FLOAT64),
    "odd.bool": (True, GGUFValueType.BOOL),
    "odd.text": (b"caf\xc3\xa9 \xff\xfe", GGUFValueType.STRING),
    "odd.empty": (b"", GGUFValueType.STRING),
    "tokenizer.chat_template": ("{{ messages }}", GGUFValueType.STRING),
}
ARRAYS = {
    "many.u8": ([1, 255], GGUFValueType.UINT8),
    "many.i64": ([-(2**63), 2**63 - 1], GGUFValueType.INT64),
    "many.f32": ([0.5, -0.1], GGUFValueType.FLOAT32),
    "many.f64": ([0.1], GGUFValueType.FLOAT64),
    "many.bool": ([True, False], GGUFValueType.BOOL),
    "many.text": ([b"a", b"", b"\xf0\x9f\x98"], GGUFValueType.STRING),
}


def weights(seed: int, *shape: int) -> np.ndarray:
    return np.random.default_rng(seed).normal(0.0, 0.02, shape).astype(np.float32)


@pytest.fixture
def model(tmp_path: Path) -> Model:
    """Writes a file of a few tensors: `model(extra={name: array}, alignment=64, split=2)`."""

    def write(
        extra: dict[str, np.ndarray] | None = None, alignment: int | None = None, split: int = 0
    ) -> Path:
        path = tmp_path / "in.gguf"
        writer = GGUFWriter(path, "llama", split_max_tensors=split)
        writer.add_file_type(gguf.LlamaFileType.ALL_F32)
        writer.add_block_count(1)
        writer.add_head_count(8)
        if alignment is not None:
            writer.add_custom_alignment(alignment)
        for key, (value, kind) in VALUES.items():
            writer.add_key_value(key, value, kind)
        for key, (values, kind) in ARRAYS.items():
            writer.add_key_value(key, values, GGUFValueType.ARRAY, kind)
        tensors = {
            "token_embd.weight": weights(1, 40, 512),
            "output.weight": weights(2, 40, 512),
            "output_norm.weight": weights(3, 512),
            "blk.0.attn_v.weight": weights(4, 48, 512).astype(np.float16),
            "blk.0.ffn_gate_inp.weight": weights(5, 4, 512),
            "blk.0.ffn_up_exps.weight": weights(6, 4, 33, 512),
            "blk.0.ffn_up.weight": weights(7, 33, 96),
            "blk.0.ffn_gate.weight": weights(8, 5000, 512),
        }
        for name, values in {**tensors, **(extra or {})}.items():
            writer.add_tensor(name, values)
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.write_tensors_to_file()
        writer.close()
        return path if not split else sorted(tmp_path.glob("in-*.gguf"))[0]

    return write


def read_tensor(path: Path, name: str) -> tuple[str, np.ndarray]:
    tensor = next(tensor for tensor in gguf.GGUFReader(path).tensors if tensor.name == name)
    return tensor.tensor_type.name, gguf.quants.dequantize(tensor.data, tensor.tensor_type)


def test_tensors_are_narrower_and_the_same(tmp_path: Path, llmcore: Command, model: Model) -> None:
    source, out = model(), tmp_path / "out.gguf"
    result = llmcore("quantize", source, out, "q4_k_m", "--threads", 2)
    assert result.exit_code == 0, result.output
    assert result.stdout == ""
    assert "Q4_K_M" in result.stderr
    assert "warning" not in result.stderr
    assert sorted(path.name for path in tmp_path.iterdir()) == ["in.gguf", "out.gguf"]
    expected = {
        "token_embd.weight": "Q4_K", "output.weight": "Q6_K", "output_norm.weight": "F32",
        "blk.0.attn_v.weight": "Q6_K", "blk.0.ffn_gate_inp.weight": "F32", "blk.0.ffn_up_exps.weight": "Q4_K",
        "blk.0.ffn_up.weight": "Q5_0", "blk.0.ffn_gate.weight": "Q4_K",
    }  # fmt: skip
    ours = [(tensor.name, tensor.shape) for tensor in _core.GGUFFile(out).tensors]
    assert ours == [(tensor.name, tensor.shape) for tensor in _core.GGUFFile(source).tensors]
    for name, kind in expected.items():
        written, values = read_tensor(out, name)
        assert written == kind
        original = read_tensor(source, name)[1]
        assert values.shape == original.shape
        limit = {"F32": 0.0, "Q6_K": 0.02, "Q5_0": 0.04, "Q4_K": 0.08}[kind]
        assert np.linalg.norm(values - original) <= limit * np.linalg.norm(original), name


def test_metadata_is_copied_type_for_type(tmp_path: Path, llmcore: Command, model: Model) -> None:
    source, out = model(alignment=64), tmp_path / "out.gguf"
    assert llmcore("quantize", source, out, "Q8_0").exit_code == 0
    before, after = _core.GGUFFile(source), _core.GGUFFile(out)
    changed = {"general.file_type", "general.quantization_version"}
    assert set(after.keys()) == set(before.keys()) | changed
    for key in {*VALUES, *ARRAYS, "general.architecture", "general.alignment", "llama.block_count"}:
        assert before.value_type(key) == after.value_type(key), key
        np.testing.assert_array_equal(before.get(key), after.get(key), err_msg=key)
    assert after.get("general.file_type") == gguf.LlamaFileType.MOSTLY_Q8_0
    assert after.get("general.quantization_version") == 2
    assert all(tensor.file_offset % 64 == 0 for tensor in after.tensors)


def test_threads_do_not_change_the_file(tmp_path: Path, llmcore: Command, model: Model) -> None:
    source = model()
    for threads in (1, 3):
        assert (
            llmcore("quantize", source, tmp_path / str(threads), "Q3_K_M", "--threads", threads).exit_code
            == 0
        )
    assert (tmp_path / "1").read_bytes() == (tmp_path / "3").read_bytes()


def test_split_files_become_one(tmp_path: Path, llmcore: Command, model: Model) -> None:
    part, out = model(split=3), tmp_path / "out.gguf"
    assert "-00001-of-" in part.name
    assert llmcore("quantize", part, out, "Q4_0").exit_code == 0
    file = _core.GGUFFile(out)
    assert len(file.tensors) == 8
    assert not [key for key in file.keys() if key.startswith("split.")]  # noqa: SIM118, not a mapping
    assert read_tensor(out, "blk.0.ffn_gate.weight")[0] == "Q4_0"
    for path in tmp_path.glob("in-*.gguf"):
        refused = llmcore("quantize", part, path, "Q4_0", "--force")
        assert refused.exit_code == 1
        assert "the output is the file that is read" in refused.stderr


def test_a_quantized_model_still_speaks(tmp_path: Path, llmcore: Command) -> None:
    source, out = tmp_path / "in.gguf", tmp_path / "out.gguf"
    synthesize(source, Shape("llama", 256, 2, 8, 4, 32, 512, 512, 256), "BF16")
    assert llmcore("quantize", source, out, "Q5_K_M").exit_code == 0
    with LLM(out, n_ctx=64, threads=1) as llm:
        (output,) = llm.generate(["the"], SamplingParams(max_tokens=3, temperature=0.0, ignore_eos=True))
    assert len(output.token_ids) == 3


def test_options_name_the_exceptions(tmp_path: Path, llmcore: Command, model: Model) -> None:
    source, out = model(), tmp_path / "out.gguf"
    options = ("--pure", "--output-tensor-type", "q8_0", "--token-embedding-type", "f16")
    assert llmcore("quantize", source, out, "Q4_K_M", *options).exit_code == 0
    types = {tensor.name: tensor.type for tensor in _core.GGUFFile(out).tensors}
    assert types["output.weight"] == "Q8_0"
    assert types["token_embd.weight"] == "F16"
    assert types["blk.0.attn_v.weight"] == "Q4_K"


def test_what_is_quantized_already_is_warned_of(tmp_path: Path, llmcore: Command, model: Model) -> None:
    first, second = tmp_path / "first.gguf", tmp_path / "second.gguf"
    assert llmcore("quantize", model(), first, "Q8_0").exit_code == 0
    result = llmcore("quantize", first, second, "Q4_0")
    assert result.exit_code == 0
    assert "warning: tensors are already quantized (Q8_0)" in result.stderr
    refused = llmcore("quantize", second, tmp_path / "third.gguf", "Q8_0")
    assert refused.exit_code == 1
    assert "nothing to do" in refused.stderr


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_a_tensor_that_is_not_finite_is_named(
    tmp_path: Path, llmcore: Command, model: Model, bad: float
) -> None:
    values = weights(9, 5000, 512)
    values[4321, 77] = bad
    result = llmcore("quantize", model(extra={"blk.0.attn_q.weight": values}), tmp_path / "out.gguf", "Q4_0")
    assert result.exit_code == 1
    assert (
        f"tensor 'blk.0.attn_q.weight' cannot be quantized; got {bad} in row 4321, column 77" in result.stderr
    )
    assert [path.name for path in tmp_path.iterdir()] == ["in.gguf"]


def test_a_file_is_not_lost(tmp_path: Path, llmcore: Command, model: Model) -> None:
    source, out = model(), tmp_path / "out.gguf"
    before = source.read_bytes()
    link = tmp_path / "link.gguf"
    os.link(source, link)
    for target in (source, link):
        result = llmcore("quantize", source, target, "Q4_0", "--force")
        assert result.exit_code == 1
        assert "the output is the file that is read" in result.stderr
    out.write_text("precious")
    result = llmcore("quantize", source, out, "Q4_0")
    assert result.exit_code == 2
    assert "--force overwrites it" in result.stderr
    assert out.read_text() == "precious"
    assert llmcore("quantize", source, out, "Q4_0", "--force").exit_code == 0
    assert _core.GGUFFile(out).get("general.file_type") == gguf.LlamaFileType.MOSTLY_Q4_0
    assert source.read_bytes() == before


def test_the_temporary_file_is_not_the_source(tmp_path: Path, llmcore: Command, model: Model) -> None:
    source = model().rename(tmp_path / "out.gguf.part")
    before = source.read_bytes()
    assert llmcore("quantize", source, tmp_path / "out.gguf", "Q4_0").exit_code == 1
    assert source.read_bytes() == before


def test_wrong_names_are_explained(tmp_path: Path, llmcore: Command, model: Model) -> None:
    result = llmcore("quantize", model(), tmp_path / "out.gguf", "Q4_KM")
    assert result.exit_code == 1
    assert "got 'Q4_KM'; expected one of F32, F16, BF16, Q8_0" in result.stderr
    assert llmcore("quantize", tmp_path / "none.gguf", tmp_path / "out.gguf", "Q4_0").exit_code == 2
    assert llmcore("quantize", tmp_path / "in.gguf", tmp_path / "no" / "out.gguf", "Q4_0").exit_code == 1
    assert [path.name for path in tmp_path.iterdir()] == ["in.gguf"]


def test_a_damaged_file_is_refused(tmp_path: Path, llmcore: Command, model: Model) -> None:
    source = model()
    source.write_bytes(source.read_bytes()[:-1000])
    result = llmcore("quantize", source, tmp_path / "out.gguf", "Q4_0")
    assert result.exit_code == 1
    assert result.stderr.startswith("error: ")
    assert not (tmp_path / "out.gguf").exists()


def test_memory_is_bounded(tmp_path: Path, model: Model) -> None:
    source = model(extra={"blk.0.attn_q.weight": np.ones((32 << 10, 512), np.float32)})
    file, choice = _core.GGUFFile(source), Choice("Q4_0")
    tracemalloc.start()
    try:
        quantize_model(file, tmp_path / "out.gguf", choice, plan(file, choice), threads=1)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert source.stat().st_size > 64 << 20
    assert 1 << 20 < peak < 24 << 20


@pytest.fixture
def full_disk() -> Iterator[None]:
    """No file may grow beyond 100 kB."""
    resource = pytest.importorskip("resource")
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, limits[1]))
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, limits)


def test_nothing_is_left_on_a_full_disk(
    tmp_path: Path, llmcore: Command, model: Model, request: pytest.FixtureRequest
) -> None:
    source = model()
    request.getfixturevalue("full_disk")
    result = llmcore("quantize", source, tmp_path / "out.gguf", "Q4_0")
    assert result.exit_code == 1
    assert "error: " in result.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["in.gguf"]


def test_nothing_is_left_when_interrupted(tmp_path: Path, model: Model) -> None:
    file, choice = _core.GGUFFile(model()), Choice("Q4_0")
    seen = []

    def interrupt(done: int, total: int) -> None:
        seen.append((done, total))
        if done > total // 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        quantize_model(file, tmp_path / "out.gguf", choice, plan(file, choice), threads=2, progress=interrupt)
    assert len(seen) > 2
    assert [path.name for path in tmp_path.iterdir()] == ["in.gguf"]
