"""Tells values that can be taken from others, NumPy's scalars among them, and words the refusal."""

from __future__ import annotations

import numbers
from typing import Any

from llmcore.errors import InvalidArgumentError

_LONGEST_VALUE = 200


def refusal(component: str, what: str, got: object, expected: str) -> InvalidArgumentError:
    """The error for a value that cannot be taken, to be raised: one line, however long the value is."""
    return InvalidArgumentError(f"[{component}] {what}; got {_shown(got)}; expected {expected}")


def _shown(value: object) -> str:
    try:
        text = repr(value)
    except Exception:
        # Integers of thousands of digits have none.
        text = f"a value of type {type(value).__name__}"
    text = " ".join(text.splitlines())
    return text if len(text) <= _LONGEST_VALUE else f"{text[:_LONGEST_VALUE]}…"


def is_unicode(text: str) -> bool:
    """Whether a text can be written as UTF-8: one with lone surrogates cannot."""
    if text.isascii():
        return True
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def is_word(value: object) -> bool:
    """A text that can be written as UTF-8."""
    return isinstance(value, str) and is_unicode(value)


def is_integer(value: Any, least: int, most: int) -> bool:
    """An integer in that range; truth values are none."""
    integer = isinstance(value, numbers.Integral) and not isinstance(value, bool)
    return integer and least <= int(value) <= most


def is_number(value: object) -> bool:
    """A real number of any size; truth values are none."""
    return isinstance(value, numbers.Real) and not isinstance(value, bool)


def is_flag(value: object) -> bool:
    """A truth value, or an integer that stands for one."""
    # NumPy's are no numbers, and NumPy takes long to import.
    return isinstance(value, numbers.Integral) or type(value).__name__ in ("bool", "bool_")
