"""Every check of the reader: what it refuses and that its message says what is wrong and where."""

from __future__ import annotations

import os
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from llmcore._core import GGUFFile
from llmcore.errors import GGUFError

Make = Callable[..., Any]
F32, I8, Q8_0 = 0, 24, 8
U32, BOOL, STRING, ARRAY, F64 = 4, 7, 8, 9, 12


def lengths(count: int) -> bytes:
    return struct.pack("<Q", count)


# Name: the file's making, and a part of the message.
REFUSED: dict[str, tuple[Callable[[Make], Any], str]] = {
    "magic": (
        lambda m: m(magic=b"GG\0\xff"),
        r"byte 0: not a GGUF file; got 'GG\\x00\\xff'; expected 'GGUF'",
    ),
    "version 1": (lambda m: m(version=1), "byte 4: the GGUF version is not supported; got 1; expected 2 or"),
    "version 4": (lambda m: m(version=4), "byte 4: the GGUF version is not supported; got 4"),
    "big-endian": (lambda m: m(version=3 << 24), "byte 4: the file's numbers are big-endian"),
    "tensor count": (
        lambda m: m(tensor_count=2**60),
        f"byte 8: the number of tensors is more than the file can hold; got {2**60}; expected at most 0",
    ),
    "key count": (
        lambda m: m(key_count=2**64 - 1),
        f"byte 16: the number of keys is more than the file can hold; got {2**64 - 1}",
    ),
    "key of no bytes": (
        lambda m: m().scalar(b"", U32, 1),
        "byte 24: the length of a key is out of range; got 0",
    ),
    "key too long": (
        lambda m: m().scalar(b"k" * 65536, U32, 1),
        "the length of a key is out of range; got 65536; expected 1 to 65535",
    ),
    "key not UTF-8": (lambda m: m().scalar(b"a\xffb", U32, 1), r"a key is not UTF-8; got 'a\\xffb'"),
    "key overlong UTF-8": (lambda m: m().scalar(b"\xc0\x80", U32, 1), "a key is not UTF-8"),
    "key with a surrogate": (lambda m: m().scalar(b"\xed\xa0\x80", U32, 1), "a key is not UTF-8"),
    "duplicate key": (
        lambda m: m().scalar(b"same", U32, 1).scalar(b"same", STRING, b"x"),
        "byte 52, key 'same': the key appears more than once",
    ),
    "value type": (
        lambda m: m().key(b"k", 13, b"\0" * 8),
        "byte 33, key 'k': the value's type is unknown; got 13; expected 0 to 12",
    ),
    "boolean": (
        lambda m: m().key(b"k", BOOL, b"\x02"),
        "byte 37, key 'k': a boolean is neither true nor false; got 2; expected 0 or 1",
    ),
    "boolean in an array": (
        lambda m: m().key(b"k", ARRAY, struct.pack("<IQ", BOOL, 3) + b"\0\1\xff"),
        "byte 51, key 'k': .*; got 255; expected 0 or 1",
    ),
    "string length": (
        lambda m: m().key(b"k", STRING, lengths(2**63) + b"abc"),
        f"byte 45, key 'k': the string runs past the end of the file; got {2**63} bytes; expected at most",
    ),
    "array's type": (
        lambda m: m().array(b"k", U32, [1]).key(b"q", ARRAY, struct.pack("<IQ", 99, 0)),
        "key 'q': the elements' type is unknown; got 99",
    ),
    "array in an array": (
        lambda m: m().key(b"k", ARRAY, struct.pack("<IQ", ARRAY, 1) + struct.pack("<IQ", U32, 0)),
        "byte 37, key 'k': arrays of arrays are not supported",
    ),
    "array count": (
        lambda m: m().array(b"k", F64, [1.0], count=2**61 + 1),
        f"byte 41, key 'k': the number of elements is more than the file can hold; got {2**61 + 1}",
    ),
    "string array count": (
        lambda m: m().array(b"k", STRING, [b"a"], count=2**40),
        "the number of elements is more than the file can hold",
    ),
    "string in an array": (
        lambda m: m().key(b"k", ARRAY, struct.pack("<IQ", STRING, 1) + lengths(10**6)),
        "key 'k': a string of the array runs past the end of the file; got 1000000 bytes",
    ),
    "alignment's type": (
        lambda m: m().scalar(b"general.alignment", STRING, b"32"),
        "key 'general.alignment': the alignment cannot be used; got string; expected a power of two",
    ),
    "tensor of no name": (
        lambda m: m().tensor(b"", [1], I8, b"x"),
        "byte 24: the length of a tensor's name is out of range; got 0",
    ),
    "duplicate tensor": (
        lambda m: m().tensor(b"w", [1], I8, b"x").tensor(b"w", [1], I8, b"y"),
        "tensor 'w': the name is taken",
    ),
    "no dimensions": (
        lambda m: m().tensor(b"w", [], I8, b"x"),
        "byte 33, tensor 'w': the number of dimensions is out of range; got 0; expected 1 to 4",
    ),
    "five dimensions": (
        lambda m: m().tensor(b"w", [1] * 5, I8, b"x"),
        "tensor 'w': the number of dimensions is out of range; got 5",
    ),
    "a dimension of zero": (
        lambda m: m().tensor(b"w", [4, 0], I8, b"x"),
        "byte 45, tensor 'w': a dimension is out of range; got 0",
    ),
    "element count overflow": (
        lambda m: m().tensor(b"w", [2**32, 2**31], I8, b"x"),
        f"tensor 'w': a dimension is out of range; got {2**31}; expected 1 to {2**31 - 1}",
    ),
    "element count wraps to nothing": (
        lambda m: m().tensor(b"w", [2**16, 2**16, 2**16, 2**16], I8, b"x"),
        "tensor 'w': a dimension is out of range; got 65536; expected 1 to 32767",
    ),
    "byte count overflow": (
        lambda m: m().tensor(b"w", [2**62], F32, b"x"),
        f"tensor 'w': the tensor is larger than the file; got {2**62} elements of F32",
    ),
    "tensor type": (lambda m: m().tensor(b"w", [32], 4, b"x"), "tensor 'w': .* type is unknown; got type 4"),
    "tensor type far off": (
        lambda m: m().tensor(b"w", [32], 2**32 - 1, b"x"),
        f"tensor 'w': the tensor's type is unknown; got type {2**32 - 1}",
    ),
    "row of part of a block": (
        lambda m: m().tensor(b"w", [48, 2], Q8_0, b"x" * 102),
        "tensor 'w': the rows are not whole blocks; got rows of 48; expected a multiple of 32 for Q8_0",
    ),
    "offset not aligned": (
        lambda m: m().tensor(b"w", [1], I8, b"x", offset=8),
        "tensor 'w': the tensor is not aligned; got offset 8; expected a multiple of 32",
    ),
    "offset outside": (
        lambda m: m().tensor(b"w", [1], I8, b"x", offset=2**63),
        f"tensor 'w': the tensor's data runs past the end of the file; got 1 byte at offset {2**63}",
    ),
    "offset that wraps": (
        lambda m: m().tensor(b"w", [64], I8, b"x", offset=2**64 - 32),
        "tensor 'w': the tensor's data runs past the end of the file",
    ),
    "data cut": (
        lambda m: m().tensor(b"w", [33], I8, b"x" * 32),
        "tensor 'w': the tensor's data runs past the end of the file; got 33 bytes at offset 0; expected",
    ),
    "overlap": (
        lambda m: m().tensor(b"v", [33], I8, b"x" * 33).tensor(b"w", [1], I8, b"x", offset=32),
        "tensor 'w': tensors share their data; got an overlap with 'v'",
    ),
    "same place": (
        lambda m: m().tensor(b"v", [1], I8, b"x").tensor(b"w", [1], I8, b"x", offset=0),
        "tensors share their data",
    ),
}


