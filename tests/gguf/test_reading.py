"""What a sound GGUF file gives: every type, both versions, split files, memory."""

from __future__ import annotations

import gc
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import pytest

from llmcore._core import GGUFFile
from llmcore.errors import GGUFError, ModelError

SCALARS: dict[str, Any] = {
    "uint8": 255, "int8": -128, "uint16": 65535, "int16": -32768, "uint32": 2**32 - 1, "int32": -(2**31),
    "uint64": 2**64 - 1, "int64": -(2**63), "float32": 0.25, "float64": 0.1, "bool": True,
    "string": "héllo 世界",
}  # fmt: skip


def write(path: Path, scalars: dict[str, Any], tensors: dict[str, np.ndarray], **options: Any) -> None:
    writer = gguf.GGUFWriter(path, "llama", **options)
    for name, value in scalars.items():
        getattr(writer, f"add_{name}")(f"test.{name}", value)
    writer.add_array("test.strings", ["", "a", "日本語"])
    writer.add_array("test.ints", [1, -2, 3])
    writer.add_array("test.floats", [0.5, -1.5])
    writer.add_array("test.bools", [True, False])
    for name, array in tensors.items():
        writer.add_tensor(name, array)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def random_tensors(count: int) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(1)
    return {f"blk.{i}.weight": rng.standard_normal((i + 2, 8)).astype(np.float32) for i in range(count)}


def test_metadata_types_of_the_gguf_package(tmp_path: Path) -> None:
    write(tmp_path / "m.gguf", SCALARS, {})
    file = GGUFFile(tmp_path / "m.gguf")
    assert file.version == 3
    for name, value in SCALARS.items():
        read = file.get(f"test.{name}")
        assert read == value
        assert type(read) is type(value)
    assert file.get("test.strings") == ["", "a", "日本語"]
    assert file.get("test.ints").tolist() == [1, -2, 3]
    assert file.get("test.floats").dtype == np.float32
    assert file.get("test.bools").dtype == np.bool_
    assert file.keys() == list(file.metadata)
    assert file.metadata["general.architecture"] == "llama"
    assert file.tensors == []


@pytest.mark.parametrize("version", [2, 3])
def test_every_element_type(sample: bytes, version: int) -> None:
    file = GGUFFile.from_bytes(sample[:4] + struct.pack("<I", version) + sample[8:])
    assert file.version == version
    dtypes = {0: "u1", 1: "i1", 2: "u2", 3: "i2", 4: "u4", 5: "i4", 6: "f4", 7: "?"}
    dtypes |= {10: "u8", 11: "i8", 12: "f8"}
    for kind, dtype in dtypes.items():
        array = file.get(f"array.{kind}")
        assert array.dtype == np.dtype(dtype)
        assert array.tolist() == [file.get(f"scalar.{kind}")] * 3
    assert file.get("array.8") == ["名"] * 3
    assert file.get("array.empty").shape == (0,)
    assert [(t.name, t.type, t.shape, t.n_bytes) for t in file.tensors] == [
        ("a", "F32", (4, 2), 32),
        ("b", "Q8_0", (32,), 34),
        ("c", "I8", (2, 1, 1, 3), 6),
    ]
    assert repr(file.tensors[1]) == "<GGUFTensor 'b' Q8_0 (32,)>"
    assert file.tensor_bytes("a").view(np.float32).tolist() == list(range(8))
    assert file.tensor_bytes("b").tolist() == list(range(34))


def test_absent_keys_and_tensors(sample: bytes) -> None:
    file = GGUFFile.from_bytes(sample)
    assert file.get("absent") is None
    assert file.get("absent", 7) == 7
    with pytest.raises(ModelError, match="'absent'"):
        file.tensor_bytes("absent")


def test_bytes_that_are_not_utf8_come_back_unchanged(image: Callable[..., Any]) -> None:
    data = image().scalar(b"k", 8, b"\xff\x00\xe4\xb8").array(b"a", 8, [b"\x80", b""]).build()
    file = GGUFFile.from_bytes(data)
    assert file.get("k").encode("utf-8", "surrogateescape") == b"\xff\x00\xe4\xb8"
    assert [s.encode("utf-8", "surrogateescape") for s in file.get("a")] == [b"\x80", b""]


