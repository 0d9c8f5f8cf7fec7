"""Copies metadata from one GGUF file to another, value for value and type for type."""

from collections.abc import Container
from typing import Any

import numpy as np
from gguf import GGUFValueType, GGUFWriter

from llmcore import _core


def copy_metadata(source: _core.GGUFFile, writer: GGUFWriter, *, leave_out: Container[str] = ()) -> None:
    """Adds all keys of `source` to a file that is being written, but those of `leave_out`.

    An empty array, which the writer cannot write and which says what a missing key does, is left out too.
    """
    for key, value in source.metadata.items():
        if key in leave_out or (not isinstance(value, str) and np.ndim(value) and len(value) == 0):
            continue
        number, is_array = source.value_type(key)
        kind = GGUFValueType(number)
        raw_key: Any = raw_text(key)
        if is_array:
            writer.add_key_value(raw_key, _plain(value), GGUFValueType.ARRAY, kind)
        else:
            writer.add_key_value(raw_key, _plain(value), kind)


def _plain(value: Any) -> Any:
    if isinstance(value, str):
        return raw_text(value)
    if isinstance(value, list):
        return [raw_text(text) for text in value]
    return value.tolist() if isinstance(value, np.ndarray) else value


def raw_text(text: str) -> bytes:
    """The bytes a file holds, which need not be UTF-8."""
    return text.encode("utf-8", "surrogateescape")
