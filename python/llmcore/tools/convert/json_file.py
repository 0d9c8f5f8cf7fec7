"""Reads JSON files of a folder that nobody has checked."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from llmcore.tools.convert.errors import unusable

_MAX_BYTES = 256 << 20  # the largest tokenizer.json in use is an eighth of it


def read_text(path: Path) -> str:
    """A text file. Raises ModelError if it is too large or not UTF-8."""
    size = path.stat().st_size
    if size > _MAX_BYTES:
        raise unusable(f"size of {path.name}", f"{size} bytes", f"at most {_MAX_BYTES}")
    try:
        return path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise unusable(f"{path.name} is not UTF-8: {error.reason}") from error


def read_json(path: Path) -> dict[str, Any]:
    """A JSON object. Raises ModelError for anything else."""
    try:
        value = json.loads(read_text(path))
    except (ValueError, RecursionError) as error:
        raise unusable(f"{path.name} is no JSON: {error}") from error
    if not isinstance(value, dict):
        raise unusable(f"content of {path.name}", type(value).__name__, "a JSON object")
    return value


def read_optional_json(path: Path) -> dict[str, Any]:
    """A JSON object, empty where there is no such file."""
    return read_json(path) if path.is_file() else {}
