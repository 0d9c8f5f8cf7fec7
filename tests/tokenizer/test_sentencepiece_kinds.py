"""Vocabularies of SentencePiece's kind against plain definitions, and hostile character maps."""

from __future__ import annotations

import itertools
import math
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llmcore import _core
from llmcore.errors import ModelError
from llmcore.tokenizer import Tokenizer

Write = Callable[..., Path]

NORMAL, UNKNOWN, CONTROL, USER_DEFINED, UNUSED, BYTE = 1, 2, 3, 4, 5, 6
MARK = "\u2581"

pieces = st.lists(
    st.tuples(st.text("abé" + MARK, min_size=1, max_size=5), st.integers(-9, 0)),
    max_size=14,
    unique_by=lambda piece: piece[0],
)
plain_texts = st.text("abé ", max_size=12)


def load(
    folder: Path, write: Write, model: str, vocabulary: list[tuple[str, int]], **options: Any
) -> Tokenizer:
    tokens = ["<unk>", *(text for text, _ in vocabulary)]
    scores = [0.0, *(float(score) for _, score in vocabulary)]
    types = options.pop("types", [UNKNOWN] + [NORMAL] * len(vocabulary))
    settings = {"add_space_prefix": False} | options

    def extra(writer: gguf.GGUFWriter) -> None:
        for key, value in settings.items():
            if isinstance(value, bytes):
                writer.add_precompiled_charsmap(value)
            else:
                writer.add_bool(f"tokenizer.ggml.{key}", value)

    path = write(folder / "v.gguf", model, tokens, types, scores=scores, ids={"unknown": 0}, extra=extra)
    return Tokenizer.from_gguf(path)


def without_repeated_unknown(ids: list[int]) -> list[int]:
    return [token for i, token in enumerate(ids) if token != 0 or i == 0 or ids[i - 1] != 0]


@given(pieces, plain_texts)
def test_byte_pairs_by_score_against_the_definition(
    tmp_path_factory: pytest.TempPathFactory,
    write_vocabulary: Write,
    vocabulary: list[tuple[str, int]],
    text: str,
) -> None:
    """Of all neighbours that make a piece the best scored become one, the leftmost of equals."""
    tokenizer = load(tmp_path_factory.mktemp("v"), write_vocabulary, "llama", vocabulary)
    ids = {piece: i + 1 for i, (piece, _) in enumerate(vocabulary)}
    scores = dict(vocabulary)
    symbols = list(text.replace(" ", MARK))
    while True:
        pairs = [(-scores[a + b], i) for i, (a, b) in enumerate(itertools.pairwise(symbols)) if a + b in ids]
        if not pairs:
            break
        at = min(pairs)[1]
        symbols[at : at + 2] = ["".join(symbols[at : at + 2])]
    expected = without_repeated_unknown([ids.get(symbol, 0) for symbol in symbols])
    assert tokenizer.encode(text, add_special=False) == expected


@given(pieces, plain_texts)
def test_unigram_against_all_cuts(
    tmp_path_factory: pytest.TempPathFactory,
    write_vocabulary: Write,
    vocabulary: list[tuple[str, int]],
    text: str,
) -> None:
    """No cut of the text scores better; unknown characters cost the worst score and ten more."""
    tokenizer = load(tmp_path_factory.mktemp("v"), write_vocabulary, "t5", vocabulary)
    scores = dict(vocabulary)
    unknown = min(scores.values(), default=0) - 10
    marked = text.replace(" ", MARK)
    best = [0.0] + [-math.inf] * len(marked)
    for end in range(1, len(marked) + 1):
        for begin in range(end):
            score = scores.get(marked[begin:end], unknown if end - begin == 1 else -math.inf)
            best[end] = max(best[end], best[begin] + score)
    ids = tokenizer.encode(text, add_special=False)
    found = [vocabulary[token - 1] for token in ids if token != 0]
    n_unknown = len(marked) - sum(len(piece) for piece, _ in found)
    assert sum(score for _, score in found) + n_unknown * unknown == best[-1]
    assert (0 in ids) == (n_unknown > 0)


def test_unused_pieces_serve_only_to_build_others(tmp_path: Path, write_vocabulary: Write) -> None:
    vocabulary = [("a", -9), ("b", -9), ("c", -9), ("ab", -1), ("abc", -2)]
    types = [UNKNOWN, NORMAL, NORMAL, NORMAL, UNUSED, NORMAL]
    tokenizer = load(tmp_path, write_vocabulary, "llama", vocabulary, types=types)
    assert tokenizer.encode("ab", add_special=False) == [1, 2]
    assert tokenizer.encode("abc", add_special=False) == [5]
    assert tokenizer.encode("abab", add_special=False) == [1, 2, 1, 2]


@pytest.mark.parametrize("model", ["llama", "t5"])
def test_user_defined_pieces_and_control_tokens(tmp_path: Path, write_vocabulary: Write, model: str) -> None:
    vocabulary = [("a", -1), ("b", -1), ("ab", 0), ("<think>", 0), ("<end>", 0), ("<", -3)]
    types = [UNKNOWN, NORMAL, NORMAL, NORMAL, USER_DEFINED, CONTROL, NORMAL]
    tokenizer = load(tmp_path, write_vocabulary, model, vocabulary, types=types)
    assert tokenizer.encode("ab<think>ab", add_special=False) == [3, 4, 3]
    assert 5 not in tokenizer.encode("a<end>b", add_special=False)
    assert tokenizer.encode("a<end>b", add_special=False, parse_special=True) == [1, 5, 2]


