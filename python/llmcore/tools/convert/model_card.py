"""General metadata: name, licence, languages and suggested sampling, as far as the folder states them."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import gguf
from gguf import GGUFWriter, Metadata

from llmcore.tools.convert.config import Config
from llmcore.tools.convert.tensor_plan import PlannedTensor
from llmcore.tools.convert.vocabulary import Warn

_MAX_CARD = 16 << 20


def add_general_metadata(
    writer: GGUFWriter, folder: Path, tensors: Sequence[PlannedTensor], config: Config, warn: Warn
) -> None:
    """Adds `general.*` from the model card, the folder's name and generation_config.json.

    A model card is free text: what of it cannot be read or is of the wrong type is left out.
    """
    total = sum(math.prod(tensor.shape) for tensor in tensors)
    metadata = Metadata()
    card = folder / "README.md"
    try:
        if card.is_file() and card.stat().st_size > _MAX_CARD:
            raise ValueError("it is too large")
        metadata = Metadata.load(None, folder, None, total)
    except Exception as error:  # whatever the YAML reader and the heuristics make of hostile text
        warn(f"the model card is left out: {error}")
    for field in dataclasses.fields(metadata):
        value = getattr(metadata, field.name)
        if value is not None and not _is_sound(value, str(field.type)):
            warn(f"{field.name} of the model card is left out: it is of the wrong type")
            setattr(metadata, field.name, None)
    if metadata.name is None:
        metadata.name = folder.resolve().name
    if metadata.size_label is None:
        metadata.size_label = _size_label(tensors, total, config)
    metadata.set_gguf_meta_model(writer)


def _is_sound(value: Any, kind: str) -> bool:
    """Whether a value fits a field of that annotation, and a GGUF file."""
    if "list[dict]" in kind:
        return isinstance(value, list) and all(
            isinstance(entry, dict) and all(_is_text(part) for part in (*entry, *entry.values()))
            for entry in value
        )
    if "list[str]" in kind:
        return isinstance(value, list) and all(map(_is_text, value))
    if "int" in kind:
        return isinstance(value, int) and not isinstance(value, bool) and -(1 << 31) <= value < 1 << 31
    if "float" in kind:
        return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < 1e30
    return _is_text(value)


def _is_text(value: object) -> bool:
    try:
        return isinstance(value, str) and value.encode("utf-8") is not None
    except UnicodeEncodeError:
        return False


def _size_label(tensors: Sequence[PlannedTensor], total: int, config: Config) -> str:
    """Parameters in short, such as 8B, or 8x7B for experts."""
    experts = [math.prod(tensor.shape) for tensor in tensors if "_exps.weight" in tensor.name]
    count = config.size("num_local_experts", "num_experts", default=1) if experts else 0
    one = sum(experts) // max(count, 1)
    return gguf.size_label(total, total - sum(experts), one, count)
