"""The options of ``llmcore serve`` that say who may do what, from where, and how often."""

from __future__ import annotations

import logging
import ssl
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from llmcore_server.option_types import rate

if TYPE_CHECKING:
    from llmcore_server.authentication import Authenticator
    from llmcore_server.rate_limits import LimitSettings

logger = logging.getLogger(__name__)

_F = TypeVar("_F", bound=Callable[..., Any])
_FILE = click.Path(exists=True, dir_okay=False, path_type=Path)

_OPTIONS = (
    click.option(
        "--api-keys", type=_FILE, help="Require a key of this file; see llmcore keys.", metavar="FILE"
    ),
    click.option(
        "--jwt-key",
        type=_FILE,
        metavar="FILE",
        help="Accept JSON Web Tokens signed with this secret or for this public key (PEM).",
    ),
    click.option(
        "--jwt-algorithm",
        type=click.Choice(["HS256", "RS256", "ES256"]),
        default="HS256",
        show_default=True,
        help="The one algorithm of tokens.",
    ),
    click.option("--jwt-issuer", metavar="NAME", help="Issuer that tokens must name."),
    click.option("--jwt-audience", metavar="NAME", help="Audience that tokens must name."),
    click.option("--public-metrics", is_flag=True, help="Serve /metrics without a key."),
    click.option(
        "--rate-limit",
        type=rate,
        default="60000/minute",
        show_default=True,
        metavar="RATE",
        help="Requests of one key or address.",
    ),
    click.option("--token-limit", type=rate, metavar="RATE", help="Tokens of one key or address."),
    click.option(
        "--concurrency-limit",
        type=click.IntRange(1),
        metavar="N",
        help="Requests of one key or address at the same time.",
    ),
    click.option(
        "--limit-storage",
        default="memory://",
        show_default=True,
        metavar="URI",
        help="Where requests are counted; redis://HOST:PORT shares the count.",
    ),
    click.option(
        "--cors-origin",
        "cors_origins",
        multiple=True,
        metavar="ORIGIN",
        help="Origin whose pages may ask; * for all, none for none; may be repeated.  "
        "[default: all, without keys; none, with]",
    ),
    click.option("--tls-cert", type=_FILE, metavar="FILE", help="Certificate chain (PEM) to serve HTTPS."),
    click.option("--tls-key", type=_FILE, metavar="FILE", help="Private key (PEM) of the certificate."),
)


def access_options(command: _F) -> _F:
    """Add the options to a command, which gets their values by name."""
    for option in reversed(_OPTIONS):
        command = option(command)
    return command


def authenticator(
    *,
    api_keys: Path | None,
    jwt_key: Path | None,
    jwt_algorithm: Any,
    jwt_issuer: str | None,
    jwt_audience: str | None,
    public_metrics: bool,
) -> Authenticator:
    """Return what checks credentials. Raises `click.ClickException` for files that cannot be used."""
    from llmcore_server.api_keys import KeyFileError, KeyRing  # noqa: PLC0415 - not needed for --help
    from llmcore_server.authentication import Authenticator  # noqa: PLC0415
    from llmcore_server.json_web_tokens import TokenKeyError, read_verifier  # noqa: PLC0415

    try:
        keys = None if api_keys is None else KeyRing(api_keys, logger.error)
        tokens = None if jwt_key is None else read_verifier(jwt_key, jwt_algorithm, jwt_issuer, jwt_audience)
    except (KeyFileError, TokenKeyError) as error:
        raise click.ClickException(str(error)) from None
    if tokens is None and (jwt_issuer or jwt_audience):
        raise click.UsageError("--jwt-issuer and --jwt-audience need --jwt-key")
    return Authenticator(keys, tokens, public_metrics)


def limit_settings(
    *,
    rate_limit: tuple[int, int],
    token_limit: tuple[int, int] | None,
    concurrency_limit: int | None,
    limit_storage: str,
) -> LimitSettings:
    """Return the limits of those who have none of their own."""
    from llmcore_server.rate_limits import LimitSettings, LimitStorageError, RateLimiter  # noqa: PLC0415

    settings = LimitSettings(rate_limit, token_limit, concurrency_limit, limit_storage)
    try:
        RateLimiter(settings)
    except LimitStorageError as error:
        raise click.ClickException(str(error)) from None
    return settings


def allowed_origins(given: tuple[str, ...]) -> tuple[str, ...] | None:
    """Return the origins whose pages may ask; None where no choice was made. Raises `click.UsageError`."""
    if not given:
        return None
    origins = tuple(origin.rstrip("/") for origin in given if origin != "none")
    for origin in origins:
        if origin != "*" and not origin.startswith(("http://", "https://")):
            raise click.UsageError(f"--cors-origin '{origin}' is not * or such as https://example.org")
    return ("*",) if "*" in origins else origins


def checked_tls(cert: Path | None, key: Path | None) -> tuple[str, str] | None:
    """Return the files of TLS once they have proved to be a pair; None for plain HTTP."""
    if cert is None and key is None:
        return None
    if cert is None or key is None:
        raise click.UsageError("--tls-cert and --tls-key go together")
    try:
        ssl.create_default_context(ssl.Purpose.CLIENT_AUTH).load_cert_chain(cert, key)
    except (ssl.SSLError, OSError) as error:
        raise click.ClickException(f"cannot use '{cert}' with '{key}': {error}") from None
    return str(cert), str(key)
