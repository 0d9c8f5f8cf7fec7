"""Pre-tokenizer names and kinds of vocabularies."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import gguf
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import Regex, pre_tokenizers

from llmcore.pretokenizers import PRETOKENIZERS
from llmcore.tokenizer import Tokenizer

Write = Callable[..., Path]

NORMAL, UNKNOWN, BYTE = 1, 2, 6
RULES = sorted({rule: name for name, rule in PRETOKENIZERS.items()}.values())


def cut(name: str, text: str) -> list[str]:
    splits = [pre_tokenizers.Split(Regex(rule), "isolated") for rule in PRETOKENIZERS[name].patterns]
    return [piece for piece, _ in pre_tokenizers.Sequence(splits).pre_tokenize_str(text)]


@pytest.mark.parametrize(
    ("name", "text", "pieces"),
    [
        ("kimi-k2", "abc你好世界DEF'S 12345", ["abc", "你好世界", "DEF'S", " ", "123", "45"]),
        ("superbpe", "in 1234567 days of 12", ["in ", "1", "234", "567", " days of ", "12"]),
        ("afmoe", "12345 ab", ["12", "345", " ab"]),
        ("tiny_aya", "1234567", ["1", "234", "567"]),
        ("chameleon", "IMGIMGABZ a1,\tb", ["IMGIMGABZ", " a", "1", ",", "\t", "b"]),
        ("jais-2", "a" + " " * 7 + "b", ["a", " " * 4, " " * 2, " b"]),
        ("youtu", "안녕，你好ㄅ", ["안녕", "，", "你好", "ㄅ"]),
        ("spark2_5", "ab\n\n12 .x", ["ab", "\n", "\n", "1", "2", " .", "x"]),
        ("exaone-moe", "one two, three", ["one two", ",", " three"]),
        ("laguna", "ab\n\n cd 12", ["ab", "\n\n", " cd", " ", "1", "2"]),
        ("ufakzeka", "Ankara'da 12", ["Ankara", "'da", " ", "1", "2"]),
        ("granite-embed-multi-97m", "camelCase 1234", ["camel", "Case", " ", "123", "4"]),
    ],
)
def test_texts_are_cut(name: str, text: str, pieces: list[str]) -> None:
    assert cut(name, text) == pieces


@pytest.mark.parametrize("name", RULES)
@given(text=st.text(st.characters(exclude_categories=["Cs"]), max_size=30))
def test_cutting_loses_nothing(name: str, text: str) -> None:
    assert "".join(cut(name, text)) == text


def write_named(
    path: Path, write: Write, pre: str, tokens: list[str], types: list[int], **options: Any
) -> Path:
    def extra(writer: gguf.GGUFWriter) -> None:
        writer.add_tokenizer_pre(pre)

    return write(path, options.pop("model", "gpt2"), tokens, types, extra=extra, **options)


@pytest.mark.parametrize("name", sorted(PRETOKENIZERS))
def test_no_known_name_warns(
    name: str, tmp_path: Path, write_vocabulary: Write, byte_alphabet: list[str]
) -> None:
    path = write_named(tmp_path / "v.gguf", write_vocabulary, name, byte_alphabet, [NORMAL] * 256)
    tokenizer = Tokenizer.from_gguf(path)
    assert tokenizer.decode(tokenizer.encode("Ab é 12\n 你")) == "Ab é 12\n 你"


@pytest.mark.parametrize("pre", ["gemma4", "granite-embed-multi-311m", "sarvam-moe"])
def test_plain_text_kinds_under_the_byte_level_name(
    tmp_path: Path, write_vocabulary: Write, pre: str
) -> None:
    tokens = ["<unk>", *(f"<0x{byte:02X}>" for byte in range(256)), "▁", "a", "b", "▁a", "▁ab", "\n", "\n\n"]
    types = [UNKNOWN, *[BYTE] * 256, *[NORMAL] * 7]
    path = write_named(
        tmp_path / "v.gguf",
        write_vocabulary,
        pre,
        tokens,
        types,
        merges=["▁ a", "▁a b", "\n \n"],
        ids={"bos": 0},
    )
    tokenizer = Tokenizer.from_gguf(path)
    assert tokenizer.encode("a ab\n\né", add_special=False) == [258, 261, 263, 1 + 0xC3, 1 + 0xA9]
    assert tokenizer.decode([258, 261, 263, 1 + 0xC3, 1 + 0xA9]) == "a ab\n\né"
    assert tokenizer.add_bos == (pre != "sarvam-moe")


@pytest.mark.parametrize("model", ["gpt2", "whitespace"])
def test_words_without_spaces(tmp_path: Path, write_vocabulary: Write, model: str) -> None:
    tokens = ["<unk>", "你", "好", "你好", "a", "b", "ab"]
    path = write_named(
        tmp_path / "v.gguf", write_vocabulary, "whitespace", tokens, [UNKNOWN] + [NORMAL] * 6,
        model=model, merges=["你 好", "a b"], ids={"unknown": 0},
    )  # fmt: skip
    tokenizer = Tokenizer.from_gguf(path)
    assert tokenizer.encode("你好 a\tb ab ?", add_special=False) == [3, 4, 5, 6, 0]
    assert tokenizer.encode("A", add_special=False) == [0]


def test_wordpiece_normalisation_can_keep_accents(tmp_path: Path, write_vocabulary: Write) -> None:
    tokens = ["[UNK]", "▁e", "▁é", "▁É", "▁世", "界", "▁界", "▁"]

    def load(lowercase: bool, strip_accents: bool | None) -> Tokenizer:
        def extra(writer: gguf.GGUFWriter) -> None:
            writer.add_bool("tokenizer.ggml.normalizer.lowercase", lowercase)
            if strip_accents is not None:
                writer.add_bool("tokenizer.ggml.normalizer.strip_accents", strip_accents)

        path = write_vocabulary(
            tmp_path / "v.gguf", "bert", tokens, [UNKNOWN] + [NORMAL] * 7, ids={"unknown": 0}, extra=extra
        )
        return Tokenizer.from_gguf(path)

    assert load(True, None).encode("É é e", add_special=False) == [1, 1, 1]
    assert load(True, False).encode("É é e", add_special=False) == [2, 2, 1]
    assert load(False, None).encode("É é e", add_special=False) == [3, 2, 1]
    assert load(True, None).encode("世界 e▁", add_special=False) == [4, 6, 1, 7]
