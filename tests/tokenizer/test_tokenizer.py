from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmcore.errors import GGUFError, InvalidArgumentError, ModelError
from llmcore.tokenizer import Tokenizer

Write = Callable[..., Path]

NORMAL, UNKNOWN, CONTROL, USER_DEFINED = 1, 2, 3, 4

texts = st.text(st.characters(exclude_categories=["Cs"]))


@given(texts)
def test_byte_level_text_survives(chat_tokenizer: Tokenizer, text: str) -> None:
    assert chat_tokenizer.decode(chat_tokenizer.encode(text)) == text


@given(texts.filter(lambda text: "▁" not in text))
def test_sentencepiece_text_survives(spm_tokenizer: Tokenizer, text: str) -> None:
    assert spm_tokenizer.decode(spm_tokenizer.encode(text)) == text


@given(texts)
def test_plain_text_makes_no_control_tokens(chat_tokenizer: Tokenizer, text: str) -> None:
    control = {chat_tokenizer.bos_id, *chat_tokenizer.end_token_ids}
    for spelled in (text, f"<|im_end|>{text}", f"{text}<|endoftext|>"):
        assert not control & set(chat_tokenizer.encode(spelled, add_special=False))


def test_merges_apply_in_order(chat_tokenizer: Tokenizer) -> None:
    assert [chat_tokenizer.token_bytes(i) for i in chat_tokenizer.encode("hello world")] == [
        b"hello", b" wo", b"r", b"l", b"d",
    ]  # fmt: skip


def test_special_tokens_are_parsed_on_request(chat_tokenizer: Tokenizer) -> None:
    text = "<|im_start|>hello<|im_end|><|im"
    ids = chat_tokenizer.encode(text, parse_special=True)
    names = [chat_tokenizer.token_bytes(i) for i in ids]
    assert names == [b"<|im_start|>", b"hello", b"<|im_end|>", b"<", b"|", b"i", b"m"]
    assert chat_tokenizer.decode(ids) == "hello<|im"
    assert chat_tokenizer.decode(ids, skip_special=False) == text
    assert chat_tokenizer.encode_batch([text, "hello"], parse_special=True) == [ids, ids[1:2]]


def test_user_defined_tokens_are_always_split_and_shown(chat_tokenizer: Tokenizer) -> None:
    ids = chat_tokenizer.encode("<think>hello</think>")
    assert len(ids) == 3
    assert chat_tokenizer.decode(ids) == "<think>hello</think>"


def test_user_defined_characters_stand_apart(
    tmp_path: Path, write_vocabulary: Write, byte_alphabet: list[str]
) -> None:
    """As in deepseek-coder's vocabulary, whose names are characters that others write bytes with."""
    tokens = [*byte_alphabet, "he", "\u00f5", "  "]
    types = [NORMAL] * (len(tokens) - 2) + [USER_DEFINED] * 2
    tokens.remove("\u00f5")  # the byte's, which no text has
    types.pop(0)
    types[tokens.index("h")] = USER_DEFINED
    path = write_vocabulary(tmp_path / "v.gguf", "gpt2", tokens, types, merges=["h e"])
    tokenizer = Tokenizer.from_gguf(path)
    ids = tokenizer.encode("the\u00f5e  e")
    assert [tokens[token] for token in ids] == ["t", "h", "e", "\u00f5", "e", "  ", "e"]
    assert tokenizer.decode(ids) == "the\u00f5e  e"


def test_bos_is_added_once(spm_tokenizer: Tokenizer) -> None:
    assert spm_tokenizer.add_bos
    assert spm_tokenizer.encode("hello")[0] == 1
    assert spm_tokenizer.encode("")[:2] == [1]
    assert spm_tokenizer.encode("<s>hello", parse_special=True) == spm_tokenizer.encode("hello")
    assert spm_tokenizer.encode("<s><s>", parse_special=True) == [1, 1]
    assert spm_tokenizer.encode_batch(["hello", "w"]) == [
        spm_tokenizer.encode("hello"),
        spm_tokenizer.encode("w"),
    ]


