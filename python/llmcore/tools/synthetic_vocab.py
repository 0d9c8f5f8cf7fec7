"""A made-up SentencePiece-style vocabulary of any size, or one copied from another GGUF file."""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import chain, islice, product
from pathlib import Path
from typing import Any

from gguf import GGUFValueType, GGUFWriter, TokenType

from llmcore import _core
from llmcore.errors import GGUFError, InvalidArgumentError

_SPACE = "\N{LOWER ONE EIGHTH BLOCK}"  # how SentencePiece writes a space
_SPECIALS = ("<unk>", "<s>", "</s>")
_LETTERS = "etaoinshrdlcumwfgypbvkjxqzETAOINSHRDLCUMWFGYPBVKJXQZ"
_PUNCTUATION = ".,'\"-?!:;()0123456789/*+=_%&$#@[]{}<>|\\^~`"
_FIXED_TOKENS = len(_SPECIALS) + 256

Field = tuple[Any, GGUFValueType, GGUFValueType | None]


@dataclass(frozen=True)
class Vocabulary:
    """The `tokenizer.*` metadata of a model file: key -> (value, type, element type of an array)."""

    n_tokens: int
    fields: dict[str, Field]

    def write(self, writer: GGUFWriter) -> None:
        """Adds the metadata to a file that is being written."""
        for key, (value, value_type, element_type) in self.fields.items():
            writer.add_key_value(key, value, value_type, element_type)


def _pieces() -> Iterator[str]:
    """Pieces that merge from shorter ones, each once, without end for any size in use."""
    syllables = [c + v for c, v in product("bcdfghjklmnprstvwyz", "aeiou")]
    singles = chain(_SPACE, _LETTERS, _PUNCTUATION)
    words = (_SPACE + syllable for syllable in syllables)
    longer = (
        start + "".join(rest)
        for n in (1, 2)
        for rest in product(syllables, repeat=n)
        for start in (*syllables, *(_SPACE + s for s in syllables))
    )
    return chain(singles, syllables, words, longer)


def made_up_vocabulary(n_tokens: int) -> Vocabulary:
    """An SPM vocabulary: three special tokens, the 256 bytes, letters and made-up syllables, best first.

    Raises InvalidArgumentError if `n_tokens` cannot hold the special tokens and the bytes.
    """
    if n_tokens <= _FIXED_TOKENS:
        raise InvalidArgumentError(
            f"[synthesize] vocabulary too small; got {n_tokens}; expected more than {_FIXED_TOKENS} tokens"
        )
    pieces = list(islice(_pieces(), n_tokens - _FIXED_TOKENS))
    tokens = [*_SPECIALS, *(f"<0x{byte:02X}>" for byte in range(256)), *pieces]
    types = [TokenType.UNKNOWN, TokenType.CONTROL, TokenType.CONTROL, *[TokenType.BYTE] * 256]
    types += [TokenType.NORMAL] * len(pieces)
    scores = [0.0] * _FIXED_TOKENS + [-float(rank) for rank in range(len(pieces))]

    def array(values: list[Any], element: GGUFValueType) -> Field:
        return values, GGUFValueType.ARRAY, element

    def flag(value: bool) -> Field:
        return value, GGUFValueType.BOOL, None

    def token_id(token: str) -> Field:
        return tokens.index(token), GGUFValueType.UINT32, None

    return Vocabulary(
        n_tokens,
        {
            "tokenizer.ggml.model": ("llama", GGUFValueType.STRING, None),
            "tokenizer.ggml.pre": ("default", GGUFValueType.STRING, None),
            "tokenizer.ggml.tokens": array(tokens, GGUFValueType.STRING),
            "tokenizer.ggml.scores": array(scores, GGUFValueType.FLOAT32),
            "tokenizer.ggml.token_type": array([int(kind) for kind in types], GGUFValueType.INT32),
            "tokenizer.ggml.unknown_token_id": token_id("<unk>"),
            "tokenizer.ggml.bos_token_id": token_id("<s>"),
            "tokenizer.ggml.eos_token_id": token_id("</s>"),
            "tokenizer.ggml.add_bos_token": flag(True),
            "tokenizer.ggml.add_eos_token": flag(False),
        },
    )


