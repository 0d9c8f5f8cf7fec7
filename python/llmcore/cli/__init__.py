"""The command line. Each module of this package is one subcommand and defines `command`; other packages add
theirs through the entry-point group `llmcore.commands`. Commands are imported when they are looked up, and
import what they need when they run, so that help is instant.
"""

# ruff: noqa: PLC0415 - commands import what they need when they run, so that help is instant

import pkgutil
import sys
from importlib import import_module
from importlib.metadata import EntryPoint, entry_points
from typing import IO, Any

import click

from llmcore.errors import LLMCoreError

__all__ = ["main"]

ENTRY_POINT_GROUP = "llmcore.commands"


class _CommandError(click.ClickException):
    """An error of ours: one line, no traceback."""

    def show(self, file: IO[Any] | None = None) -> None:
        click.echo(f"error: {self.message}", file=file or sys.stderr)


class _CommandGroup(click.Group):
    """Finds subcommands in this package and in the entry points, and turns expected errors into one line."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        del ctx
        return sorted({*_own_commands(), *_contributed_commands()})

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        del ctx
        if cmd_name in _own_commands():
            command = import_module(f"{__name__}.{cmd_name}").command
        else:
            entry_point = _contributed_commands().get(cmd_name)
            if entry_point is None:
                return None
            try:
                command = entry_point.load()
            except ImportError as error:
                return _unavailable(cmd_name, error)
        assert isinstance(command, click.Command)
        return command

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except LLMCoreError as error:
            raise _CommandError(" ".join(str(error).split())) from error
        except BrokenPipeError:
            raise
        except OSError as error:
            raise _CommandError(
                f"{error.filename}: {error.strerror}" if error.filename else str(error)
            ) from error


def _own_commands() -> list[str]:
    return [module.name for module in pkgutil.iter_modules(__path__) if not module.name.startswith("_")]


def _contributed_commands() -> dict[str, EntryPoint]:
    return {entry_point.name: entry_point for entry_point in entry_points(group=ENTRY_POINT_GROUP)}


def _unavailable(name: str, error: ImportError) -> click.Command:
    """Stands in for an installed command that cannot be imported, so that the others still work."""

    def fail() -> None:
        raise _CommandError(f"the command {name!r} cannot be loaded: {error}")

    return click.Command(name, callback=fail, short_help="(cannot be loaded)")


def _show_version(ctx: click.Context, _option: click.Parameter, wanted: bool) -> None:
    if wanted:
        from llmcore import _core

        click.echo(f"llmcore {_core.__version__}")
        ctx.exit()


@click.group(cls=_CommandGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.option(
    "--version",
    is_flag=True,
    is_eager=True,
    expose_value=False,
    callback=_show_version,
    help="Print the version.",
)
def main() -> None:
    """Run, serve and examine GGUF models."""