def test_tensors_of_the_gguf_package(tmp_path: Path) -> None:
    tensors = random_tensors(5) | {"half": np.ones((3, 4), np.float16), "int": np.arange(5, dtype=np.int64)}
    write(tmp_path / "m.gguf", {}, tensors)
    file = GGUFFile(tmp_path / "m.gguf")
    assert [t.name for t in file.tensors] == list(tensors)
    on_disk = (tmp_path / "m.gguf").read_bytes()
    for info in file.tensors:
        array = tensors[info.name]
        assert info.shape == array.shape[::-1]
        assert file.tensor_bytes(info.name).tobytes() == array.tobytes()
        assert on_disk[info.file_offset : info.file_offset + info.n_bytes] == array.tobytes()
    assert file.file_bytes == len(on_disk)
    assert file.paths == [tmp_path / "m.gguf"]


# The package gives Q8_1, an activation format that no model file holds, its former size.
BLOCKS = gguf.GGML_QUANT_SIZES | {gguf.GGMLQuantizationType.Q8_1: (32, 36)}
KNOWN_TYPES = [kind for kind in gguf.GGMLQuantizationType if kind.value <= 39]


@pytest.mark.parametrize("kind", KNOWN_TYPES, ids=lambda kind: kind.name)
def test_every_tensor_type(image: Callable[..., Any], kind: gguf.GGMLQuantizationType) -> None:
    block_elements, block_bytes = BLOCKS[kind]
    data = bytes(i % 251 for i in range(6 * block_bytes))
    file = GGUFFile.from_bytes(image().tensor(b"t", [2 * block_elements, 3], kind.value, data).build())
    assert file.tensors[0].type == kind.name
    assert file.tensors[0].n_bytes == len(data)
    assert file.tensor_bytes("t").tobytes() == data


@pytest.mark.parametrize("alignment", [8, 64, 65536])
def test_alignment(image: Callable[..., Any], alignment: int) -> None:
    made = image(alignment=alignment).scalar(b"general.alignment", 4, alignment)
    made.tensor(b"a", [3], 24, b"abc").tensor(b"b", [5], 24, b"fghij")
    file = GGUFFile.from_bytes(made.build())
    assert file.tensor_bytes("a").tobytes() == b"abc"
    assert file.tensor_bytes("b").tobytes() == b"fghij"
    assert [t.file_offset % alignment for t in file.tensors] == [0, 0]


def test_last_tensor_needs_no_padding(image: Callable[..., Any]) -> None:
    data = image().tensor(b"a", [3], 24, b"abc").build()
    assert GGUFFile.from_bytes(data[: -32 + 3]).tensor_bytes("a").tobytes() == b"abc"


def test_tensor_bytes_are_a_read_only_view_that_outlives_the_file(tmp_path: Path) -> None:
    tensors = random_tensors(1)
    write(tmp_path / "m.gguf", {}, tensors)
    file = GGUFFile(tmp_path / "m.gguf")
    info = file.tensors[0]
    view = file.tensor_bytes(info.name)
    del file
    gc.collect()
    assert not view.flags.writeable
    assert view.tobytes() == tensors[info.name].tobytes()
    assert info.name == "blk.0.weight"


def test_from_bytes_copies(sample: bytes) -> None:
    buffer = bytearray(sample)
    file = GGUFFile.from_bytes(memoryview(buffer))
    buffer[:] = bytes(len(buffer))
    assert file.get("scalar.4") == 4 * 10**9
    assert file.paths == []
    assert file.file_bytes == len(sample)
    with pytest.raises(TypeError):
        GGUFFile.from_bytes("text")  # type: ignore[arg-type]