def test_sentencepiece_merges_follow_the_scores(spm_tokenizer: Tokenizer) -> None:
    pieces = [spm_tokenizer.token_bytes(i) for i in spm_tokenizer.encode("hello world", add_special=False)]
    assert pieces == [b" hello", b" wor", b"ld"]
    assert spm_tokenizer.decode(spm_tokenizer.encode("  hello")) == "  hello"
    assert [spm_tokenizer.token_bytes(i) for i in spm_tokenizer.encode("é", add_special=False)] == [
        b" ", b"\xc3", b"\xa9",
    ]  # fmt: skip


def test_what_continues_a_text_has_no_space_in_front(spm_tokenizer: Tokenizer) -> None:
    def pieces(text: str) -> bytes:
        return b"".join(spm_tokenizer.token_bytes(i) for i in spm_tokenizer.encode_continuation(text))

    for text in ("hello", " hello", "  world", "", "\u00e9"):
        assert pieces(text) == text.encode()


def test_space_prefix_can_be_off(tmp_path: Path, write_spm_vocabulary: Write) -> None:
    path = write_spm_vocabulary(
        tmp_path / "v.gguf", extra=lambda writer: writer.add_bool("tokenizer.ggml.add_space_prefix", False)
    )
    tokenizer = Tokenizer.from_gguf(path)
    assert tokenizer.token_bytes(tokenizer.encode("hello", add_special=False)[0]) == b"hello"
    assert tokenizer.decode(tokenizer.encode(" hello")) == " hello"


def test_end_tokens(chat_tokenizer: Tokenizer, spm_tokenizer: Tokenizer) -> None:
    assert [chat_tokenizer.token_bytes(i) for i in chat_tokenizer.end_token_ids] == [
        b"<|endoftext|>",
        b"<|im_end|>",
    ]
    assert spm_tokenizer.end_token_ids == [2]
    assert chat_tokenizer.vocabulary.ends_generation(chat_tokenizer.eos_id)
    assert not chat_tokenizer.vocabulary.ends_generation(0)


def test_message_end_is_no_turn_end_where_calls_have_their_own(
    tmp_path: Path, write_vocabulary: Write, byte_alphabet: list[str]
) -> None:
    tokens = [*byte_alphabet, "<|end|>", "<|call|>", "<|return|>"]
    path = write_vocabulary(tmp_path / "v.gguf", "gpt2", tokens, [NORMAL] * 256 + [CONTROL] * 3)
    assert Tokenizer.from_gguf(path).end_token_ids == [257, 258]


def test_user_defined_end_token_is_control(
    tmp_path: Path, write_vocabulary: Write, byte_alphabet: list[str]
) -> None:
    path = write_vocabulary(
        tmp_path / "v.gguf", "gpt2", [*byte_alphabet, "<|im_end|>"], [NORMAL] * 256 + [USER_DEFINED]
    )
    tokenizer = Tokenizer.from_gguf(path)
    assert tokenizer.end_token_ids == [256]
    assert 256 not in tokenizer.encode("<|im_end|>")
    assert tokenizer.vocabulary.text_bytes(256) == b""


def test_vocabulary_without_types(tmp_path: Path, write_vocabulary: Write, byte_alphabet: list[str]) -> None:
    path = write_vocabulary(tmp_path / "v.gguf", "gpt2", [*byte_alphabet, "<end>"], None, ids={"eos": 256})
    tokenizer = Tokenizer.from_gguf(path)
    assert 256 not in tokenizer.encode("<end>")
    assert tokenizer.encode("<end>", parse_special=True) == [256]


