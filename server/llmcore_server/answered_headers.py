"""The headers of the limits, as the OpenAPI document describes them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from llmcore_server.errors import is_openai_path

_WHOLE: Mapping[str, Any] = {"type": "integer", "minimum": 0}
_SECONDS: Mapping[str, Any] = {"type": "string", "pattern": "^[0-9]+s$"}

# By their names; header names are the same in any case.
_EVERYWHERE: Mapping[str, tuple[str, Mapping[str, Any]]] = {
    "X-RateLimit-Limit": ("Requests allowed in a window", _WHOLE),
    "X-RateLimit-Remaining": ("How many of them are left", _WHOLE),
    "X-RateLimit-Reset": ("When there are more, in seconds since the epoch", _WHOLE),
}
_OPENAI: Mapping[str, tuple[str, Mapping[str, Any]]] = {
    "x-ratelimit-limit-requests": ("Requests allowed in a window", _WHOLE),
    "x-ratelimit-remaining-requests": ("How many of them are left", _WHOLE),
    "x-ratelimit-reset-requests": ("How long until there are more", _SECONDS),
}
# Where tokens have a limit.
_OPENAI_TOKENS: Mapping[str, tuple[str, Mapping[str, Any]]] = {
    "x-ratelimit-limit-tokens": ("Tokens allowed in a window, where they have a limit", _WHOLE),
    "x-ratelimit-remaining-tokens": ("How many of them are left", _WHOLE),
    "x-ratelimit-reset-tokens": ("How long until there are more", _SECONDS),
}
_RETRY_AFTER = ("Seconds after which to ask again, where that may help", {"type": "integer", "minimum": 1})


def header_components() -> dict[str, Any]:
    """Return the header objects that operations refer to, by name."""
    required = {**_EVERYWHERE, **_OPENAI}
    optional = {**_OPENAI_TOKENS, "Retry-After": _RETRY_AFTER}
    return {name: _header(*told, required=True) for name, told in required.items()} | {
        name: _header(*told, required=False) for name, told in optional.items()
    }


def limit_headers(path: str) -> dict[str, Any]:
    """Return the headers that every answer of a generating route has."""
    names = [*_EVERYWHERE, *([*_OPENAI, *_OPENAI_TOKENS] if is_openai_path(path) else [])]
    return {name: _reference(name) for name in names}


def retry_header() -> dict[str, Any]:
    """Return the header of refusals that pass."""
    return {"Retry-After": _reference("Retry-After")}


def _header(description: str, schema: Mapping[str, Any], *, required: bool) -> dict[str, Any]:
    return {"description": description, "required": required, "schema": schema}


def _reference(name: str) -> dict[str, str]:
    return {"$ref": f"#/components/headers/{name}"}
