"""The options that a model is loaded with, checked before anything is read."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from llmcore import default_model
from llmcore.value_checks import is_flag, is_integer, is_number, is_word, refusal

# More are seldom right, and each is a row of the step.
_MAX_GUESSES = 32

_COUNT = (1, (1 << 31) - 1, True, "1 or more, or None")
_SIZE = (1, (1 << 62) - 1, True, "bytes, 1 or more, or None")
# The least, the most, whether None is taken, and how to say so.
_INTEGERS = {
    "threads": _COUNT,
    "n_ctx": _COUNT,
    "max_batch": _COUNT,
    "max_queue": _COUNT,
    "kv_budget": _SIZE,
    "kv_spill_ram": _SIZE,
    "kv_cache_dir_limit": _SIZE,
    "prompt_lookup": (0, _MAX_GUESSES, False, f"0 to {_MAX_GUESSES}"),
    "draft_tokens": (1, _MAX_GUESSES, False, f"1 to {_MAX_GUESSES}"),
}
_WORDS = {
    "device": "auto, cpu or cuda",
    "kv_cache_type": "f16, f32, bf16, q8_0 or q4_0",
    "quantization": "a type such as q4_0 or Q4_K_M, or None",
}
_FLAGS = ("prefix_cache", "deterministic", "mmap")


def check_options(**options: Any) -> None:
    """Raises InvalidArgumentError for the first option whose type or range is wrong. What words stand for is
    the core's to know."""
    for name, value in options.items():
        if name in _INTEGERS:
            _check_integer(name, value)
        elif name in _WORDS:
            if not (is_word(value) or (value is None and name == "quantization")):
                raise refusal("engine", name, value, _WORDS[name])
        elif name in _FLAGS:
            if not is_flag(value):
                raise refusal("engine", name, value, "True or False")
        elif name == "gpu_layers":
            if not (is_integer(value, -(1 << 63), (1 << 63) - 1) or is_word(value)):
                raise refusal("engine", name, value, "a number from 0, auto or all")
        elif name == "max_itl_ms":
            if value is not None and not (is_number(value) and 1 <= value <= 1e6):
                raise refusal("engine", name, value, "1 to 1000000, or None")
        else:
            raise AssertionError(name)


def model_path(model: str | Path | None) -> Path:
    """The file of the model to load; see `llmcore.default_model.locate`.

    Raises InvalidArgumentError for what is no path.
    """
    if model is not None:
        file_path("model", model, "the path of a GGUF file, or None for the embedded model")
    return default_model.locate(model)


def file_path(name: str, path: Any, expected: str = "a path") -> Path:
    """The path that an option gives. Raises InvalidArgumentError for what is none."""
    try:
        found = Path(path)
        encoded = os.fsencode(found)
    except (TypeError, ValueError):
        raise refusal("engine", name, path, expected) from None
    if not path or b"\0" in encoded:
        raise refusal("engine", name, path, expected)
    return found


def _check_integer(name: str, value: Any) -> None:
    least, most, optional, expected = _INTEGERS[name]
    if value is None and optional:
        return
    if not is_integer(value, least, most):
        raise refusal("engine", name, value, expected)
