"""Tiny tokenizers in the formats that model folders have them in."""

from __future__ import annotations

import base64
import json
import struct
from typing import Any

from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, pre_tokenizers, processors
from tokenizers.trainers import BpeTrainer

QWEN2_REGEX = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*"
    r"|\s*[\r\n]+|\s+(?!\S)|\s+"
)
LLAMA3_REGEX = QWEN2_REGEX.replace(r"|\p{N}|", r"|\p{N}{1,3}|")
TEXT = "the cat and the hat sat on the mat with the other cats, then the others sat there: 12345 more"
SPECIALS = ("<|begin|>", "<|end|>", "<|pad|>", "<|turn|>")


def byte_level(size: int, regex: str = QWEN2_REGEX, *, ignore_merges: bool = False) -> Tokenizer:
    """Byte-level BPE with up to `size` words and four control tokens behind them."""
    tokenizer = Tokenizer(models.BPE(ignore_merges=ignore_merges))
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(regex), "isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = BpeTrainer(vocab_size=size, initial_alphabet=alphabet, show_progress=False, min_frequency=1)
    tokenizer.train_from_iterator([TEXT], trainer)
    tokenizer.add_special_tokens([AddedToken(text, special=True, normalized=False) for text in SPECIALS])
    tokenizer.post_processor = processors.ByteLevel(trim_offsets=False)
    return tokenizer


def byte_level_json(size: int, **options: Any) -> dict[str, Any]:
    """The same as tokenizer.json has it."""
    content: dict[str, Any] = json.loads(byte_level(size, **options).to_str())
    return content


PIECES = [
    ("<unk>", 0.0, 2), ("<s>", 0.0, 3), ("</s>", 0.0, 3),
    *((f"<0x{byte:02X}>", 0.0, 6) for byte in range(256)),
    ("\u2581t", -1.0, 1), ("he", -2.0, 1), ("\u2581the", -3.0, 1), ("at", -4.0, 1), ("\u2581c", -5.0, 1),
    ("\u2581cat", -6.0, 1), ("\u2581\u2581", -7.0, 4),
    *((letter, -8.0 - i, 1) for i, letter in enumerate("\u2581taehcsnomr")),
]  # fmt: skip


def _varint(value: int) -> bytes:
    value &= (1 << 64) - 1
    groups = []
    while value > 127:
        groups.append(value & 127 | 128)
        value >>= 7
    return bytes([*groups, value])


def _message(number: int, content: bytes) -> bytes:
    return _varint(number << 3 | 2) + _varint(len(content)) + content


def sentencepiece_proto(
    pieces: list[tuple[str, float, int]] = PIECES, *, model_type: int = 2, add_dummy_prefix: bool = True
) -> bytes:
    """A ModelProto: pieces with score and type, the trainer's model_type and ids, the normalizer's prefix."""
    message = b""
    for text, score, kind in pieces:
        piece = _message(1, text.encode()) + b"\x15" + struct.pack("<f", score)
        message += _message(1, piece + (b"\x18" + _varint(kind) if kind != 1 else b""))
    ids = _varint(40 << 3) + _varint(0) + _varint(41 << 3) + _varint(1) + _varint(42 << 3) + _varint(2)
    trainer = b"\x18" + _varint(model_type) + ids + _varint(43 << 3) + _varint(-1)
    normalizer = _message(1, b"identity") + b"\x18" + _varint(int(add_dummy_prefix)) + b"\x20\x00"
    return message + _message(2, trainer) + _message(3, normalizer)


# Ranks in order: all bytes, then words that earlier ones merge into.
TIKTOKEN = [bytes([byte]) for byte in range(256)] + [
    b" t", b"he", b" the", b"at", b" c", b" cat", b"12", b" th", b"\xe4\xbd", b"\xe4\xbd\xa0", b"\n\n",
]  # fmt: skip


def tiktoken_text(tokens: list[bytes] = TIKTOKEN) -> str:
    """A line a token: base64 and rank."""
    return "".join(f"{base64.b64encode(token).decode()} {rank}\n" for rank, token in enumerate(tokens))
