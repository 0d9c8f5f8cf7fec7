"""Who sends a request, and what they may do."""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass
from functools import lru_cache

import falcon.asgi

from llmcore_server.api_keys import NO_LIMITS, SCOPES, KeyLimits, KeyRing, Scope
from llmcore_server.errors import ApiError
from llmcore_server.json_web_tokens import TokenVerifier, granted_scopes
from llmcore_server.route_kinds import (
    is_generating,
    is_health,
    is_metrics,
    is_model_management,
    is_tokenizing,
)


@dataclass(frozen=True)
class Principal:
    """Who a request counts for; ``identity`` is no secret and stays the same."""

    identity: str
    scopes: tuple[Scope, ...] = SCOPES
    limits: KeyLimits = NO_LIMITS


@dataclass(frozen=True)
class Authenticator:
    """Knows principals by API key or JWT; without either, everybody by their address.

    public_metrics: whether ``/metrics`` needs no key.
    """

    keys: KeyRing | None = None
    tokens: TokenVerifier | None = None
    public_metrics: bool = False

    @property
    def required(self) -> bool:
        return self.keys is not None or self.tokens is not None

    def is_public(self, path: str) -> bool:
        """Whether the route needs no credentials."""
        return not self.required or is_health(path) or (self.public_metrics and is_metrics(path))

    def principal(self, req: falcon.asgi.Request) -> Principal | None:
        """Return who sends a request; None for credentials that are absent or no good."""
        if not self.required:
            return anonymous(req)
        for credential in _credentials(req):
            found = self._known(credential)
            if found is not None:
                return found
        return None

    def _known(self, credential: str) -> Principal | None:
        if self.keys is not None and (key := self.keys.find(credential)) is not None:
            return Principal(f"key:{key.id}", key.scopes, key.limits)
        # Three parts and two dots; an API key has none.
        if self.tokens is not None and credential.count(".") == 2:
            claims = self.tokens.claims(credential)
            if claims is not None:
                return Principal(f"jwt:{claims['sub']}", granted_scopes(claims))
        return None


def required_scope(path: str) -> Scope | None:
    """Return the scope a route needs; None where any good key will do."""
    if is_generating(path) or is_tokenizing(path):
        return "generate"
    if is_model_management(path):
        return "models"
    return "metrics" if is_metrics(path) else None


def check_scope(principal: Principal, path: str) -> None:
    """Raises `ApiError` if the principal may not use the route."""
    scope = required_scope(path)
    if scope is not None and scope not in principal.scopes:
        raise ApiError("PERMISSION_DENIED")


def anonymous(req: falcon.asgi.Request) -> Principal:
    """Return the principal of an address."""
    return Principal(address_identity(req.remote_addr))


@lru_cache(maxsize=4096)
def address_identity(address: str) -> str:
    """Return whose quota an address counts on; a network of IPv6 is one, for its hosts choose addresses."""
    try:
        parsed = ipaddress.ip_address(address)
    except ValueError:
        return f"address:{address[:64]}"
    if isinstance(parsed, ipaddress.IPv6Address):
        network = ipaddress.IPv6Network((int(parsed), 64), strict=False)
        parsed = parsed.ipv4_mapped or network.network_address
    return f"address:{parsed}"


def _credentials(req: falcon.asgi.Request) -> list[str]:
    found = []
    kind, _, token = (req.get_header("Authorization") or "").partition(" ")
    if kind.lower() == "bearer" and token.strip():
        found.append(token.strip())
    if key := (req.get_header("X-API-Key") or "").strip():
        found.append(key)
    return found
