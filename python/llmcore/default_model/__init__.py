"""The small chat model that ``llmcore serve`` and ``llmcore run`` use when no model is named.

Only the model file and this module are needed to use it. The other modules of the package rebuild it:
they generate its corpus, train its tokenizer and its weights, write the GGUF file and evaluate it.
"""

from __future__ import annotations

from pathlib import Path

__all__ = ["path"]


def path() -> Path:
    """Return the path of the embedded GGUF file."""
    return Path(__file__).resolve().parent / "default.gguf"
