"""How hard a model shall think, in the words that chat templates know."""

from __future__ import annotations

from typing import Any

# gpt-oss knows three degrees.
_DEGREES = {"none": "low", "minimal": "low", "xhigh": "high", "max": "high"}


def effort_variables(effort: str | None) -> dict[str, Any]:
    """Return template variables for OpenAI's ``reasoning_effort``."""
    if effort is None:
        return {}
    return {
        "reasoning_effort": _DEGREES.get(effort, effort),
        "enable_thinking": effort not in ("none", "minimal"),
    }


def knows_effort(template: str) -> bool:
    """Return whether a template asks for any of these variables."""
    return "reasoning_effort" in template or "enable_thinking" in template