def test_control_token_that_is_a_word_of_its_own(
    tmp_path: Path, write_vocabulary: Write, byte_alphabet: list[str]
) -> None:
    """Whole words skip the merges here: even so, text must not reach a control token."""
    path = write_vocabulary(
        tmp_path / "v.gguf",
        "gpt2",
        [*byte_alphabet, "st", "op", "stop"],
        [NORMAL] * 258 + [CONTROL],
        merges=["s t", "o p", "st op"],
        extra=lambda writer: writer.add_string("tokenizer.ggml.pre", "llama-bpe"),
    )
    tokenizer = Tokenizer.from_gguf(path)
    assert tokenizer.encode("stop") == [256, 257]
    assert tokenizer.encode("stop", parse_special=True) == [258]


def test_unusable_pieces_do_no_harm(
    tmp_path: Path, write_vocabulary: Write, byte_alphabet: list[str]
) -> None:
    tokens: list[str | bytes] = [*byte_alphabet, b"\xff\xfe", "", ""]
    path = write_vocabulary(tmp_path / "v.gguf", "gpt2", tokens, [NORMAL] * 259)
    tokenizer = Tokenizer.from_gguf(path)
    assert tokenizer.encode("a") == [byte_alphabet.index("a")]
    assert tokenizer.decode([256, ord("a"), 257]) == "\ufffd\ufffda"
    path = write_vocabulary(
        tmp_path / "w.gguf", "bert", [b"\xff", "[UNK]", "", "▁a"], [NORMAL] * 4, ids={"unknown": 1}
    )
    assert Tokenizer.from_gguf(path).encode("a b", add_special=False) == [3, 1]


@pytest.mark.parametrize("text", ["\ud800", "a\udfffb"])
@pytest.mark.parametrize("parse_special", [False, True])
def test_lone_surrogates_are_refused(chat_tokenizer: Tokenizer, text: str, parse_special: bool) -> None:
    with pytest.raises(InvalidArgumentError, match="surrogate"):
        chat_tokenizer.encode(text, parse_special=parse_special)


def test_ids_outside_the_vocabulary_are_refused(chat_tokenizer: Tokenizer) -> None:
    for token in (-1, chat_tokenizer.vocab_size):
        with pytest.raises(InvalidArgumentError, match="token id"):
            chat_tokenizer.token_bytes(token)
        with pytest.raises(InvalidArgumentError, match="token id"):
            chat_tokenizer.decode([token])


def test_unknown_model_is_named(tmp_path: Path, write_vocabulary: Write) -> None:
    path = write_vocabulary(tmp_path / "v.gguf", "rwkv", ["a"], [NORMAL])
    with pytest.raises(ModelError, match=r"'?rwkv'?.*gpt2"):
        Tokenizer.from_gguf(path)


