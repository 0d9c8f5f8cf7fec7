"""The embedded model with a longer context than it was trained for: tools and schemas do not fit its own."""

from __future__ import annotations

import struct
from pathlib import Path

from llmcore import default_model

_KEY = b".context_length"
_UINT32 = struct.pack("<I", 4)


def write_roomy_model(folder: Path, n_ctx: int = 2048) -> Path:
    """Write a copy of the embedded model that says its context is `n_ctx` tokens."""
    content = default_model.path().read_bytes()
    before, key, behind = content.partition(_KEY)
    assert key, "the embedded model names no context length"
    assert behind.startswith(_UINT32)
    path = folder / "roomy.gguf"
    path.write_bytes(before + key + _UINT32 + struct.pack("<I", n_ctx) + behind[8:])
    return path
