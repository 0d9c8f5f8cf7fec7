"""Makes GGUF files byte by byte, so that tests can write what no proper writer would."""

from __future__ import annotations

import struct
from collections.abc import Callable
from dataclasses import dataclass, field

import pytest

U8, I8, U16, I16, U32, I32, F32, BOOL, STRING, ARRAY, U64, I64, F64 = range(13)
NUMBER_CODES = {
    U8: "B", I8: "b", U16: "H", I16: "h", U32: "I", I32: "i", F32: "f", BOOL: "?", U64: "Q", I64: "q",
    F64: "d",
}  # fmt: skip


def text(value: bytes) -> bytes:
    """A GGUF string: its length in 8 bytes, then its bytes."""
    return struct.pack("<Q", len(value)) + value


def plain(kind: int, value: object) -> bytes:
    """A number, boolean or string without its type."""
    if kind == STRING:
        assert isinstance(value, bytes)
        return text(value)
    return struct.pack("<" + NUMBER_CODES[kind], value)


@dataclass
class Image:
    """A GGUF file under construction. Whatever is set to None is worked out from the rest."""

    magic: bytes = b"GGUF"
    version: int = 3
    tensor_count: int | None = None
    key_count: int | None = None
    alignment: int = 32
    keys: list[bytes] = field(default_factory=list)
    infos: list[bytes] = field(default_factory=list)
    data: bytes = b""

    def key(self, name: bytes, kind: int, payload: bytes) -> Image:
        """Appends a key whose value's type is `kind` and whose value is `payload` as it stands."""
        self.keys.append(text(name) + struct.pack("<I", kind) + payload)
        return self

    def scalar(self, name: bytes, kind: int, value: object) -> Image:
        return self.key(name, kind, plain(kind, value))

    def array(self, name: bytes, kind: int, values: list[object], count: int | None = None) -> Image:
        head = struct.pack("<IQ", kind, len(values) if count is None else count)
        return self.key(name, ARRAY, head + b"".join(plain(kind, value) for value in values))

    def tensor(
        self, name: bytes, shape: list[int], kind: int, data: bytes, *, offset: int | None = None
    ) -> Image:
        """Appends a tensor's description and its data, padded to the alignment."""
        at = len(self.data) if offset is None else offset
        self.infos.append(
            text(name)
            + struct.pack("<I", len(shape))
            + struct.pack(f"<{len(shape)}Q", *shape)
            + struct.pack("<IQ", kind, at)
        )
        self.data += data + bytes(-len(data) % self.alignment)
        return self

    def build(self) -> bytes:
        tensors = len(self.infos) if self.tensor_count is None else self.tensor_count
        keys = len(self.keys) if self.key_count is None else self.key_count
        head = self.magic + struct.pack("<IQQ", self.version, tensors, keys)
        head += b"".join(self.keys) + b"".join(self.infos)
        return head + bytes(-len(head) % self.alignment) + self.data


@pytest.fixture(scope="session")
def image() -> Callable[..., Image]:
    """The class Image."""
    return Image


@pytest.fixture(scope="session")
def sample() -> bytes:
    """A small file with a key of every type, an array of every type, and three tensors."""
    made = Image()
    values: dict[int, object] = {U8: 200, I8: -100, U16: 60000, I16: -30000, U32: 4 * 10**9, I32: -2 * 10**9}
    values |= {F32: 1.5, BOOL: True, STRING: "名".encode(), U64: 2**63 + 1, I64: -(2**62), F64: 1e300}
    for kind, value in values.items():
        made.scalar(b"scalar.%d" % kind, kind, value)
        made.array(b"array.%d" % kind, kind, [value] * 3)
    made.array(b"array.empty", F32, [])
    made.scalar(b"general.alignment", U32, 32)
    made.tensor(b"a", [4, 2], 0, struct.pack("<8f", *range(8)))
    made.tensor(b"b", [32], 8, bytes(range(34)))
    made.tensor(b"c", [2, 1, 1, 3], 24, bytes(6))
    return made.build()
