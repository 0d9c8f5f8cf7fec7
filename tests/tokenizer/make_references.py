"""Trains small tokenizers with the `sentencepiece` and `tokenizers` packages and writes what they answer.

    python tests/tokenizer/make_references.py

needs sentencepiece==0.2.3 and tokenizers==0.23.3, and nothing of this project: the tests compare it with what
these files say. Written to tests/tokenizer/references: `<name>.json.xz`, a model; `<name>.ids.xz`, the ids of
`reference_texts.texts(TEXT_SEED, TEXTS_PER_SCRIPT)`: for each text their number and they, as little-endian
uint16; `<name>.digests.xz`, for the many rules of one byte-level model: four bytes of its BLAKE2 each.
"""

from __future__ import annotations

import base64
import hashlib
import io
import json
import lzma
import struct
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import sentencepiece
from tokenizers import Regex, Tokenizer, models, normalizers, pre_tokenizers, trainers

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE))
from reference_texts import texts  # noqa: E402

REPOSITORY = HERE.parent.parent
TRAINING_SEED, TEXT_SEED, TEXTS_PER_SCRIPT = 1, 20240101, 125
SPACE_MARK = "\u2581"
NORMAL, UNKNOWN, CONTROL, USER_DEFINED, UNUSED, BYTE = 1, 2, 3, 4, 5, 6

