"""How this package words what is wrong with a folder."""

from __future__ import annotations

from collections.abc import Collection

from llmcore.errors import ModelError

_SHOWN = 5


def unusable(what: str, got: object = None, expected: object = None) -> ModelError:
    """The error to raise for a folder that cannot be converted."""
    message = f"[convert] {what}"
    if got is not None:
        message += f"; got {str(got)[:300]}"
    if expected is not None:
        message += f"; expected {expected}"
    return ModelError(message)


def some(names: Collection[str]) -> str:
    """The first few names, and how many there are beside them."""
    shown = ", ".join(sorted(names)[:_SHOWN])
    return shown if len(names) <= _SHOWN else f"{shown} and {len(names) - _SHOWN} more"