@pytest.mark.parametrize("named", [1, 2, 3])
def test_split_files_open_from_any_part(tmp_path: Path, named: int) -> None:
    tensors = random_tensors(5)
    write(tmp_path / "m.gguf", SCALARS, tensors, split_max_tensors=2)
    parts = [tmp_path / f"m-0000{i}-of-00003.gguf" for i in (1, 2, 3)]
    file = GGUFFile(parts[named - 1])
    assert file.paths == parts
    assert file.file_bytes == sum(p.stat().st_size for p in parts)
    assert file.get("test.string") == SCALARS["string"]
    assert [t.name for t in file.tensors] == list(tensors)
    assert [t.part for t in file.tensors] == [0, 0, 1, 1, 2]
    for name, array in tensors.items():
        assert file.tensor_bytes(name).tobytes() == array.tobytes()


def part(image: Callable[..., Any], no: int, count: int, tensor: bytes, total: int | None = None) -> bytes:
    made = image().scalar(b"split.no", 2, no).scalar(b"split.count", 2, count)
    if total is not None:
        made.scalar(b"split.tensors.count", 5, total)
    made.tensor(tensor, [2], 24, b"xy")
    data: bytes = made.build()
    return data


def test_damaged_splits(tmp_path: Path, image: Callable[..., Any]) -> None:
    first, second = tmp_path / "m-00001-of-00002.gguf", tmp_path / "m-00002-of-00002.gguf"
    first.write_bytes(part(image, 0, 2, b"a", total=2))
    with pytest.raises(
        GGUFError, match=r"a part of a split model is missing; got no file '.*-00002-of-00002.gguf'"
    ):
        GGUFFile(first)
    with pytest.raises(GGUFError, match="split model cannot be read from memory; got one of 2 parts"):
        GGUFFile.from_bytes(first.read_bytes())
    second.write_bytes(part(image, 1, 2, b"b"))
    assert [t.name for t in GGUFFile(second).tensors] == ["a", "b"]
    short = image().scalar(b"split.no", 2, 1).scalar(b"split.count", 2, 2).build()
    for wrong, message in {
        part(image, 0, 2, b"b"): "00002.gguf': the file is not the part that its name says; got part 1 of 2",
        part(image, 1, 3, b"b"): "got part 2 of 3; expected part 2 of 2",
        part(image, 1, 2, b"a"): "m-00002-of-00002.gguf', tensor 'a': the name is taken",
        short: "the parts do not hold all tensors; got 1; expected 2",
    }.items():
        second.write_bytes(wrong)
        with pytest.raises(GGUFError, match=message):
            GGUFFile(first)
    (tmp_path / "renamed.gguf").write_bytes(first.read_bytes())
    with pytest.raises(
        GGUFError, match=r"part 1 of 2 .* got 'renamed.gguf'; expected .*'-00001-of-00002.gguf'$"
    ):
        GGUFFile(tmp_path / "renamed.gguf")


def test_split_numbers_that_cannot_be(tmp_path: Path, image: Callable[..., Any]) -> None:
    path = tmp_path / "m-00001-of-00002.gguf"
    for made, message in [
        (image().scalar(b"split.count", 5, -1), "'split.count': the value cannot be used; got -1"),
        (image().scalar(b"split.count", 4, 10**5), "'split.count': the value cannot be used; got 100000"),
        (image().scalar(b"split.count", 8, b"2"), "'split.count': the value cannot be used; got string"),
        (image().scalar(b"split.count", 2, 2).scalar(b"split.no", 2, 2), "'split.no': .*; got 2; expected"),
    ]:
        path.write_bytes(made.build())
        with pytest.raises(GGUFError, match=message):
            GGUFFile(path)


def test_agrees_with_the_gguf_package_on_real_files(test_data: Path) -> None:
    for name in ["vocab/ggml-vocab-llama-spm.gguf", "models/stories260K.gguf"]:
        path = test_data / name
        reader, file = gguf.GGUFReader(path), GGUFFile(path)
        fields = {name: field for name, field in reader.fields.items() if not name.startswith("GGUF.")}
        assert list(fields) == file.keys()
        for key, field in fields.items():
            value = file.get(key)
            assert (value.tolist() if isinstance(value, np.ndarray) else value) == field.contents()
        assert [t.name for t in reader.tensors] == [t.name for t in file.tensors]
        for tensor in reader.tensors:
            assert file.tensor_bytes(tensor.name).tobytes() == tensor.data.tobytes()