_DIGITS3, _DIGIT = r"\p{N}{1,3}", r"\p{N}"
_ENDINGS = "(?i:'s|'t|'re|'ve|'m|'ll|'d)"
_TAIL = r"\s*[\r\n]+|\s+(?!\S)|\s+"
_CASED = (
    r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+" + _ENDINGS + "?"
    r"|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*" + _ENDINGS + "?"
)
# What the models' own tokenizer.json (or code) says, by the name GGUF files have for it.
PUBLISHED: dict[str, list[str]] = {
    "gpt-2": [r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"],
    "llama-bpe": [
        _ENDINGS + r"|[^\r\n\p{L}\p{N}]?\p{L}+|" + _DIGITS3 + r"| ?[^\s\p{L}\p{N}]+[\r\n]*|" + _TAIL
    ],
    "qwen2": [_ENDINGS + r"|[^\r\n\p{L}\p{N}]?\p{L}+|" + _DIGIT + r"| ?[^\s\p{L}\p{N}]+[\r\n]*|" + _TAIL],
    "qwen35": [_ENDINGS + r"|[^\r\n\p{L}\p{N}]?[\p{L}\p{M}]+|\p{N}| ?[^\s\p{L}\p{M}\p{N}]+[\r\n]*|" + _TAIL],
    "gpt-4o": [_CASED + "|" + _DIGITS3 + r"| ?[^\s\p{L}\p{N}]+[\r\n/]*|" + _TAIL],
    "tekken": [_CASED.replace(_ENDINGS + "?", "") + "|" + _DIGIT + r"| ?[^\s\p{L}\p{N}]+[\r\n/]*|" + _TAIL],
    "deepseek-v3": [
        _DIGITS3,
        "[一-龥\u3040-ゟ゠-ヿ]+",
        r"[!\"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~][A-Za-z]+|[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+"
        r"| ?[\p{P}\p{S}]+[\r\n]*|" + _TAIL,
    ],
    "kimi-k2": [
        r"[\p{Han}]+|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}&&[^\p{Han}]]*"
        r"[\p{Ll}\p{Lm}\p{Lo}\p{M}&&[^\p{Han}]]+(?i:'s|'t|'re|'ve|'m|'ll|'d)?"
        r"|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}&&[^\p{Han}]]+"
        r"[\p{Ll}\p{Lm}\p{Lo}\p{M}&&[^\p{Han}]]*(?i:'s|'t|'re|'ve|'m|'ll|'d)?"
        r"|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
    ],
    "bailingmoe": [
        r"'(?i:[sdmt]|ll|ve|re)|[^\r\n\p{L}\p{N}]?+\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]++[\r\n]*"
        r"|\s*[\r\n]|\s+(?!\S)|\s+"
    ],
    "exaone-moe": [
        _ENDINGS + r"|[^\r\n\p{L}\p{N}]?(?:\p{L}\p{M}*(?: \p{L}\p{M}*)*)+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]?"
        r"|\s*[\r\n]|\s+(?!\S)|\s+"
    ],
    "jais-2": [
        _ENDINGS + r"|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+"
        r"|\s{512}(?!\S)|\s{256}(?!\S)|\s{128}(?!\S)|\s{64}(?!\S)|\s{32}(?!\S)|\s{16}(?!\S)|\s{8}(?!\S)"
        r"|\s{4}(?!\S)|\s{1,2}(?!\S)|\s{1}"
    ],
    "superbpe": [r"\p{N}+", r"(?=(\d{3})+(?!\d))"],
}
IGNORE_MERGES = ("llama-bpe", "tekken")


def corpus() -> list[str]:
    """The repository's own text, and made-up text for scripts that it lacks; no control token's name."""
    files = sorted((REPOSITORY / "python/llmcore/default_model/corpus_data").glob("*.txt"))
    lines = [line for file in files for line in file.read_text(encoding="utf-8").splitlines() if line.strip()]
    made_up = [line for text in texts(TRAINING_SEED, 60) for line in text.replace("\0", "").splitlines()]
    return lines[::3] + [line for line in made_up if line.strip() and "<|" not in line]


def _write(name: str, content: bytes) -> None:
    path = HERE / "references" / f"{name}.xz"
    path.write_bytes(lzma.compress(content, preset=9 | lzma.PRESET_EXTREME))


def write_model(name: str, model: dict[str, Any]) -> None:
    _write(f"{name}.json", json.dumps(model, ensure_ascii=False).encode())


def write_ids(name: str, ids: list[list[int]]) -> None:
    _write(f"{name}.ids", b"".join(packed(row) for row in ids))


def write_digests(name: str, ids: list[list[int]]) -> None:
    _write(f"{name}.digests", b"".join(hashlib.blake2s(packed(row), digest_size=4).digest() for row in ids))


def packed(row: list[int]) -> bytes:
    return struct.pack(f"<{len(row) + 1}H", len(row), *row)


def _fields(message: bytes) -> list[tuple[int, bytes | int]]:
    """The fields of a protocol-buffer message: number and value (bytes of what has a length)."""

    def varint(at: int) -> tuple[int, int]:
        value = shift = 0
        while True:
            byte = message[at]
            value |= (byte & 0x7F) << shift
            at, shift = at + 1, shift + 7
            if byte < 0x80:
                return value, at

    fields: list[tuple[int, bytes | int]] = []
    at = 0
    while at < len(message):
        key, at = varint(at)
        if key & 7 == 0:
            number, at = varint(at)
            fields.append((key >> 3, number))
            continue
        size, at = varint(at) if key & 7 == 2 else ({1: 8, 5: 4}[key & 7], at)
        fields.append((key >> 3, message[at : at + size]))
        at += size
    return fields


def sentencepiece_model(name: str, kind: str, **options: Any) -> None:
    """Trains, and writes the model as the fields that a GGUF file has for it."""
    trained = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(corpus()), model_writer=trained, hard_vocab_limit=False, num_threads=1,
        minloglevel=2, max_sentence_length=100000, **options,
    )  # fmt: skip
    processor = sentencepiece.SentencePieceProcessor(model_proto=trained.getvalue())
    size = processor.get_piece_size()

    def type_of(token: int) -> int:
        if processor.is_unknown(token):
            return UNKNOWN
        if processor.is_control(token):
            return CONTROL
        if processor.is_byte(token):
            return BYTE
        text = processor.id_to_piece(token)
        return USER_DEFINED if text in options.get("user_defined_symbols", ()) else NORMAL

    normalizer = dict(_fields(next(value for number, value in _fields(trained.getvalue()) if number == 3)))
    charsmap = normalizer.get(2, b"")
    model = {
        "model": kind,
        "tokens": [processor.id_to_piece(token) for token in range(size)],
        "scores": [processor.get_score(token) for token in range(size)],
        "types": [type_of(token) for token in range(size)],
        "ids": {"bos": processor.bos_id(), "eos": processor.eos_id(), "unknown": processor.unk_id()},
        "add_space_prefix": bool(normalizer.get(3, 1)),
        "remove_extra_whitespaces": bool(normalizer.get(4, 1)),
        "precompiled_charsmap": base64.b64encode(charsmap).decode(),
    }
    write_model(name, model)
    write_ids(name, [processor.encode(text) for text in texts(TEXT_SEED, TEXTS_PER_SCRIPT)])


