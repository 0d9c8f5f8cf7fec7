"""Damaged, incomplete and hostile folders: one clear error each, and no file left behind."""

from __future__ import annotations

import contextlib
import json
import pickle
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from model_folders import ModelFolder, tiny_model, write_safetensors

from llmcore.errors import ModelError
from llmcore.tools.convert import convert
from llmcore.tools.convert.checkpoint import read_checkpoint
from llmcore.tools.convert.safetensors_file import read_safetensors
from llmcore.tools.convert.sentencepiece_model import read_sentencepiece


def refuse(folder: ModelFolder, message: str) -> None:
    with pytest.raises(ModelError, match=message):
        convert(folder.path, folder.path / "out.gguf")
    assert not list(folder.path.glob("out.gguf*"))


@pytest.fixture
def folder(make_folder: Callable[..., ModelFolder]) -> ModelFolder:
    return make_folder("llama")


def raw(header: object, data: bytes = b"") -> bytes:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + data


def entry(dtype: object = "F32", shape: object = (2,), offsets: object = (0, 8)) -> dict[str, Any]:
    return {"a": {"dtype": dtype, "shape": shape, "data_offsets": offsets}}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", r"is no safetensors file; got 0 bytes"),
        (b"\x01\x02", r"is no safetensors file; got 2 bytes"),
        (struct.pack("<Q", 100) + b"{}", r"header length of model.safetensors; got 100; expected at most 2"),
        (struct.pack("<Q", 1 << 63) + b"{}", r"header length of"),
        (raw(b"{"), r"header of model.safetensors is no JSON"),
        (raw(b"[" * 50_000), r"header of model.safetensors is no JSON"),
        (raw(b"\xff"), r"header of model.safetensors is no JSON"),
        (raw(b'{"a": 1, "a": 2}'), r"a name appears twice"),
        (raw([]), r"header of model.safetensors; got list"),
        (raw({"a": 3}), r"entry of tensor a .*; got int"),
        (raw(entry(dtype="Q4"), bytes(8)), r"type of tensor a in model.safetensors; got Q4"),
        (raw(entry(dtype=["F32"]), bytes(8)), r"type of tensor a"),
        (raw(entry(shape=-2), bytes(8)), r"shape of tensor a"),
        (raw(entry(shape=[-2]), bytes(8)), r"shape of tensor a"),
        (raw(entry(shape=[True, 2]), bytes(8)), r"shape of tensor a"),
        (raw(entry(shape=[1] * 9), bytes(8)), r"shape of tensor a"),
        (raw(entry(shape=[1 << 40, 1 << 40]), bytes(8)), r"bytes of tensor a"),
        (raw(entry(shape=[3]), bytes(8)), r"bytes of tensor a in model.safetensors; got 8"),
        (raw(entry(offsets=[0]), bytes(8)), r"offsets of tensor a"),
        (raw(entry(offsets=[8, 0]), bytes(8)), r"offsets of tensor a .*leave the file"),
        (raw(entry(offsets=[0, 16]), bytes(8)), r"offsets of tensor a .*leave the file"),
        (raw(entry(offsets=[-8, 0]), bytes(8)), r"offsets of tensor a"),
        (raw(entry(), bytes(12)), r"size of the tensors of model.safetensors; got 12; expected 8"),
        (raw(entry(offsets=[4, 12]), bytes(12)), r"overlap or leave a gap; got one at 4; expected 0"),
        (raw({**entry(), "b": entry()["a"]}, bytes(8)), r"overlap or leave a gap"),
    ],
)
def test_a_damaged_weight_file(folder: ModelFolder, content: bytes, message: str) -> None:
    (folder.path / "model.safetensors").write_bytes(content)
    refuse(folder, message)


def test_every_truncation_is_noticed(folder: ModelFolder) -> None:
    file = folder.path / "model.safetensors"
    content = file.read_bytes()
    for size in range(0, len(content), 9973):
        file.write_bytes(content[:size])
        with pytest.raises(ModelError):
            read_safetensors(file)


