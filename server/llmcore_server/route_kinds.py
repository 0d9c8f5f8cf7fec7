"""What a path is for, as far as limits and rights depend on it."""

from __future__ import annotations

import re

_GENERATING = re.compile(
    r"/api/v1/(?:generate(?:/stream)?|batch/generate)"
    r"|/v1/(?:engines/.+/)?(?:chat/completions|completions|embeddings|responses|messages)",
    # A model's name may hold any character.
    re.DOTALL,
)
_MANAGEMENT = re.compile(r"/api/v1/models/[^/]+/(?:load|unload|adapters(?:/[^/]+)?)")
_TOKENIZING = re.compile(r"(?:/v1)?/(?:tokenize|detokenize|apply-template)|/v1/messages/count_tokens")
_HEALTH = re.compile(r"(?:/api/v1)?/health(?:/live|/ready)?")
_METRICS = re.compile(r"(?:/api/v1)?/metrics")


def is_generating(path: str) -> bool:
    """Whether the route makes an engine work: its answers carry ``X-RateLimit-*``."""
    return _GENERATING.fullmatch(path) is not None


def is_model_management(path: str) -> bool:
    """Whether the route loads or unloads models or adapters."""
    return _MANAGEMENT.fullmatch(path) is not None


def is_tokenizing(path: str) -> bool:
    """Whether the route needs a model, which it may load, but not its engine's work."""
    return _TOKENIZING.fullmatch(path) is not None


def is_health(path: str) -> bool:
    return _HEALTH.fullmatch(path) is not None


def is_metrics(path: str) -> bool:
    return _METRICS.fullmatch(path) is not None
