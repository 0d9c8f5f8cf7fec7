"""What commands read from standard input, and tables that nothing is cut from."""

# ruff: noqa: PLC0415 - commands import what they need when they run, so that help is instant

from __future__ import annotations

import sys
from contextlib import suppress
from typing import TYPE_CHECKING

import click

from llmcore.errors import InvalidArgumentError

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

# Wider than any line of ours: who reads a file or a pipe folds it, or searches it, as they like.
_UNBOUNDED = 100_000


def has_piped_input() -> bool:
    """Whether standard input is there and not a person at a terminal."""
    return sys.stdin is not None and not sys.stdin.isatty()


def decoded(data: bytes, command: str, source: object = "standard input") -> str:
    """The text of what was read. Raises InvalidArgumentError that tells the byte where it is not UTF-8."""
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError as error:
        raise InvalidArgumentError(
            f"[{command}] {source}; got bytes that are not UTF-8 at {error.start}; expected UTF-8"
        ) from error


def read_input(command: str) -> str:
    """All of standard input. Raises InvalidArgumentError if it is closed or not UTF-8."""
    if sys.stdin is None:
        raise InvalidArgumentError(f"[{command}] standard input; got a closed one; expected a text")
    return decoded(sys.stdin.buffer.read(), command).replace("\r\n", "\n")


def read_turn(command: str) -> str | None:
    """A line of a conversation, with line editing at a terminal; None at the end of the input."""
    if sys.stdin is None:
        return None
    if sys.stdin.isatty() and sys.stdout.isatty():
        with suppress(ImportError):
            import readline  # noqa: F401 - input() edits lines and has a history once it is there
        try:
            return input("> ")
        except EOFError:
            return None
    click.echo("> ", nl=False, err=True)
    line = sys.stdin.buffer.readline()
    return decoded(line, command).rstrip("\r\n") if line else None


def console() -> Console:
    """Standard output for tables; without a terminal as wide as they are."""
    from rich.console import Console

    return Console() if sys.stdout.isatty() else Console(width=_UNBOUNDED)


def table(*columns: str, title: str | None = None, left: bool = False) -> Table:
    """A table whose cells fold where a terminal is narrow."""
    from rich.table import Table

    made = Table(title=title, title_justify="left" if left else "center")
    for column in columns:
        made.add_column(column, overflow="fold")
    return made
