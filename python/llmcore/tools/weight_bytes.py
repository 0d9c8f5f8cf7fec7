"""How much of a model file one decoding step reads."""

from pathlib import Path

from llmcore import _core


def decode_weight_bytes(path: Path | str) -> int:
    """Bytes of all weights but the embedding table, of which a step reads one row a token; a tied one is the
    output head too and counts. Raises GGUFError if the file is damaged or no GGUF file.
    """
    tensors = {tensor.name: int(tensor.n_bytes) for tensor in _core.GGUFFile(path).tensors}
    unread = tensors.get("token_embd.weight", 0) if "output.weight" in tensors else 0
    return sum(tensors.values()) - unread
