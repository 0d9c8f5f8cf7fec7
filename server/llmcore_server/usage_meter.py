"""Counts the tokens that one HTTP request uses, whatever resource serves it."""

from __future__ import annotations

from contextvars import ContextVar


class UsageMeter:
    """Prompt and generated tokens of one HTTP request, counted as its generations end."""

    def __init__(self) -> None:
        self.tokens = 0

    def add(self, tokens: int) -> None:
        self.tokens += tokens


_current: ContextVar[UsageMeter | None] = ContextVar("usage_meter", default=None)


def start_metering() -> UsageMeter:
    """Return a meter for the request that the current task serves."""
    meter = UsageMeter()
    _current.set(meter)
    return meter


def current_meter() -> UsageMeter:
    """Return the current request's meter; outside one, a meter that nobody reads."""
    return _current.get() or UsageMeter()
