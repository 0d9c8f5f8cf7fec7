"""What the answers share: nothing in them is left undescribed."""

from __future__ import annotations

from typing import Annotated, Any

from msgspec import Meta, Struct

Whole = Annotated[int, Meta(ge=0)]
"""Counts, indices, seconds since the epoch."""
Nothing = Annotated[list[Any], Meta(max_length=0)]


class Strict(Struct, frozen=True, forbid_unknown_fields=True):
    """An object that has no other fields than these; those that may be absent are `UNSET`. What tells its
    kind is its tag, since a schema asks for no field that has a default."""


class TokenTotals(Strict, frozen=True):
    """Tokens of one request; the end token counts."""

    prompt_tokens: Whole
    completion_tokens: Whole
    total_tokens: Whole
