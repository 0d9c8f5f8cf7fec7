"""The small chat model that ``llmcore serve`` and ``llmcore run`` use when no model is named.

Only the model file and this module are needed to use it. The other modules of the package rebuild it:
they generate its corpus, train its tokenizer and its weights, write the GGUF file and evaluate it.
"""

from __future__ import annotations

from pathlib import Path

__all__ = ["NAME", "locate", "path"]

# What the embedded model may be called where a model is named.
NAME = "default"


def path() -> Path:
    """Return the path of the embedded GGUF file."""
    return Path(__file__).resolve().parent / "default.gguf"


def locate(model: str | Path | None) -> Path:
    """Return the file that a model's name stands for: the embedded one's for None, and for "default" where no
    file has that name.
    """
    if model is None or (str(model) == NAME and not Path(model).is_file()):
        return path()
    return Path(model)