@pytest.mark.parametrize("value", [0, 1, 4, 24, 2**17])
def test_alignment_out_of_range(value: int, image: Make) -> None:
    message = f"key 'general.alignment': the alignment cannot be used; got {value}; expected a power of two"
    with pytest.raises(GGUFError, match=message):
        GGUFFile.from_bytes(image().scalar(b"general.alignment", U32, value).build())


@pytest.mark.parametrize("name", REFUSED)
def test_refused(name: str, image: Make) -> None:
    make, message = REFUSED[name]
    with pytest.raises(GGUFError, match=message) as caught:
        GGUFFile.from_bytes(make(image).build())
    assert str(caught.value).startswith("[gguf] <memory>, ")


def test_every_truncation_is_refused(sample: bytes) -> None:
    # The last 26 bytes pad the last tensor, which may lack.
    for size in range(len(sample) - 26):
        with pytest.raises(GGUFError, match=r"past the end of the file|than the file|magic"):
            GGUFFile.from_bytes(sample[:size])
    GGUFFile.from_bytes(sample[: len(sample) - 26])


def test_messages_escape_and_cut_names(image: Make) -> None:
    name = "\x1b[31m\u202e名\n".encode() + b"x" * 1000
    with pytest.raises(GGUFError) as caught:
        GGUFFile.from_bytes(image().key(name, 13, b"").build())
    message = str(caught.value)
    assert r"key '\x1b[31m\xe2\x80\xae名\x0axxx" in message
    assert f"x'... ({len(name)} bytes): " in message
    assert len(message) < 300
    assert "\n" not in message


def test_messages_name_the_file(tmp_path: Path) -> None:
    path = tmp_path / "模型\n.gguf"
    path.write_bytes(b"no GGUF at all")
    with pytest.raises(GGUFError, match=r"/模型\\x0a.gguf', byte 0: not a GGUF file; got 'no G'"):
        GGUFFile(path)


def test_files_that_are_none(tmp_path: Path) -> None:
    (tmp_path / "empty.gguf").touch()
    os.mkfifo(tmp_path / "pipe.gguf")
    refused = {
        tmp_path / "missing.gguf": "No such file or directory",
        tmp_path: "a directory",
        tmp_path / "empty.gguf": "an empty file",
        tmp_path / "pipe.gguf": "something other than a regular file",
        Path("/dev/null"): "something other than a regular file",
    }
    for path, reason in refused.items():
        with pytest.raises(GGUFError, match=rf"cannot read '{path}'; got {reason}; expected a GGUF file"):
            GGUFFile(path)
    with pytest.raises(GGUFError, match="<memory>, byte 0: the magic number runs past the end of the file"):
        GGUFFile.from_bytes(b"")
