"""``llmcore keys``: makes, lists and revokes the API keys of a server."""

from __future__ import annotations

import time
from datetime import datetime, timezone
from pathlib import Path
from typing import TYPE_CHECKING

import click

from llmcore_server.option_types import lifetime

if TYPE_CHECKING:
    from llmcore_server.api_keys import ApiKey

_SCOPES = ("generate", "models", "metrics")


def _default_file() -> Path:
    return Path(click.get_app_dir("llmcore")) / "api-keys.json"


_file_option = click.option(
    "--api-keys",
    "file",
    type=click.Path(dir_okay=False, path_type=Path),
    default=_default_file,
    metavar="FILE",
    help=f"The file that llmcore serve --api-keys reads.  [default: {_default_file()}]",
)


@click.group()
def keys() -> None:
    """Make, list and revoke API keys. A running server notices at once."""


@keys.command()
@_file_option
@click.argument("name")
@click.option(
    "--scope",
    "scopes",
    multiple=True,
    type=click.Choice(_SCOPES),
    default=("generate",),
    show_default=True,
    help="generate: text; models: load and unload; metrics: /metrics. May be repeated.",
)
@click.option("--requests-per-minute", type=click.IntRange(1), help="Instead of the server's own limit.")
@click.option("--tokens-per-minute", type=click.IntRange(1), help="Instead of the server's own limit.")
@click.option("--concurrency", type=click.IntRange(1), help="Requests at the same time.")
@click.option("--expires", type=lifetime, metavar="TIME", help="How long it is good, such as 90d or 12h.")
def add(  # noqa: PLR0917 - click passes them by name
    file: Path,
    name: str,
    scopes: tuple[str, ...],
    requests_per_minute: int | None,
    tokens_per_minute: int | None,
    concurrency: int | None,
    expires: int | None,
) -> None:
    """Make a key for NAME and show it, this once; the file keeps its digest alone."""
    from llmcore_server.api_keys import SCOPES, KeyLimits, new_key, write_keys  # noqa: PLC0415

    if not name.strip():
        raise click.BadParameter("a key needs a name", param_hint="'NAME'")
    existing = _read(file) if file.exists() else []
    if any(key.name == name and not key.revoked for key in existing):
        raise click.ClickException(f"there is a key named '{name}'; revoke it first, or choose another name")
    key, entry = new_key(
        name,
        scopes=[scope for scope in SCOPES if scope in scopes],
        limits=KeyLimits(requests_per_minute, tokens_per_minute, concurrency),
        expires=None if expires is None else int(time.time()) + expires,
    )
    file.parent.mkdir(parents=True, exist_ok=True)
    write_keys(file, [*existing, entry])
    click.echo(key)
    click.echo(f"Key {entry.id} for {name}, in {file}. It is not shown again.", err=True)


@keys.command(name="list")
@_file_option
def list_keys(file: Path) -> None:
    """List the keys, without what is secret."""
    for key in _read(file):
        limits = [
            f"{value} {what}"
            for value, what in (
                (key.limits.requests_per_minute, "requests/minute"),
                (key.limits.tokens_per_minute, "tokens/minute"),
                (key.limits.concurrency, "at a time"),
            )
            if value is not None
        ]
        state = "revoked" if key.revoked else "good" if key.usable(time.time()) else "expired"
        until = "" if key.expires is None else f", until {_date(key.expires)}"
        about = ", ".join([*key.scopes, *limits])
        click.echo(f"{key.id}  {state:7}  {key.name}: {about}, since {_date(key.created)}{until}")


@keys.command()
@_file_option
@click.argument("key_id", metavar="ID")
def revoke(file: Path, key_id: str) -> None:
    """Make the key of that ID, or of that name, useless."""
    import msgspec  # noqa: PLC0415

    from llmcore_server.api_keys import write_keys  # noqa: PLC0415

    existing = _read(file)
    chosen = [key for key in existing if key_id in (key.id, key.name) and not key.revoked]
    if not chosen:
        raise click.ClickException(f"there is no good key '{key_id}' in {file}")
    write_keys(
        file,
        [msgspec.structs.replace(key, revoked=True) if key in chosen else key for key in existing],
    )
    for key in chosen:
        click.echo(f"Revoked {key.id} ({key.name}).")


def _read(file: Path) -> list[ApiKey]:
    from llmcore_server.api_keys import KeyFileError, read_keys  # noqa: PLC0415

    try:
        return read_keys(file)
    except KeyFileError as error:
        raise click.ClickException(str(error)) from None


def _date(seconds: int) -> str:
    return datetime.fromtimestamp(seconds, timezone.utc).strftime("%Y-%m-%d")
