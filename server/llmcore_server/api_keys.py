"""The file of API keys: made by ``llmcore keys``, read by the server, which notices its changes.

It holds SHA-256 digests. Keys are 256 random bits, so that a slow password hash would only serve those who
want to keep the server busy.
"""

from __future__ import annotations

import hashlib
import hmac
import os
import secrets
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated, Literal

import msgspec
from msgspec import Meta, Struct

Scope = Literal["generate", "models", "metrics"]
SCOPES: tuple[Scope, ...] = ("generate", "models", "metrics")

_PREFIX = "sk-llmcore-"
_NO_DIGEST = "0" * 64
_LONGEST_KEY = 512

Digest = Annotated[str, Meta(pattern="^[0-9a-f]{64}$")]
Limit = Annotated[int, Meta(ge=1)]


class KeyFileError(ValueError):
    """The key file cannot be used; the message says why."""


class KeyLimits(Struct, frozen=True, omit_defaults=True):
    """A key's own limits; None leaves it to the server's."""

    requests_per_minute: Limit | None = None
    tokens_per_minute: Limit | None = None
    concurrency: Limit | None = None


NO_LIMITS = KeyLimits()


class ApiKey(Struct, frozen=True, omit_defaults=True, forbid_unknown_fields=True):
    """One key, known by its digest alone. Times are in seconds since the epoch."""

    id: str
    name: str
    sha256: Digest
    created: int
    scopes: tuple[Scope, ...] = ("generate",)
    limits: KeyLimits = NO_LIMITS
    expires: int | None = None
    revoked: bool = False

    def usable(self, now: float) -> bool:
        return not self.revoked and (self.expires is None or now < self.expires)


class _KeyFile(Struct, frozen=True):
    keys: list[ApiKey]


def digest_of(key: str) -> str:
    """Return the SHA-256 of a key, in hexadecimal."""
    return hashlib.sha256(key.encode("utf-8", "surrogateescape")).hexdigest()


def read_keys(path: Path) -> list[ApiKey]:
    """Return the keys of a file. Raises `KeyFileError`."""
    try:
        return msgspec.json.decode(path.read_bytes(), type=_KeyFile).keys
    except OSError as error:
        raise KeyFileError(f"cannot read the key file '{path}': {error.strerror}") from None
    except msgspec.DecodeError as error:
        raise KeyFileError(f"'{path}' is not a key file: {error}") from None


def write_keys(path: Path, keys: Sequence[ApiKey]) -> None:
    """Replace the file as a whole, readable by its owner alone. Raises OSError."""
    content = msgspec.json.format(msgspec.json.encode(_KeyFile(list(keys))), indent=2)
    handle, temporary = tempfile.mkstemp(dir=path.resolve().parent, prefix=".keys-")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content + b"\n")
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise


def new_key(
    name: str,
    *,
    scopes: Sequence[Scope] = ("generate",),
    limits: KeyLimits | None = None,
    expires: int | None = None,
) -> tuple[str, ApiKey]:
    """Return a new key, to be shown once, and what the file keeps of it."""
    key = _PREFIX + secrets.token_urlsafe(32)
    kept = ApiKey(
        id=secrets.token_hex(4),
        name=name,
        sha256=digest_of(key),
        created=int(time.time()),
        scopes=tuple(scopes),
        limits=limits or NO_LIMITS,
        expires=expires,
    )
    return key, kept


class KeyRing:
    """The keys that are good now; a change of the file counts from the next request on.

    A file that has become unreadable leaves the keys as they were, so that writing it carelessly locks nobody
    out; one that is gone leaves none. on_error: told what is wrong with the file, once a change.
    """

    def __init__(self, path: Path, on_error: Callable[[str], None]) -> None:
        self._path = path
        self._on_error = on_error
        self._seen = self._state()
        self._by_digest = {key.sha256: key for key in read_keys(path)}

    def find(self, key: str) -> ApiKey | None:
        """Return the key's entry if it may be used now; takes as long for any wrong key."""
        self._refresh()
        digest = digest_of(key[:_LONGEST_KEY])
        entry = self._by_digest.get(digest)
        matches = hmac.compare_digest(entry.sha256 if entry is not None else _NO_DIGEST, digest)
        return entry if matches and entry is not None and entry.usable(time.time()) else None

    def _state(self) -> tuple[int, int, int] | None:
        try:
            status = self._path.stat()
        except OSError:
            return None
        return status.st_mtime_ns, status.st_size, status.st_ino

    def _refresh(self) -> None:
        state = self._state()
        if state == self._seen:
            return
        self._seen = state
        if state is None:
            self._by_digest = {}
            self._on_error(f"the key file '{self._path}' is gone; no key is good until it is back")
            return
        try:
            self._by_digest = {key.sha256: key for key in read_keys(self._path)}
        except KeyFileError as error:
            self._on_error(f"{error}; the keys stay as they were")
