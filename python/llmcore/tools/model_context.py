"""The context that a model's file states."""

from __future__ import annotations

from llmcore import _core


def trained_context(file: _core.GGUFFile) -> int | None:
    """Tokens of one sequence that the model was trained for; None where the file does not tell."""
    context = file.get(f"{file.get('general.architecture')}.context_length")
    return context if isinstance(context, int) and context > 0 else None
