"""The table of kernels that `llmcore tune` measured on this machine, and what a model's loading makes of it.

`LLMCORE_TUNE` names a table, or is "off"; without it, the one that `llmcore tune` keeps in the user's cache
is used where there is one. A table of another processor, of another build, or that is damaged is passed over
with one line of warning.
"""

from __future__ import annotations

import hashlib
import logging
import os
import tempfile
from pathlib import Path
from typing import Annotated

import msgspec

from llmcore import _core

__all__ = ["Choice", "Table", "Tuning", "cache_path", "load", "machine_key", "save"]

_LARGEST = 4 << 20  # bytes of a table that is read at all
_MOST_CHOICES = 20_000

_logger = logging.getLogger("llmcore")

Side = Annotated[int, msgspec.Meta(ge=1, lt=1 << 31)]


class Choice(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The fastest kernel for m activation rows times an n x k matrix, and what it won by."""

    kernel: str
    m: Side
    n: Side
    k: Side
    seconds: Annotated[float, msgspec.Meta(gt=0)]
    """Median of one product."""
    built_in_seconds: Annotated[float, msgspec.Meta(gt=0)]
    """Median of the kernel that would be chosen without the table."""


class Table(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What was measured, and on what."""

    key: str
    """`machine_key` of where it was measured."""
    cpu: str
    threads: Side
    choices: Annotated[list[Choice], msgspec.Meta(max_length=_MOST_CHOICES)]


class Tuning(msgspec.Struct, frozen=True):
    """What a model is loaded with."""

    choices: tuple[tuple[str, int, int, int], ...]
    """Kernel, m, n, k: as the core takes them."""
    description: str


def machine_key() -> str:
    """A name for the processor and this build's kernels: tables are good for the one they were made with."""
    machine = _core.machine()
    parts = [str(machine["cpu"]), str(machine["isa"]), str(_core.__version__)]
    parts += [f"{kernel['name']} {kernel['act_layout']}" for kernel in _core.kernels() if kernel["usable"]]
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:16]


def cache_path() -> Path:
    """Where `llmcore tune` keeps this machine's table."""
    base = os.environ.get("XDG_CACHE_HOME", "")
    # The specification of these folders has relative ones ignored.
    folder = Path(base) if os.path.isabs(base) else Path.home() / ".cache"
    return folder / "llmcore" / f"tune-{machine_key()}.json"


def save(table: Table, path: Path) -> None:
    """Writes a table whole or not at all. Raises OSError."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.NamedTemporaryFile(dir=path.parent, prefix=".tune-", delete=False) as file:
        try:
            file.write(msgspec.json.format(msgspec.json.encode(table), indent=1) + b"\n")
            file.close()
            os.replace(file.name, path)
        except BaseException:
            os.unlink(file.name)
            raise


def load() -> Tuning:
    """The choices to load a model with; none where there is no table that can be used."""
    named = os.environ.get("LLMCORE_TUNE", "")
    if named == "off":
        return Tuning((), "built-in, tables are off (LLMCORE_TUNE)")
    try:
        path = Path(named) if named else cache_path()
        if not named and not path.exists():
            return Tuning((), "built-in, no table of this machine (llmcore tune makes one)")
        table = _read(path)
    except (OSError, RuntimeError, ValueError, msgspec.MsgspecError) as error:
        reason = " ".join(str(error).split())[:200]
        _logger.warning("the table of kernels %s is not used: %s", named or "of this machine", reason)
        return Tuning((), f"built-in, the table cannot be used ({reason})")
    choices = tuple((choice.kernel, choice.m, choice.n, choice.k) for choice in table.choices)
    return Tuning(choices, f"{len(choices)} measured products of {path}, otherwise built-in")


def _read(path: Path) -> Table:
    """Raises OSError, ValueError or msgspec.MsgspecError."""
    if not path.is_file():
        raise ValueError("there is no such file")
    with path.open("rb") as file:
        content = file.read(_LARGEST + 1)
    if len(content) > _LARGEST:
        raise ValueError(f"it is larger than {_LARGEST >> 20} MB")
    table = msgspec.json.decode(content, type=Table)
    if table.key != machine_key():
        raise ValueError("it was measured on another processor, or with other kernels")
    known = {kernel["name"] for kernel in _core.kernels() if kernel["op"] == "linear" and kernel["usable"]}
    for choice in table.choices:
        if choice.kernel not in known:
            raise ValueError(
                f"it names a kernel that is no linear one of this machine: {choice.kernel!r:.60}"
            )
    return table
