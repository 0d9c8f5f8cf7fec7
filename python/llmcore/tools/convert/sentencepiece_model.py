"""Reads SentencePiece's tokenizer.model: the few fields of its protobuf message that a GGUF file needs.

https://github.com/google/sentencepiece, src/sentencepiece_model.proto.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from llmcore.tools.convert.errors import unusable

_PIECES, _TRAINER, _NORMALIZER = 1, 2, 3
_PIECE_TEXT, _PIECE_SCORE, _PIECE_TYPE = 1, 2, 3
_TRAINER_MODEL_TYPE = 3
_TRAINER_IDS = {40: "unk", 41: "bos", 42: "eos", 43: "pad"}
_NORMALIZER_DUMMY_PREFIX = 3
_BPE = 2
_MAX_BYTES = 64 << 20

Value = int | bytes


@dataclass(frozen=True)
class Piece:
    """A piece of the vocabulary; `kind` counts as GGUF's token types do."""

    text: str
    score: float
    kind: int


@dataclass(frozen=True)
class SentencePieceModel:
    """Pieces by id, whether it is of kind BPE, ids by role, and whether a text gets a space in front."""

    pieces: list[Piece]
    is_bpe: bool
    ids: dict[str, int]
    add_dummy_prefix: bool


def read_sentencepiece(path: Path) -> SentencePieceModel:
    """Reads the model of a file. Raises ModelError if it is damaged or has no pieces."""
    if path.stat().st_size > _MAX_BYTES:
        raise unusable(f"size of {path.name}", f"{path.stat().st_size} bytes", f"at most {_MAX_BYTES}")
    pieces: list[Piece] = []
    is_bpe = False
    ids = {"unk": 0, "bos": 1, "eos": 2, "pad": -1}
    add_dummy_prefix = True
    for number, value in _fields(path.read_bytes(), path.name):
        if not isinstance(value, bytes):
            continue
        if number == _PIECES:
            pieces.append(_piece(value, path.name))
        elif number == _TRAINER:
            for inner, setting in _fields(value, path.name):
                if inner == _TRAINER_MODEL_TYPE:
                    is_bpe = setting == _BPE
                elif inner in _TRAINER_IDS and isinstance(setting, int):
                    ids[_TRAINER_IDS[inner]] = _signed(setting)
        elif number == _NORMALIZER:
            for inner, setting in _fields(value, path.name):
                if inner == _NORMALIZER_DUMMY_PREFIX:
                    add_dummy_prefix = bool(setting)
    if not pieces:
        raise unusable(f"{path.name} is no SentencePiece model: it has no pieces")
    ids = {role: token for role, token in ids.items() if 0 <= token < len(pieces)}
    return SentencePieceModel(pieces, is_bpe, ids, add_dummy_prefix)


def _piece(message: bytes, file: str) -> Piece:
    text, score, kind = "", 0.0, 1
    for number, value in _fields(message, file):
        if number == _PIECE_TEXT and isinstance(value, bytes):
            try:
                text = value.decode("utf-8")
            except UnicodeDecodeError as error:
                raise unusable(f"a piece of {file} is not UTF-8", value[:40]) from error
        elif number == _PIECE_SCORE and isinstance(value, bytes) and len(value) == 4:
            (score,) = struct.unpack("<f", value)
        elif number == _PIECE_TYPE and isinstance(value, int):
            kind = value
    if not 1 <= kind <= 6:
        raise unusable(f"type of piece {text!r} of {file}", kind, "1 to 6")
    return Piece(text, score, kind)


def _signed(value: int) -> int:
    return value - (1 << 64) if value >= 1 << 63 else value


def _fields(message: bytes, file: str) -> Iterator[tuple[int, Value]]:
    """Fields of a protobuf message in order: varints as int, all else as bytes."""
    position = 0
    while position < len(message):
        key, position = _varint(message, position, file)
        match key & 7:
            case 0:
                value, position = _varint(message, position, file)
                yield key >> 3, value
                continue
            case 1:
                length = 8
            case 2:
                length, position = _varint(message, position, file)
            case 5:
                length = 4
            case kind:
                raise unusable(f"{file} is no SentencePiece model: field type", kind, "0, 1, 2 or 5")
        if length > len(message) - position:
            raise unusable(f"{file} is cut short", f"{len(message) - position} bytes", f"{length}")
        yield key >> 3, message[position : position + length]
        position += length


def _varint(message: bytes, position: int, file: str) -> tuple[int, int]:
    value = 0
    for shift in range(0, 70, 7):
        if position >= len(message):
            raise unusable(f"{file} is cut short", "the end of the file", "a number")
        byte = message[position]
        position += 1
        value |= (byte & 127) << shift
        if byte < 128:
            return value, position
    raise unusable(f"{file} has a number of more than ten bytes")
