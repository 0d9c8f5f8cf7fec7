"""Fields within a body's objects that its structs do not have: they change nothing, and clients are told."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import islice
from typing import Any
from urllib.parse import quote

import msgspec
from msgspec import Struct
from msgspec.inspect import ListType, Metadata, StructType, Type, UnionType

_LONGEST_NAME = 64
# Enough for a header, which lists fewer; a body may hold a million.
_MOST_WITHIN = 64


@dataclass(frozen=True)
class Shape:
    """The names of an object's fields, and the shapes of those that hold objects or lists of them.

    ``strict`` decodes such an object, or a list of them, and fails if one has other fields.
    """

    names: frozenset[str]
    inner: dict[str, Shape]
    twin: type[Struct]
    strict: msgspec.json.Decoder[Any]


def shape_of(body_type: type[Struct]) -> Shape:
    """Return the shape of a body."""
    shape = _shape(msgspec.inspect.type_info(body_type))
    assert shape is not None
    return shape


def header_name(name: str) -> str:
    """Return a field's name as a header can hold it."""
    return quote(name, safe="")[:_LONGEST_NAME]


def ignored_within(name: str, value: msgspec.Raw, shape: Shape) -> list[str]:
    """Return the fields within one of a body's, which has this shape, by paths as ``messages[0].name``."""
    try:
        # Ordinary bodies have none, and their messages need not become Python's objects once more.
        shape.strict.decode(value)
    except msgspec.ValidationError:
        found: list[str] = []
        _look(msgspec.json.decode(value), shape, name, found)
        return found
    return []


def _look(value: Any, shape: Shape, where: str, found: list[str]) -> None:
    """Add the paths of unknown fields, ``where`` before them."""
    if isinstance(value, list):
        for number, item in enumerate(value):
            if len(found) >= _MOST_WITHIN:
                break
            _look(item, shape, f"{where}[{number}]", found)
    elif isinstance(value, dict):
        unknown = (name for name, part in value.items() if name not in shape.names and part is not None)
        found += [f"{where}.{header_name(name)}" for name in islice(unknown, _MOST_WITHIN)]
        for name, inner in shape.inner.items():
            _look(value.get(name), inner, f"{where}.{name}", found)


def _shape(kind: Type) -> Shape | None:
    if isinstance(kind, Metadata):
        return _shape(kind.type)
    if isinstance(kind, ListType):
        return _shape(kind.item_type)
    if isinstance(kind, UnionType):
        return next(filter(None, map(_shape, kind.types)), None)
    if not isinstance(kind, StructType):
        return None
    shapes = {field.encode_name: _shape(field.type) for field in kind.fields}
    inner = {name: shape for name, shape in shapes.items() if shape is not None}
    fields = [(name, _loose(shape.twin) if shape else msgspec.Raw, None) for name, shape in shapes.items()]
    twin = msgspec.defstruct(kind.cls.__name__, fields, forbid_unknown_fields=True)
    return Shape(frozenset(shapes), inner, twin, msgspec.json.Decoder(_loose(twin)))


def _loose(twin: type[Struct]) -> Any:
    """An object, a list of them, or what may be in their place: the body's own type tells what is right."""
    return twin | list[twin] | str | None  # type: ignore[valid-type]