def test_t5_ends_texts(tmp_path: Path, write_vocabulary: Write) -> None:
    tokens = ["<pad>", "</s>", "<unk>", MARK + "a", "b"]
    path = write_vocabulary(
        tmp_path / "v.gguf", "t5", tokens, [CONTROL, CONTROL, UNKNOWN, NORMAL, NORMAL],
        scores=[0.0, 0.0, 0.0, -1.0, -1.0],
        extra=lambda writer: writer.add_bool("tokenizer.ggml.add_space_prefix", True),
    )  # fmt: skip
    tokenizer = Tokenizer.from_gguf(path)
    assert tokenizer.encode("ab") == [3, 4, 1]
    assert tokenizer.encode("") == [1]
    assert tokenizer.decode([3, 4, 1]) == "ab"


def charsmap(entries: dict[bytes, bytes]) -> bytes:
    """A map of single bytes: units of the double array are label, place of children and end of word."""
    units = [0x80000000 | 0xFF] * 512
    values = b""
    units[0] = 256 << 10  # the root's children lie at 256 ^ byte
    for i, (byte, replacement) in enumerate(entries.items()):
        node, leaf = 256 ^ byte[0], i + 1
        units[node] = byte[0] | 1 << 8 | (node ^ leaf) << 10
        units[leaf] = 0x80000000 | len(values)
        values += replacement + b"\0"
    return struct.pack("<I512I", 4 * len(units), *units) + values


SMALL_MAP = charsmap({b"x": b"ab", b"y": b"", b"z": b" "})


def test_character_map_and_spaces(tmp_path: Path, write_vocabulary: Write) -> None:
    vocabulary = [("a", -1), ("b", -1), (MARK, -1)]
    tokenizer = load(tmp_path, write_vocabulary, "t5", vocabulary, charsmap=SMALL_MAP)
    assert tokenizer.encode("x", add_special=False) == [1, 2]
    assert tokenizer.encode("ayb", add_special=False) == [1, 2]
    assert tokenizer.encode("azzb", add_special=False) == [1, 3, 3, 2]
    tidy = load(
        tmp_path, write_vocabulary, "t5", vocabulary, charsmap=SMALL_MAP, remove_extra_whitespaces=True
    )
    assert tidy.encode("  azz b  ", add_special=False) == [1, 3, 2]
    assert tidy.encode(" z ", add_special=False) == []


@pytest.mark.parametrize(
    "content",
    [
        b"\1",
        b"\0\0\0\0",
        b"\4\0\0\0" + b"\0" * 4,
        struct.pack("<I", 1 << 30) + b"\0" * 64,
        b"\3\0\0\0" + b"\0" * 8,
        SMALL_MAP[:-1],
        SMALL_MAP[:-1] + b"x",
        SMALL_MAP[: 4 + 4 * 300] + SMALL_MAP[4 + 4 * 300 :].replace(b"\0", b"\1"),
        charsmap({b"x": b"a" * 5000}),
        struct.pack("<I", 2048) + struct.pack("<I", 0x7FFFFC00) * 512 + b"a\0",
    ],
)
def test_broken_character_maps_are_model_errors(
    tmp_path: Path, write_vocabulary: Write, content: bytes
) -> None:
    with pytest.raises(ModelError, match="charsmap"):
        load(tmp_path, write_vocabulary, "t5", [("a", -1)], charsmap=content)


@settings(max_examples=300)
@given(st.randoms(use_true_random=False), st.integers(1, 60))
def test_no_character_map_does_harm(
    tmp_path_factory: pytest.TempPathFactory, write_vocabulary: Write, random: Any, changes: int
) -> None:
    """Whatever the bytes are: an error at load, or texts that encode."""
    content = bytearray(SMALL_MAP)
    for _ in range(changes):
        at = random.randrange(len(content))
        if random.randrange(2):
            content[at] = random.randrange(256)
        else:
            content[at] ^= 1 << random.randrange(8)
    try:
        tokenizer = load(
            tmp_path_factory.mktemp("v"),
            write_vocabulary,
            "t5",
            [("a", -1), ("b", -1)],
            charsmap=bytes(content),
        )
    except ModelError:
        return
    for text in ("xyzab", "\x01\x02x\x00y", "é日本xyz", "".join(map(chr, range(256)))):
        assert all(0 <= token < 3 for token in tokenizer.encode(text, add_special=False))


def test_long_texts_take_linear_time_and_memory(tmp_path: Path, write_vocabulary: Write) -> None:
    vocabulary = [("a" * n, -n) for n in range(1, 17)]
    for model in ("llama", "t5"):
        tokenizer = load(tmp_path, write_vocabulary, model, vocabulary)
        ids = tokenizer.encode("a" * 200_000, add_special=False)
        assert sum(len(vocabulary[token - 1][0]) for token in ids) == 200_000


def test_encoder_needs_a_vocabulary_of_its_kind(chat_vocabulary: Path) -> None:
    file = _core.GGUFFile(chat_vocabulary)
    with pytest.raises(ModelError, match="llama, gemma4 or t5"):
        _core.PieceEncoder(file, _core.Vocabulary(file))
    assert np.count_nonzero(_core.Vocabulary(file).token_types == CONTROL) == 3