@settings(deadline=None, max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
def test_no_mutation_does_more_than_raise(tmp_path: Path, data: st.DataObject) -> None:
    """Any change to a header's bytes gives an error or a readable file."""
    file = tmp_path / "m.safetensors"
    write_safetensors(file, {"a": np.ones((2, 3), np.float32), "b": np.zeros(4, np.float16)})
    content = bytearray(file.read_bytes())
    for _ in range(data.draw(st.integers(1, 3))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    file.write_bytes(content)
    try:
        for tensor in read_safetensors(file).values():
            assert tensor.array().shape == tensor.shape
    except ModelError:
        pass


@settings(deadline=None, max_examples=200, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.binary(max_size=60))
def test_no_bytes_are_too_strange_for_the_piece_reader(tmp_path: Path, content: bytes) -> None:
    file = tmp_path / "tokenizer.model"
    file.write_bytes(content)
    with contextlib.suppress(ModelError):
        assert read_sentencepiece(file).pieces


@pytest.mark.parametrize(
    "name", ["../other.safetensors", "/etc/passwd", "a/b.safetensors", "..", "", "x.bin"]
)
def test_an_index_cannot_reach_out_of_the_folder(folder: ModelFolder, name: str) -> None:
    write_safetensors(folder.path.parent / "other.safetensors", folder.tensors)
    (folder.path / "model.safetensors").unlink()
    index = {"weight_map": dict.fromkeys(folder.tensors, name)}
    (folder.path / "model.safetensors.index.json").write_text(json.dumps(index))
    refuse(folder, r"file named in model.safetensors.index.json")


def test_shards_that_are_not_there(folder: ModelFolder) -> None:
    folder.write_shards(folder.path)
    shard = folder.path / "model-00002-of-00002.safetensors"
    shard.unlink()
    refuse(
        folder, r"lacks files that model.safetensors.index.json names; got model-00002-of-00002.safetensors"
    )
    write_safetensors(shard, {"model.norm.weight": folder.tensors["model.norm.weight"]})
    refuse(folder, r"the shards lack tensors that the index names|repeats tensors")


@pytest.mark.parametrize("index", [{}, {"weight_map": []}, {"weight_map": {"a": 3}}])
def test_an_index_that_is_none(folder: ModelFolder, index: object) -> None:
    (folder.path / "model.safetensors.index.json").write_text(json.dumps(index))
    refuse(folder, r"weight_map of model.safetensors.index.json")


class _Bomb:
    def __init__(self, target: Path) -> None:
        self.target = target

    def __reduce__(self) -> tuple[Any, ...]:
        return (Path.touch, (self.target,))


def test_a_pickle_is_refused_and_never_opened(folder: ModelFolder) -> None:
    (folder.path / "model.safetensors").unlink()
    (folder.path / "pytorch_model.bin").write_bytes(pickle.dumps(_Bomb(folder.path / "ran")))
    refuse(folder, r"only pickled weights, which can run code and are not opened; got pytorch_model.bin")
    assert not (folder.path / "ran").exists()


def test_code_in_the_folder_is_not_run(make_folder: Callable[..., ModelFolder]) -> None:
    folder = make_folder("qwen", auto_map={"AutoModelForCausalLM": "modeling_qwen.QWenLMHeadModel"})
    for name in ("modeling_qwen.py", "tokenization_qwen.py", "configuration_qwen.py"):
        (folder.path / name).write_text(f"open({str(folder.path / 'ran')!r}, 'w')")
    convert(folder.path, folder.path / "out.gguf")
    assert not (folder.path / "ran").exists()


def test_no_weights_and_no_configuration(folder: ModelFolder) -> None:
    (folder.path / "model.safetensors").unlink()
    refuse(folder, r"has no weights; expected model.safetensors or model.safetensors.index.json")
    (folder.path / "config.json").unlink()
    refuse(folder, r"is no model folder: it has no config.json")


@pytest.mark.parametrize(
    ("model_type", "name"),
    [
        ("llama", "model.layers.1.self_attn.k_proj.weight"),
        ("llama", "lm_head.weight"),
        ("llama", "model.norm.weight"),
        ("qwen3_moe", "model.layers.0.mlp.experts.2.up_proj.weight"),
        ("gemma3_text", "model.layers.1.self_attn.q_norm.weight"),
        ("chatglm", "transformer.encoder.layers.0.mlp.dense_h_to_4h.weight"),
    ],
)
def test_a_missing_tensor_is_named(
    make_folder: Callable[..., ModelFolder], model_type: str, name: str
) -> None:
    folder = make_folder(model_type)
    del folder.tensors[name]
    folder.write(folder.path)
    refuse(folder, rf"the checkpoint lacks tensors; got {name.replace('.', '[.]')}$")


def test_fewer_layers_and_experts_than_stated(make_folder: Callable[..., ModelFolder]) -> None:
    refuse(
        make_folder("mixtral", num_hidden_layers=2, num_local_experts=3),
        r"tensors that its architecture does",
    )
    folder = tiny_model("llama")
    folder.config["num_hidden_layers"] = 4
    folder.write(make_folder("llama").path)
    refuse(folder, r"the checkpoint lacks tensors; got model.layers.2.* and 13 more")


@pytest.mark.parametrize("name", ["model.layers.9.mlp.up_proj.weight", "model.layers.0.adapter.weight", "x"])
def test_a_tensor_too_many_is_named(folder: ModelFolder, name: str) -> None:
    folder.tensors[name] = np.zeros((2, 2), np.float32)
    folder.write(folder.path)
    refuse(folder, rf"tensors that its architecture does not know; got {name}$")


def test_types_and_shapes_that_cannot_be(make_folder: Callable[..., ModelFolder]) -> None:
    folder = make_folder("llama")
    whole = dict(folder.tensors)
    name = "model.layers.0.mlp.up_proj.weight"
    for wrong, message in (
        (np.zeros((96, 64), np.int64), rf"type of tensor {name}; got I64"),
        (np.zeros((96, 64), np.uint8), rf"type of tensor {name}; got U8"),
        (np.zeros((0, 64), np.float32), rf"tensor {name} is empty"),
        (np.zeros((), np.float32), rf"tensor {name} is empty"),
    ):
        folder.tensors = {**whole, name: wrong}
        folder.write(folder.path)
        refuse(folder, message)
    folder.tensors = {**whole, "model.layers.0.self_attn.q_proj.weight": np.zeros((60, 64), np.float32)}
    folder.write(folder.path)
    refuse(folder, r"rows of an attention weight; got 60")
    experts = make_folder("qwen3_moe")
    experts.tensors["model.layers.0.mlp.experts.1.up_proj.weight"] = np.zeros((31, 64), np.float32)
    experts.write(experts.path)
    refuse(experts, r"experts of blk.0.ffn_up_exps.weight are not of one shape")


def test_packed_experts_of_wrong_shapes(make_folder: Callable[..., ModelFolder]) -> None:
    folder = make_folder("gpt_oss", num_hidden_layers=1, quantization_config={"quant_method": "mxfp4"})
    name = "model.layers.0.mlp.experts.down_proj"
    del folder.tensors[name]
    folder.tensors[f"{name}_blocks"] = np.zeros((4, 64, 3, 16), np.uint8)
    folder.tensors[f"{name}_scales"] = np.zeros((4, 64, 2), np.uint8)
    folder.write(folder.path)
    refuse(folder, r"shapes of MXFP4 blocks and scales; got \[4, 64, 3, 16\] and \[4, 64, 2\]")


def test_weights_in_several_files_without_an_index(folder: ModelFolder) -> None:
    folder.write_shards(folder.path)
    (folder.path / "model.safetensors.index.json").unlink()
    assert read_checkpoint(folder.path).keys() == folder.tensors.keys()
    write_safetensors(
        folder.path / "model-00003.safetensors", {"lm_head.weight": np.zeros((2, 2), np.float32)}
    )
    refuse(folder, r"repeats tensors of another file; got lm_head.weight")
