"""Tiny encoders: their shapes and deterministic weights, by GGUF's names, and the files that hold them.

Needs NumPy and gguf alone: what made the golden states (make_golden_encoders.py) and what is tested against
them share nothing but this table.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from gguf import GGUFWriter, PoolingType, TokenType

N_VOCAB = 96
CLS, SEP, UNKNOWN = 1, 2, 3

Array = npt.NDArray[np.float32]


@dataclass(frozen=True)
class TinyEncoder:
    """One model; `architecture` is GGUF's name. `rope_base` 0: positions are vectors that are added."""

    name: str
    architecture: str
    n_layers: int = 2
    d_model: int = 64
    n_heads: int = 4
    d_ff: int = 96
    n_ctx: int = 96
    norm_eps: float = 0.01  # large enough to be seen
    n_types: int = 2  # 0: the file has no vectors of types
    fused_qkv: bool = False
    gated: bool = False
    biases: bool = True
    rope_base: float = 0.0
    pooling: int | None = None  # as the file states it

    @property
    def head_dim(self) -> int:
        return self.d_model // self.n_heads


def _nomic(name: str, n_types: int, pooling: int | None) -> TinyEncoder:
    return TinyEncoder(
        name, "nomic-bert", n_types=n_types, fused_qkv=True, gated=True, biases=False, rope_base=1000.0,
        pooling=pooling,
    )  # fmt: skip


ENCODERS = [
    TinyEncoder("bert", "bert", pooling=PoolingType.CLS),
    TinyEncoder("bert-fused", "bert", fused_qkv=True, pooling=PoolingType.MEAN),
    # Heads of no whole vector, rows of no whole block.
    TinyEncoder("bert-odd", "bert", d_model=60, n_heads=5, d_ff=50, n_types=1, pooling=PoolingType.LAST),
    _nomic("nomic-bert", 2, PoolingType.MEAN),
    _nomic("nomic-bert-untyped", 0, None),
]


def encoder_named(name: str) -> TinyEncoder:
    return next(encoder for encoder in ENCODERS if encoder.name == name)


def texts(encoder: TinyEncoder) -> list[list[int]]:
    """Token ids of texts of several lengths, the longest as long as the context."""
    rng = np.random.default_rng(5)
    lengths = (2, 1, 9, 33, encoder.n_ctx)
    return [[CLS, *rng.integers(4, N_VOCAB, max(0, n - 2)).tolist(), SEP][:n] for n in lengths]


def tensor_shapes(encoder: TinyEncoder) -> dict[str, tuple[int, ...]]:
    """Every tensor's shape in NumPy's order."""
    d, ff = encoder.d_model, encoder.d_ff
    shapes: dict[str, tuple[int, ...]] = {"token_embd.weight": (N_VOCAB, d)}
    if encoder.n_types:
        shapes["token_types.weight"] = (encoder.n_types, d)
    if not encoder.rope_base:
        shapes["position_embd.weight"] = (encoder.n_ctx, d)
    shapes |= _norm("token_embd_norm", d)
    for layer in range(encoder.n_layers):
        prefix = f"blk.{layer}."
        projections = {"attn_output": (d, d), "ffn_up": (ff, d), "ffn_down": (d, ff)}
        if encoder.gated:
            projections["ffn_gate"] = (ff, d)
        if encoder.fused_qkv:
            projections["attn_qkv"] = (3 * d, d)
        else:
            projections |= {"attn_q": (d, d), "attn_k": (d, d), "attn_v": (d, d)}
        for name, shape in projections.items():
            shapes[f"{prefix}{name}.weight"] = shape
            if encoder.biases:
                shapes[f"{prefix}{name}.bias"] = shape[:1]
        shapes |= _norm(prefix + "attn_output_norm", d)
        shapes |= _norm(prefix + "layer_output_norm", d)
    return shapes


def _norm(name: str, size: int) -> dict[str, tuple[int, ...]]:
    return {f"{name}.weight": (size,), f"{name}.bias": (size,)}


def tensors(encoder: TinyEncoder) -> dict[str, Array]:
    """Weights of which each tensor has a random stream of its own."""
    found = {}
    for name, shape in tensor_shapes(encoder).items():
        seed = int.from_bytes(hashlib.sha256(f"{encoder.name}/{name}".encode()).digest()[:8], "little")
        rng = np.random.default_rng(seed)
        if name.endswith("norm.weight"):
            values = rng.uniform(0.5, 1.5, shape)
        elif name.endswith(".bias"):
            values = rng.normal(0.0, 0.3, shape)
        elif ".attn_q" in name or ".attn_k" in name:
            values = rng.normal(0.0, 1.5 / np.sqrt(shape[-1]), shape)  # scores far enough apart
        else:
            values = rng.normal(0.0, 1.0 if "blk" not in name else 1.0 / np.sqrt(shape[-1]), shape)
        found[name] = values.astype(np.float32)
    return found


def fingerprint(encoder: TinyEncoder) -> str:
    """Changes with anything that golden states depend on."""
    digest = hashlib.sha256(json.dumps([asdict(encoder), texts(encoder)]).encode())
    for name, values in tensors(encoder).items():
        digest.update(name.encode())
        digest.update(values.tobytes())
    return digest.hexdigest()


def write_gguf(encoder: TinyEncoder, path: Path) -> Path:
    """Writes the encoder with a WordPiece vocabulary of letters."""
    writer = GGUFWriter(path, encoder.architecture)
    writer.add_name("tiny")
    writer.add_context_length(encoder.n_ctx)
    writer.add_embedding_length(encoder.d_model)
    writer.add_block_count(encoder.n_layers)
    writer.add_feed_forward_length(encoder.d_ff)
    writer.add_head_count(encoder.n_heads)
    writer.add_layer_norm_eps(encoder.norm_eps)
    writer.add_causal_attention(False)
    if encoder.pooling is not None:
        writer.add_pooling_type(PoolingType(encoder.pooling))
    if encoder.rope_base:
        writer.add_rope_freq_base(encoder.rope_base)
    mark = "\N{LOWER ONE EIGHTH BLOCK}"
    pieces = ["[PAD]", "[CLS]", "[SEP]", "[UNK]"]
    letters = "abcdefghijklmnopqrstuvwxyz0123456789.,!?"
    pieces += [mark + letter for letter in letters] + list(letters)
    pieces += [f"[unused{i}]" for i in range(N_VOCAB - len(pieces))]
    kinds = [TokenType.CONTROL] * 3 + [TokenType.UNKNOWN] + [TokenType.NORMAL] * (N_VOCAB - 4)
    writer.add_tokenizer_model("bert")
    writer.add_tokenizer_pre("default")
    writer.add_token_list(pieces)
    writer.add_token_types([int(kind) for kind in kinds])
    writer.add_token_type_count(max(1, encoder.n_types))
    writer.add_unk_token_id(UNKNOWN)
    writer.add_bos_token_id(CLS)
    writer.add_uint32("tokenizer.ggml.cls_token_id", CLS)
    writer.add_sep_token_id(SEP)
    writer.add_pad_token_id(0)
    for name, values in tensors(encoder).items():
        writer.add_tensor(name, values)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path