def made_up_wordpiece(n_tokens: int) -> Vocabulary:
    """A WordPiece vocabulary as BERT's files have it: control tokens, and the same pieces without capitals.

    Raises InvalidArgumentError if `n_tokens` cannot hold the control tokens.
    """
    specials = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
    if n_tokens <= len(specials):
        raise InvalidArgumentError(
            f"[synthesize] vocabulary too small; got {n_tokens}; expected more than {len(specials)} tokens"
        )
    # The mark alone would be a piece without text; capitals never reach a vocabulary of lower case.
    pieces = (piece for piece in _pieces() if piece != _SPACE and piece == piece.lower())
    with_beginnings = chain((_SPACE + letter for letter in _LETTERS.lower()[:26] + _PUNCTUATION), pieces)
    words = list(islice(dict.fromkeys(islice(with_beginnings, 2 * n_tokens)), n_tokens - len(specials)))
    tokens = [*specials, *words]
    types = [TokenType.CONTROL] * len(specials) + [TokenType.NORMAL] * len(words)
    string, uint32 = GGUFValueType.STRING, GGUFValueType.UINT32
    ids = {"unknown": "[UNK]", "bos": "[CLS]", "cls": "[CLS]", "seperator": "[SEP]", "padding": "[PAD]"}
    return Vocabulary(
        n_tokens,
        {
            "tokenizer.ggml.model": ("bert", string, None),
            "tokenizer.ggml.pre": ("default", string, None),
            "tokenizer.ggml.tokens": (tokens, GGUFValueType.ARRAY, string),
            "tokenizer.ggml.token_type": (list(map(int, types)), GGUFValueType.ARRAY, GGUFValueType.INT32),
            **{
                f"tokenizer.ggml.{role}_token_id": (tokens.index(text), uint32, None)
                for role, text in ids.items()
            },
        },
    )


_ELEMENT_TYPES = {
    "int8": GGUFValueType.INT8, "uint8": GGUFValueType.UINT8, "int16": GGUFValueType.INT16,
    "uint16": GGUFValueType.UINT16, "int32": GGUFValueType.INT32, "uint32": GGUFValueType.UINT32,
    "int64": GGUFValueType.INT64, "uint64": GGUFValueType.UINT64, "float32": GGUFValueType.FLOAT32,
    "float64": GGUFValueType.FLOAT64, "bool": GGUFValueType.BOOL,
}  # fmt: skip


def vocabulary_of(path: Path) -> Vocabulary:
    """The vocabulary of another GGUF file. Raises GGUFError if it is no GGUF file or has no tokens."""
    metadata = _core.GGUFFile(path).metadata
    if not isinstance(metadata.get("tokenizer.ggml.tokens"), list):
        raise GGUFError(
            f"[synthesize] no vocabulary in {path}; got no tokenizer.ggml.tokens; expected an array of them"
        )
    fields = {key: _field(value) for key, value in metadata.items() if key.startswith("tokenizer.")}
    return Vocabulary(len(metadata["tokenizer.ggml.tokens"]), fields)


def _field(value: Any) -> Field:
    if isinstance(value, bool):
        return value, GGUFValueType.BOOL, None
    if isinstance(value, int):
        return value, GGUFValueType.UINT32 if value >= 0 else GGUFValueType.INT32, None
    if isinstance(value, float):
        return value, GGUFValueType.FLOAT32, None
    if isinstance(value, str):
        return _raw_text(value), GGUFValueType.STRING, None
    if isinstance(value, list):
        return [_raw_text(text) for text in value], GGUFValueType.ARRAY, GGUFValueType.STRING
    return value.tolist(), GGUFValueType.ARRAY, _ELEMENT_TYPES[value.dtype.name]


def _raw_text(text: str) -> bytes:
    """The bytes a file holds, which need not be UTF-8."""
    return text.encode("utf-8", "surrogateescape")
