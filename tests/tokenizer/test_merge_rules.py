"""Merge rules of byte-level vocabularies give the ids they should, whatever their order."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from pathlib import Path

import gguf
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer as Library
from tokenizers import pre_tokenizers
from tokenizers.models import BPE

from llmcore import _core
from llmcore.tokenizer import Tokenizer
from llmcore.tokenizer_backend import ByteLevelEncoder

Write = Callable[..., Path]

TOKENS = ["".join(letters) for n in range(1, 5) for letters in itertools.product("ab", repeat=n)]
ALL_RULES = [(token[:cut], token[cut:]) for token in TOKENS for cut in range(1, len(token))]
TEXTS = ["".join(letters) for letters in itertools.product("ab", repeat=9)]


def no_cut(writer: gguf.GGUFWriter) -> None:
    writer.add_tokenizer_pre("bloom")  # nothing cuts letters


def merged(text: str, ranks: dict[tuple[str, str], int]) -> list[str]:
    parts = list(text)
    while True:
        pairs = [(ranks[pair], i) for i, pair in enumerate(itertools.pairwise(parts)) if pair in ranks]
        if not pairs:
            return parts
        at = min(pairs)[1]
        parts[at : at + 2] = ["".join(parts[at : at + 2])]


@settings(max_examples=150)
@example(rules=[("a", "bb"), ("bb", "a"), ("b", "b"), ("a", "bb")])
@given(rules=st.lists(st.sampled_from(ALL_RULES), min_size=1, max_size=60))
def test_any_list_of_merges(
    tmp_path_factory: pytest.TempPathFactory, write_vocabulary: Write, rules: list[tuple[str, str]]
) -> None:
    """Rules in any order, those for a piece's parts may come later or twice."""
    path = write_vocabulary(
        tmp_path_factory.mktemp("v") / "v.gguf", "gpt2", TOKENS, [1] * len(TOKENS),
        merges=[" ".join(rule) for rule in rules], extra=no_cut,
    )  # fmt: skip
    tokenizer = Tokenizer.from_gguf(path)
    ranks: dict[tuple[str, str], int] = {}
    for rank, rule in enumerate(rules):
        ranks.setdefault(rule, rank)
    got = tokenizer.encode_batch(TEXTS, add_special=False)
    assert [[TOKENS[token] for token in ids] for ids in got] == [merged(text, ranks) for text in TEXTS]


@settings(max_examples=150)
@given(st.permutations(TOKENS[2:]), st.booleans())
def test_lists_made_from_token_ranks(
    tmp_path_factory: pytest.TempPathFactory, write_vocabulary: Write, order: list[str], parts_first: bool
) -> None:
    """Every way to cut each piece in two, best piece first: as converters write them."""
    if parts_first:
        order = sorted(order, key=len)
    ranks = {token: rank for rank, token in enumerate(order)}
    rules = sorted(ALL_RULES, key=lambda rule: ranks["".join(rule)])
    path = write_vocabulary(
        tmp_path_factory.mktemp("v") / "v.gguf", "gpt2", TOKENS, [1] * len(TOKENS),
        merges=[" ".join(rule) for rule in rules], extra=no_cut,
    )  # fmt: skip
    by_rule = {rule: rank for rank, rule in enumerate(rules)}
    got = Tokenizer.from_gguf(path).encode_batch(TEXTS, add_special=False)
    assert [[TOKENS[token] for token in ids] for ids in got] == [merged(text, by_rule) for text in TEXTS]


def test_a_published_vocabulary(test_data: Path) -> None:
    """The core's ids are those of the `tokenizers` library with all the rules."""
    path = test_data / "vocab" / "ggml-vocab-llama-bpe.gguf"
    if not path.exists():
        pytest.skip(f"{path.name} is not among the test data")
    file = _core.GGUFFile(path)
    ids, rules = _core.byte_pair_tables(file, _core.Vocabulary(file))
    library = Library(BPE(ids, rules))
    library.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    core = ByteLevelEncoder(
        _core.ByteLevelEncoder(file, _core.Vocabulary(file), whole_words=False), patterns=[]
    )
    tokenizer = Tokenizer.from_file(file)
    texts = [tokenizer.decode([token]) for token in range(300, 120000, 7)]
    texts += [a + b for a, b in zip(texts, texts[1000:], strict=False)]
    assert core.encode_batch(texts) == [found.ids for found in library.encode_batch(texts)]