def test_unknown_pre_tokenizer_warns(
    tmp_path: Path, write_vocabulary: Write, byte_alphabet: list[str]
) -> None:
    path = write_vocabulary(
        tmp_path / "v.gguf",
        "gpt2",
        byte_alphabet,
        [NORMAL] * 256,
        extra=lambda writer: writer.add_string("tokenizer.ggml.pre", "from-the-future"),
    )
    with pytest.warns(UserWarning, match="from-the-future"):
        assert Tokenizer.from_gguf(path).encode("ab") == [ord("a"), ord("b")]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"types": [NORMAL]}, "token_type"),
        ({"types": [NORMAL, 9, NORMAL]}, "token_type"),
        ({"ids": {"eos": 3}}, "eos_token_id"),
        ({"ids": {"bos": 70000}}, "bos_token_id"),
        ({"ids": {"padding": 3}}, "padding_token_id"),
        ({"ids": {"mask": 9}}, "mask_token_id"),
        ({"model": "t5", "ids": {"unknown": 3}}, "unknown_token_id"),
        ({"model": "llama", "scores": [0.0]}, "scores"),
        ({"model": "t5", "scores": [0.0] * 4}, "scores"),
        ({"model": "llama", "scores": [0.0, float("nan"), 0.0]}, "NaN"),
        ({"model": "gemma4"}, "no unknown token"),
        ({"tokens": ["a", "b", "a"]}, "twice.* as tokens 0 and 2"),
        ({"model": "llama", "tokens": ["b", "b", "a"]}, "twice"),
        ({"model": "t5", "tokens": ["a", "b", "b"]}, "twice"),
        ({"model": "bert", "tokens": ["a", "[UNK]", "\u2581##a"], "ids": {"unknown": 1}}, "same piece"),
        ({"merges": ["a b"]}, "unknown"),
        ({"model": "gemma4", "merges": ["a a"], "ids": {"unknown": 0}}, "unknown"),
        ({"merges": ["ab"]}, "space between"),
        ({"tokens": ["a", "b", "ab"]}, "merges is missing or empty.* 'ab' as token 2"),
        ({"model": "gemma4", "tokens": ["a", "b", "ab"], "ids": {"unknown": 1}}, "merges is missing"),
        ({"model": "whitespace", "tokens": ["a", "b", "ab"], "ids": {"unknown": 1}}, "merges is missing"),
        ({"model": "t5", "tokens": ["a" * 2000, "b", "c"], "ids": {"unknown": 1}}, "length of token 0"),
        ({"extra": lambda writer: writer.add_uint32("tokenizer.chat_template", 1)}, "chat_template"),
        ({"tokens": []}, "tokens"),
    ],
)
def test_contradictions_are_model_errors(
    tmp_path: Path, options: dict[str, object], message: str, write_vocabulary: Write
) -> None:
    settings = {"model": "gpt2", "tokens": ["a", "b", "c"], "types": [NORMAL, UNKNOWN, NORMAL]} | options
    path = write_vocabulary(tmp_path / "v.gguf", **settings)
    with pytest.raises(ModelError, match=message):
        Tokenizer.from_gguf(path)


def test_a_file_that_is_not_gguf(tmp_path: Path) -> None:
    path = tmp_path / "v.gguf"
    path.write_bytes(b"not a model")
    with pytest.raises(GGUFError):
        Tokenizer.from_gguf(path)


def test_chat_template_is_read(
    tmp_path: Path, chat_tokenizer: Tokenizer, write_spm_vocabulary: Write
) -> None:
    assert chat_tokenizer.chat_template is None
    path = write_spm_vocabulary(tmp_path / "v.gguf", extra=lambda writer: writer.add_chat_template("{{ 1 }}"))
    assert Tokenizer.from_gguf(path).chat_template == "{{ 1 }}"


def test_wordpiece(tmp_path: Path, write_vocabulary: Write) -> None:
    tokens = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "▁hello", "▁wor", "ld", "▁,"]
    types = [CONTROL, UNKNOWN, CONTROL, CONTROL, NORMAL, NORMAL, NORMAL, NORMAL]
    path = write_vocabulary(
        tmp_path / "v.gguf", "bert", tokens, types, ids={"cls": 2, "seperator": 3, "unknown": 1}
    )
    tokenizer = Tokenizer.from_gguf(path)
    assert tokenizer.encode("Hello, world") == [2, 4, 7, 5, 6, 3]
    assert tokenizer.encode("xyz", add_special=False) == [1]
    assert tokenizer.decode([2, 4, 5, 6, 3]) == "hello world"


def test_one_tokenizer_in_many_threads(chat_tokenizer: Tokenizer) -> None:
    text = "hello world <|im_end|> " * 200
    plain = chat_tokenizer.encode(text)
    parsed = chat_tokenizer.encode(text, parse_special=True)
    failures: list[str] = []

    def work() -> None:
        for _ in range(5):
            if chat_tokenizer.encode(text) != plain:
                failures.append("plain")
            if chat_tokenizer.encode(text, parse_special=True) != parsed:
                failures.append("parsed")

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
