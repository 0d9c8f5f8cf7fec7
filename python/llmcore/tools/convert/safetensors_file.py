"""Reads the safetensors format: 8 bytes of header length, a JSON header, the tensors' bytes.

https://huggingface.co/docs/safetensors. The format's own library gives NumPy no bfloat16, so the file is read
here: mapped into memory, and believed only after the header agrees with the file's size.
"""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from llmcore.tools.convert.errors import unusable

Array = npt.NDArray[Any]

_MAX_HEADER = 100_000_000  # the format's own limit
_MAX_DIMENSIONS = 8
_ITEM_BITS = {
    "F64": 64, "F32": 32, "F16": 16, "BF16": 16, "F8_E4M3": 8, "F8_E5M2": 8, "F8_E8M0": 8, "F4": 4,
    "I64": 64, "I32": 32, "I16": 16, "I8": 8, "U64": 64, "U32": 32, "U16": 16, "U8": 8, "BOOL": 8, "C64": 64,
}  # fmt: skip
# bfloat16 is not among NumPy's types: its bits are kept as they are.
_NUMPY = {"F32": "<f4", "F16": "<f2", "BF16": "<u2", "U8": "|u1"}


@dataclass(frozen=True)
class StoredTensor:
    """A tensor of a file. `dtype` is the format's name, such as BF16; `shape` is in row-major order."""

    name: str
    dtype: str
    shape: tuple[int, ...]
    bytes: npt.NDArray[np.uint8]

    def array(self) -> Array:
        """The values, mapped: float32, float16, uint8, or bfloat16's bits as uint16."""
        if self.dtype not in _NUMPY:
            raise unusable(f"type of tensor {self.name}", self.dtype, ", ".join(_NUMPY))
        return self.bytes.view(_NUMPY[self.dtype]).reshape(self.shape)


def read_safetensors(path: Path) -> dict[str, StoredTensor]:
    """The tensors of a file by name. Raises ModelError for a damaged or truncated file."""
    size = path.stat().st_size
    if size < 8:
        raise unusable(f"{path.name} is no safetensors file", f"{size} bytes", "at least 8")
    content = np.memmap(path, np.uint8, mode="r")
    header_size = int.from_bytes(content[:8].tobytes(), "little")
    if header_size > min(size - 8, _MAX_HEADER):
        limit = min(size - 8, _MAX_HEADER)
        raise unusable(f"header length of {path.name}", header_size, f"at most {limit} bytes")
    header = _parse(content[8 : 8 + header_size].tobytes(), path.name)
    data = content[8 + header_size :]
    header.pop("__metadata__", None)
    tensors = {name: _tensor(name, entry, data, path.name) for name, entry in header.items()}
    _check_layout(header, len(data), path.name)
    return tensors


def _parse(text: bytes, file: str) -> dict[str, Any]:
    try:
        header = json.loads(text, object_pairs_hook=_without_duplicates)
    except (ValueError, RecursionError) as error:
        raise unusable(f"header of {file} is no JSON: {error}") from error
    if not isinstance(header, dict):
        raise unusable(f"header of {file}", type(header).__name__, "a JSON object")
    return header


def _without_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    entries = dict(pairs)
    if len(entries) < len(pairs):
        raise ValueError("a name appears twice")
    return entries


def _is_size(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 1 << 62


def _tensor(name: str, entry: object, data: npt.NDArray[np.uint8], file: str) -> StoredTensor:
    where = f"tensor {name} in {file}"
    if not isinstance(entry, dict):
        raise unusable(f"entry of {where}", type(entry).__name__, "a JSON object")
    dtype, shape, offsets = (entry.get(key) for key in ("dtype", "shape", "data_offsets"))
    if not isinstance(dtype, str) or dtype not in _ITEM_BITS:
        raise unusable(f"type of {where}", dtype, ", ".join(_ITEM_BITS))
    if not isinstance(shape, list) or len(shape) > _MAX_DIMENSIONS or not all(map(_is_size, shape)):
        raise unusable(f"shape of {where}", shape, f"at most {_MAX_DIMENSIONS} sizes")
    if not isinstance(offsets, list) or len(offsets) != 2 or not all(map(_is_size, offsets)):
        raise unusable(f"offsets of {where}", offsets, "where it begins and ends")
    begin, end = offsets
    if not begin <= end <= len(data):
        raise unusable(f"offsets of {where} leave the file", offsets, f"at most {len(data)}")
    if (end - begin) * 8 != math.prod(shape) * _ITEM_BITS[dtype]:
        raise unusable(f"bytes of {where}", end - begin, f"what {dtype} of shape {shape} takes")
    return StoredTensor(name, dtype, tuple(shape), data[begin:end])


def _check_layout(header: dict[str, Any], size: int, file: str) -> None:
    """The format leaves no gaps and shares no bytes."""
    position = 0
    for begin, end in sorted(entry["data_offsets"] for entry in header.values()):
        if begin != position:
            raise unusable(f"tensors of {file} overlap or leave a gap", f"one at {begin}", position)
        position = end
    if position != size:
        raise unusable(f"size of the tensors of {file}", size, position)
