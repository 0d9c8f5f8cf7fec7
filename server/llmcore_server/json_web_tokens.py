"""JSON Web Tokens as credentials: one algorithm, the operator's; signature, times and parties checked."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, cast

from llmcore_server.api_keys import SCOPES, Scope

Algorithm = Literal["HS256", "RS256", "ES256"]
ALGORITHMS: tuple[Algorithm, ...] = ("HS256", "RS256", "ES256")

# RFC 7518, 3.2: a key of at least the hash's size.
_LEAST_SECRET = 32


class TokenKeyError(ValueError):
    """The verification key cannot be used; the message says why."""


@dataclass(frozen=True)
class TokenVerifier:
    """Checks tokens (RFC 7519). key: the secret of HS256, else the public key, PEM. ``issuer`` and
    ``audience`` are required of a token where they are set; ``exp`` and ``sub`` always are."""

    algorithm: Algorithm
    key: bytes
    issuer: str | None = None
    audience: str | None = None

    def claims(self, token: str) -> Mapping[str, Any] | None:
        """Return a good token's claims, None for any other."""
        import jwt  # noqa: PLC0415 - with cryptography, a quarter of the server's start

        required = ["exp", "sub"]
        required += ["iss"] * (self.issuer is not None) + ["aud"] * (self.audience is not None)
        try:
            claims = jwt.decode(
                token,
                self.key,
                # Never the token's own word for it: "none", or a public key taken for a secret.
                algorithms=[self.algorithm],
                issuer=self.issuer,
                audience=self.audience,
                options={"require": required},
            )
        except jwt.InvalidTokenError:
            return None
        return cast("Mapping[str, Any]", claims) if _is_name(claims["sub"]) else None


def _is_name(subject: Any) -> bool:
    """Whether a subject can name whom a request counts for: JSON may hold halves of characters, which nothing
    else takes."""
    if not isinstance(subject, str):
        return False
    try:
        return bool(subject.encode())
    except UnicodeEncodeError:
        return False


def read_verifier(
    path: Path, algorithm: Algorithm, issuer: str | None = None, audience: str | None = None
) -> TokenVerifier:
    """Read the key of a verifier and prove that it is one. Raises `TokenKeyError`."""
    import jwt  # noqa: PLC0415 - as above

    try:
        key = path.read_bytes().strip()
    except OSError as error:
        raise TokenKeyError(f"cannot read the JWT key '{path}': {error.strerror}") from None
    if algorithm == "HS256" and len(key) < _LEAST_SECRET:
        raise TokenKeyError(f"the JWT secret has {len(key)} bytes; HS256 needs {_LEAST_SECRET} or more")
    if algorithm == "HS256" and key.startswith(b"-----BEGIN"):
        raise TokenKeyError("the JWT secret is a PEM key; for a public key choose RS256 or ES256")
    try:
        jwt.get_algorithm_by_name(algorithm).prepare_key(key)
    except NotImplementedError:
        raise TokenKeyError(
            f"{algorithm} needs the package cryptography: pip install 'llmcore[jwt]'"
        ) from None
    except (jwt.PyJWTError, ValueError, TypeError) as error:
        raise TokenKeyError(f"'{path}' is no key for {algorithm}: {error}") from None
    if b"PRIVATE KEY" in key:
        raise TokenKeyError(f"'{path}' is a private key; the server needs the public one alone")
    return TokenVerifier(algorithm, key, issuer, audience)


def granted_scopes(claims: Mapping[str, Any]) -> tuple[Scope, ...]:
    """Return the scopes of a token: its ``scope`` (RFC 8693, a string of words) or ``scopes``; ``generate``
    for a token that names none."""
    named = claims.get("scope", claims.get("scopes"))
    if named is None:
        return ("generate",)
    words = named.split() if isinstance(named, str) else named if isinstance(named, list) else []
    return tuple(scope for scope in SCOPES if scope in words)