def sentencepiece_models() -> None:
    plain = {"normalization_rule_name": "identity", "remove_extra_whitespaces": False}
    common = {"vocab_size": 2600, "character_coverage": 0.98}
    symbols = ["<think>", "==", "\n", "the"]
    sentencepiece_model(
        "spm_bytes", "llama", model_type="bpe", byte_fallback=True, split_digits=True, **common, **plain
    )
    sentencepiece_model("spm_unknown", "llama", model_type="bpe", **common, **plain)
    sentencepiece_model(
        "spm_symbols", "llama", model_type="bpe", byte_fallback=True, user_defined_symbols=symbols,
        add_dummy_prefix=False, **common, **plain,
    )  # fmt: skip
    sentencepiece_model("unigram_bytes", "t5", model_type="unigram", byte_fallback=True, **common, **plain)
    sentencepiece_model(
        "unigram_nfkc", "t5", model_type="unigram", normalization_rule_name="nmt_nfkc",
        user_defined_symbols=symbols[:2], **common,
    )  # fmt: skip


def byte_level_models() -> None:
    """One vocabulary, trained without cutting text, so that every cut a rule makes shows in the ids."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    trainer = trainers.BpeTrainer(
        vocab_size=1800, initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), show_progress=False
    )
    tokenizer.train_from_iterator(
        [line for line in [*corpus(), *texts(TRAINING_SEED + 1, 40)] if "<|" not in line], trainer
    )
    trained = json.loads(tokenizer.to_str())["model"]
    tokens = sorted(trained["vocab"], key=trained["vocab"].get)
    merges = [tuple(merge) for merge in trained["merges"]]
    for name, patterns in PUBLISHED.items():
        tokenizer.model = models.BPE(trained["vocab"], merges, ignore_merges=name in IGNORE_MERGES)
        splits = [pre_tokenizers.Split(Regex(pattern), "isolated") for pattern in patterns]
        tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
            [*splits, pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)]
        )
        ids = [tokenizer.encode(text).ids for text in texts(TEXT_SEED, TEXTS_PER_SCRIPT)]
        write_digests(f"byte_level_{name}", ids)
    model = {"model": "gpt2", "tokens": tokens, "merges": [" ".join(merge) for merge in merges]}
    write_model("byte_level", model)


def wordpiece_vocabulary(tokenizer: Tokenizer, special: list[str], size: int) -> list[str]:
    """The most useful beginnings and insides of words; training proper comes out otherwise each time."""
    counts: Counter[str] = Counter()
    for line in corpus():
        # U+2581 marks words in GGUF files; pieces that hold one cannot be written clearly there.
        normal = tokenizer.normalizer.normalize_str(line.replace(SPACE_MARK, " "))
        for word, _ in tokenizer.pre_tokenizer.pre_tokenize_str(normal):
            counts.update(word[:end] for end in range(1, min(len(word), 8) + 1))
            counts.update(f"##{word[at : at + n]}" for at in range(1, len(word)) for n in range(1, 5))

    def rank(piece: str) -> tuple[bool, int, str]:
        length = len(piece.removeprefix("##"))
        return length > 1 or counts[piece] < 2, -counts[piece] * length, piece

    useful = sorted(counts, key=rank)  # characters first, so that few words are unknown
    return [*special, *(piece for piece in useful if piece not in special)][:size]


def wordpiece_model(name: str, *, lowercase: bool) -> None:
    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    tokenizer = Tokenizer(models.WordPiece(unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=lowercase)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokens = wordpiece_vocabulary(tokenizer, special, 4500)
    ids = {token: i for i, token in enumerate(tokens)}
    tokenizer.model = models.WordPiece(ids, unk_token="[UNK]")

    def written(token: str) -> str:
        if token in special:
            return token
        return token[2:] if token.startswith("##") else SPACE_MARK + token

    model = {
        "model": "bert",
        "tokens": [written(token) for token in tokens],
        "types": [CONTROL if token in special else NORMAL for token in tokens],
        "ids": {"cls": 2, "seperator": 3, "unknown": 1},
        "lowercase": lowercase,
    }
    write_model(name, model)
    write_ids(name, [tokenizer.encode(text).ids for text in texts(TEXT_SEED, TEXTS_PER_SCRIPT)])


if __name__ == "__main__":
    sentencepiece_models()
    byte_level_models()
    wordpiece_model("wordpiece_uncased", lowercase=True)
    wordpiece_model("wordpiece_cased", lowercase=False)
