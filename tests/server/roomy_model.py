"""The embedded model with a longer context than it was trained for, or without an end: tools, schemas and
long answers do not fit its own."""

from __future__ import annotations

import struct
from pathlib import Path

from llmcore import default_model

_KEY = b".context_length"
_UINT32 = struct.pack("<I", 4)
_END, _OTHER_NAME = b"<|im_end|>", b"<|im_nxt|>"
_NEVER_SAID = 2


def write_roomy_model(folder: Path, n_ctx: int = 2048) -> Path:
    """Write a copy of the embedded model that says its context is `n_ctx` tokens."""
    content = default_model.path().read_bytes()
    before, key, behind = content.partition(_KEY)
    assert key, "the embedded model names no context length"
    assert behind.startswith(_UINT32)
    path = folder / "roomy.gguf"
    path.write_bytes(before + key + _UINT32 + struct.pack("<I", n_ctx) + behind[8:])
    return path


def write_endless_model(folder: Path) -> Path:
    """Write a copy with room whose end of turn is a token like any other, so that it talks on and on."""
    content = write_roomy_model(folder).read_bytes()
    for name in (b"eos", b"eot"):
        key = b"tokenizer.ggml." + name + b"_token_id" + _UINT32
        before, found, behind = content.partition(key)
        assert found, f"the embedded model has no {name}"
        content = before + key + struct.pack("<I", _NEVER_SAID) + behind[4:]
    path = folder / "endless.gguf"
    path.write_bytes(content.replace(_END, _OTHER_NAME))
    return path
