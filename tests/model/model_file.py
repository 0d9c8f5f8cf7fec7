"""GGUF models taken apart and put together with lies in them, and what it takes to try one."""

from __future__ import annotations

import re
import struct
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from gguf import GGML_QUANT_SIZES, GGMLQuantizationType, GGUFReader, GGUFValueType

from llmcore import LLM, SamplingParams
from llmcore.errors import GGUFError, InvalidArgumentError, ModelError

REFUSALS = (ModelError, GGUFError, InvalidArgumentError)

U32, I32, F32, F64 = GGUFValueType.UINT32, GGUFValueType.INT32, GGUFValueType.FLOAT32, GGUFValueType.FLOAT64
U64, I64, BOOL = GGUFValueType.UINT64, GGUFValueType.INT64, GGUFValueType.BOOL
STRING, ARRAY = GGUFValueType.STRING, GGUFValueType.ARRAY
_CODES = {U32: "I", I32: "i", F32: "f", F64: "d", U64: "Q", I64: "q", BOOL: "?"}
TENSOR_F32, TENSOR_F16 = GGMLQuantizationType.F32, GGMLQuantizationType.F16


def _text(value: str | bytes) -> bytes:
    raw = value.encode() if isinstance(value, str) else value
    return struct.pack("<Q", len(raw)) + raw


def _plain(kind: GGUFValueType, value: Any) -> bytes:
    return _text(value) if kind is STRING else struct.pack("<" + _CODES[kind], value)


@dataclass
class Tensor:
    """`shape` in the file's order: a row's length first."""

    shape: list[int]
    kind: GGMLQuantizationType
    data: bytes


@dataclass
class ModelFile:
    """A model file taken apart, so that single values can be replaced."""

    keys: dict[str, bytes]
    tensors: dict[str, Tensor]

    @classmethod
    def read(cls, path: Path) -> ModelFile:
        reader = GGUFReader(path)
        keys = {}
        for name, field in reader.fields.items():
            if not name.startswith("GGUF."):
                record = b"".join(part.tobytes() for part in field.parts)
                keys[name] = record[8 + len(name.encode()) :]
        tensors = {
            tensor.name: Tensor(tensor.shape.tolist(), tensor.tensor_type, tensor.data.tobytes())
            for tensor in reader.tensors
        }
        return cls(keys, tensors)

    def copy(self) -> ModelFile:
        tensors = {name: Tensor(list(t.shape), t.kind, t.data) for name, t in self.tensors.items()}
        return ModelFile(dict(self.keys), tensors)

    def set(self, key: str, kind: GGUFValueType, value: Any) -> None:
        self.keys[key] = struct.pack("<I", kind) + _plain(kind, value)

    def set_array(self, key: str, kind: GGUFValueType, values: list[Any]) -> None:
        head = struct.pack("<IIQ", ARRAY, kind, len(values))
        self.keys[key] = head + b"".join(_plain(kind, value) for value in values)

    def put(
        self, name: str, shape: list[int], kind: GGMLQuantizationType = TENSOR_F32, fill: float = 0.5
    ) -> None:
        """A tensor of the right size for its shape, all of one value (quantized: of one byte)."""
        elements, size = GGML_QUANT_SIZES[kind]
        n = int(np.prod(shape, dtype=np.int64))
        if kind in (TENSOR_F32, TENSOR_F16):
            with np.errstate(over="ignore"):
                data = np.full(n, fill, "<f4" if kind is TENSOR_F32 else "<f2").tobytes()
        else:
            data = b"\x21" * (n // elements * size)
        self.tensors[name] = Tensor(shape, kind, data)

    def write(self, path: Path) -> Path:
        head = b"GGUF" + struct.pack("<IQQ", 3, len(self.tensors), len(self.keys))
        head += b"".join(_text(name) + value for name, value in self.keys.items())
        data = b""
        for name, tensor in self.tensors.items():
            head += _text(name) + struct.pack("<I", len(tensor.shape))
            head += struct.pack(f"<{len(tensor.shape)}QIQ", *tensor.shape, tensor.kind, len(data))
            data += tensor.data + bytes(-len(tensor.data) % 32)
        path.write_bytes(head + bytes(-len(head) % 32) + data)
        return path


Change = Callable[[ModelFile], None]


def key(name: str, kind: GGUFValueType, value: Any) -> Change:
    return lambda file: file.set(name, kind, value)


def array(name: str, kind: GGUFValueType, values: list[Any]) -> Change:
    return lambda file: file.set_array(name, kind, values)


def no_key(name: str) -> Change:
    return lambda file: file.keys.pop(name) and None


def tensor(name: str, shape: list[int], kind: GGMLQuantizationType = TENSOR_F32, fill: float = 0.5) -> Change:
    return lambda file: file.put(name, shape, kind, fill)


def no_tensor(name: str) -> Change:
    return lambda file: file.tensors.pop(name) and None


def all_of(*changes: Change) -> Change:
    def change(file: ModelFile) -> None:
        for one in changes:
            one(file)

    return change


def peak_memory() -> int | None:
    """The most memory this process has had since the last call, in bytes; None where that is not told."""
    try:
        status = Path("/proc/self/status").read_text(encoding="ascii")
        Path("/proc/self/clear_refs").write_text("5", encoding="ascii")
    except OSError:
        return None
    found = re.search(r"VmHWM:\s+(\d+) kB", status)
    return int(found[1]) << 10 if found else None


def run(path: Path, prompt: list[int], *, n_ctx: int | None = None) -> np.ndarray:
    """Loads the model, encodes, computes logits and generates; the logits."""
    with LLM(path, threads=1, max_batch=2, n_ctx=n_ctx) as llm:
        llm.tokenizer.decode(llm.tokenizer.encode("ba be \N{SNOWMAN}"))
        logits = llm.logits(prompt)
        params = SamplingParams(max_tokens=3, temperature=0.0, ignore_eos=True)
        (completion,) = llm.generate([prompt], params)
        assert 1 <= len(completion.token_ids) <= 3
        assert llm.model_info.kv_bytes > 0
    return logits
