"""LoRA adapters: how they are named to an engine, and what it tells of those it has."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping, Sequence
from pathlib import Path

import msgspec

from llmcore import _core
from llmcore.engine_options import file_path
from llmcore.errors import InvalidArgumentError
from llmcore.value_checks import is_number, is_word, refusal


class LoraInfo(msgspec.Struct, frozen=True):
    """An adapter that requests may name."""

    name: str
    path: str
    scale: float
    """What the file's own scale, alpha / rank, is multiplied by."""
    rank: int
    """The largest of its matrices' ranks."""
    matrices: int
    """How many of the model's matrices it changes."""
    bytes: int
    """In memory."""


class LoraSource(msgspec.Struct, frozen=True):
    """An adapter's name, its file and its scale."""

    name: str
    path: str | Path
    scale: float = 1.0


LoraSources = Mapping[str, str | Path | tuple[str | Path, float]] | Sequence[str | LoraSource]
"""Adapters to load: `{name: path}` or `{name: (path, scale)}`; or a list of `LoraSource` and of texts as
`parse_lora` takes them."""


def parse_lora(text: str) -> LoraSource:
    """Reads `[NAME=]PATH[:SCALE]`; without a name it is the file's, without its suffix.

    What follows the last colon is a scale if it is a number. Raises InvalidArgumentError for an empty name or
    path.
    """
    name, separator, path = text.partition("=")
    if not separator:
        name, path = "", text
    scale = 1.0
    head, colon, tail = path.rpartition(":")
    if colon:
        with contextlib.suppress(ValueError):
            scale = float(tail)
            path = head
    name = name if separator else Path(path).stem
    if not name or not path:
        raise InvalidArgumentError(f"[lora] adapter; got {text!r}; expected [NAME=]PATH[:SCALE]")
    return LoraSource(name, path, scale)


def lora_sources(adapters: LoraSources) -> list[LoraSource]:
    """The adapters that an engine's `lora` asks for. Raises InvalidArgumentError for names that are equal,
    and for what names no file."""
    try:
        if isinstance(adapters, str):
            raise TypeError
        if isinstance(adapters, Mapping):
            found = [
                LoraSource(name, *given) if isinstance(given, tuple) else LoraSource(name, given)
                for name, given in adapters.items()
            ]
        else:
            found = [one if isinstance(one, LoraSource) else parse_lora(one) for one in adapters]
    except (TypeError, AttributeError):
        raise refusal("lora", "adapters", adapters, "a list or a mapping") from None
    for source in found:
        check_source(source)
    names = [source.name for source in found]
    if len(set(names)) < len(names):
        raise InvalidArgumentError(f"[lora] names of adapters; got {', '.join(names)}; expected each once")
    return found


def check_source(source: LoraSource) -> None:
    """Raises InvalidArgumentError for a name, a path or a scale that is none."""
    if not is_word(source.name):
        raise refusal("lora", "name of an adapter", source.name, "a text")
    file_path("path of an adapter", source.path)
    if not is_number(source.scale):
        raise refusal("lora", "scale of an adapter", source.scale, "a number")


def read_adapters(core: _core.Engine) -> tuple[LoraInfo, ...]:
    """The adapters an engine has now, by name."""
    return tuple(
        LoraInfo(name, str(path), scale, rank, matrices, size)
        for name, path, scale, rank, matrices, size in core.adapters()
    )
