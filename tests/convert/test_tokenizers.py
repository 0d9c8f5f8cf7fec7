"""Tokenizers of converted folders: what the file says, and that texts encode as the folder's own would."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gguf
import pytest
from model_folders import VOCAB, ModelFolder, tiny_model
from tiny_tokenizers import (
    LLAMA3_REGEX,
    PIECES,
    SPECIALS,
    TIKTOKEN,
    byte_level,
    byte_level_json,
    sentencepiece_proto,
    tiktoken_text,
)
from tokenizers import AddedToken, Tokenizer, decoders, models, normalizers, processors

from llmcore import _core
from llmcore.errors import ModelError
from llmcore.tokenizer import Tokenizer as ConvertedTokenizer
from llmcore.tools.convert import convert
from llmcore.tools.convert.tiktoken_vocabulary import merges_of, read_ranks, spelled

NORMAL, UNKNOWN, CONTROL, USER_DEFINED, UNUSED, BYTE = 1, 2, 3, 4, 5, 6
TEXTS = [
    "the cat sat on the mat", "  the  cats\n\nthere: 12345, 67", "",
    "the\u2019s n\u00f8t \u4f60\u597d \U0001f999",
    " ", "tthhee catcat", "<|end|> the </s>", "\u2581the\u2581",
]  # fmt: skip


def contents(path: Path) -> dict[str, Any]:
    reader = gguf.GGUFReader(path)
    return {name: field.contents() for name, field in reader.fields.items() if name.startswith("tokenizer.")}


def converted(folder: ModelFolder, warnings: list[str] | None = None) -> dict[str, Any]:
    folder.write(folder.path)
    told: list[str] = [] if warnings is None else warnings
    convert(folder.path, folder.path / "out.gguf", overwrite=True, warn=told.append)
    if warnings is None:
        assert told == []
    return contents(folder.path / "out.gguf")


def encoder(folder: ModelFolder) -> ConvertedTokenizer:
    return ConvertedTokenizer.from_gguf(folder.path / "out.gguf")


@pytest.fixture
def folder(tmp_path: Path) -> ModelFolder:
    """A small model whose tokenizer the test replaces."""
    made = tiny_model("llama", num_hidden_layers=1)
    made.files = {}
    made.path = tmp_path / "model"
    return made


@pytest.mark.parametrize(("regex", "ignore_merges"), [(LLAMA3_REGEX, True), (LLAMA3_REGEX, False)])
def test_byte_level_texts_encode_the_same(folder: ModelFolder, regex: str, ignore_merges: bool) -> None:
    original = byte_level(VOCAB - 10, regex, ignore_merges=ignore_merges)
    folder.files["tokenizer.json"] = original.to_str()
    found = converted(folder)
    assert found["tokenizer.ggml.model"] == "gpt2"
    assert len(found["tokenizer.ggml.tokens"]) == VOCAB
    vocabulary = original.get_vocab(with_added_tokens=True)
    for text, token in vocabulary.items():
        assert found["tokenizer.ggml.tokens"][token] == text
        assert found["tokenizer.ggml.token_type"][token] == (CONTROL if text in SPECIALS else NORMAL)
    padding = set(range(VOCAB)) - set(vocabulary.values())
    assert {found["tokenizer.ggml.token_type"][token] for token in padding} == {UNUSED}
    assert {found["tokenizer.ggml.tokens"][token] for token in padding} == {f"[PAD{i}]" for i in padding}
    for text in TEXTS:
        plain = text.replace("<|end|>", "< |end|>")  # as text, not as the control token
        assert encoder(folder).encode(plain, add_special=False) == original.encode(plain).ids


@pytest.mark.parametrize(
    ("model_type", "options", "name"),
    [
        ("qwen2", {}, "qwen2"),
        ("llama", {"regex": LLAMA3_REGEX, "ignore_merges": True}, "llama-bpe"),
        ("glm4", {"regex": LLAMA3_REGEX}, "glm4"),
        ("llama", {"regex": LLAMA3_REGEX}, "smaug-bpe"),
    ],
)
def test_the_pre_tokenizer_is_recognised(
    make_folder: Callable[..., ModelFolder], model_type: str, options: dict[str, Any], name: str
) -> None:
    folder = make_folder(model_type)
    folder.files["tokenizer.json"] = byte_level_json(300, **options)
    assert converted(folder)["tokenizer.ggml.pre"] == name


@pytest.mark.parametrize(
    ("steps", "name"),
    [
        ({"type": "ByteLevel", "add_prefix_space": False, "use_regex": True}, "gpt-2"),
        (
            {
                "type": "Sequence",
                "pretokenizers": [
                    {"type": "Digits", "individual_digits": True},
                    {"type": "ByteLevel", "add_prefix_space": False, "use_regex": True},
                ],
            },
            "starcoder",
        ),
        (
            {
                "type": "Sequence",
                "pretokenizers": [
                    {
                        "type": "Split", "pattern": {"Regex": LLAMA3_REGEX}, "behavior": "Removed",
                        "invert": True,
                    },
                    {"type": "ByteLevel", "add_prefix_space": False, "use_regex": False},
                ],
            },
            "smaug-bpe",
        ),
        ({"type": "ByteLevel", "add_prefix_space": True, "use_regex": True}, None),
        ({"type": "Sequence", "pretokenizers": [{"type": "Whitespace"}, {"type": "ByteLevel"}]}, None),
    ],
)  # fmt: skip
def test_other_forms_of_pre_tokenizers(folder: ModelFolder, steps: dict[str, Any], name: str | None) -> None:
    tokenizer = byte_level_json(300)
    tokenizer["pre_tokenizer"] = steps
    folder.files["tokenizer.json"] = tokenizer
    warnings: list[str] = []
    found = converted(folder, warnings)
    assert found["tokenizer.ggml.pre"] == (name or "default")
    assert len(warnings) == (0 if name else 1)


def test_added_tokens_of_each_kind(folder: ModelFolder) -> None:
    tokenizer = byte_level_json(300)
    n = len(tokenizer["model"]["vocab"]) + len(SPECIALS)
    tokenizer["added_tokens"] += [
        {"id": n, "content": "<think>", "special": False},
        {"id": n + 1, "content": "<|python|>", "special": False},
        {"id": n + 2, "content": "\u2581\u2581", "special": False},
    ]
    folder.files["tokenizer.json"] = tokenizer
    found = converted(folder)
    types, tokens = found["tokenizer.ggml.token_type"], found["tokenizer.ggml.tokens"]
    assert types[n : n + 3] == [USER_DEFINED, CONTROL, USER_DEFINED]
    assert tokens[n : n + 3] == ["<think>", "<|python|>", "  "]


@pytest.mark.parametrize("pairs", [True, False])
def test_merges_in_both_of_their_forms(folder: ModelFolder, pairs: bool) -> None:
    tokenizer = byte_level_json(300)
    merges = [tuple(merge) for merge in tokenizer["model"]["merges"]]
    tokenizer["model"]["merges"] = merges if pairs else [" ".join(merge) for merge in merges]
    folder.files["tokenizer.json"] = tokenizer
    assert converted(folder)["tokenizer.ggml.merges"] == [" ".join(merge) for merge in merges]


def test_sentencepiece_pieces(folder: ModelFolder) -> None:
    folder.files["tokenizer.model"] = sentencepiece_proto()
    folder.files["added_tokens.json"] = {"<|turn|>": 300, "<tool>": 301}
    folder.files["tokenizer_config.json"] = {
        "bos_token": "<s>", "eos_token": {"content": "<|turn|>"}, "add_bos_token": True,
        "add_eos_token": False,
        "added_tokens_decoder": {
            "0": {"content": "<unk>", "special": True}, "302": {"content": "[X]", "special": True},
        },
    }  # fmt: skip
    found = converted(folder)
    assert found["tokenizer.ggml.model"] == "llama"
    assert found["tokenizer.ggml.pre"] == "default"
    for token, (text, score, kind) in enumerate(PIECES):
        assert found["tokenizer.ggml.tokens"][token] == (text if kind != USER_DEFINED else "  ")
        assert found["tokenizer.ggml.scores"][token] == pytest.approx(score)
        assert found["tokenizer.ggml.token_type"][token] == kind
    assert found["tokenizer.ggml.tokens"][300:303] == ["<|turn|>", "<tool>", "[X]"]
    assert found["tokenizer.ggml.token_type"][300:304] == [CONTROL, USER_DEFINED, CONTROL, UNUSED]
    assert found["tokenizer.ggml.bos_token_id"] == 1
    assert found["tokenizer.ggml.eos_token_id"] == 300
    assert found["tokenizer.ggml.unknown_token_id"] == 0
    assert found["tokenizer.ggml.add_bos_token"] is True
    assert found["tokenizer.ggml.add_eos_token"] is False
    ids = encoder(folder).encode("the cat")
    assert [found["tokenizer.ggml.tokens"][token] for token in ids] == ["<s>", "\u2581the", "\u2581cat"]


@pytest.mark.parametrize(("add_dummy_prefix", "expected"), [(False, False), (True, None)])
def test_the_space_in_front(folder: ModelFolder, add_dummy_prefix: bool, expected: bool | None) -> None:
    folder.files["tokenizer.model"] = sentencepiece_proto(add_dummy_prefix=add_dummy_prefix)
    assert converted(folder).get("tokenizer.ggml.add_space_prefix") is expected


def test_gemma_has_no_space_in_front(make_folder: Callable[..., ModelFolder]) -> None:
    assert converted(make_folder("gemma2"))["tokenizer.ggml.add_space_prefix"] is False


def test_a_unigram_model_is_warned_of(folder: ModelFolder) -> None:
    folder.files["tokenizer.model"] = sentencepiece_proto(model_type=1)
    warnings: list[str] = []
    converted(folder, warnings)
    assert any("unigram" in line for line in warnings)


@pytest.mark.parametrize("prefix", [True, False])
def test_sentencepiece_in_tokenizer_json_encodes_the_same(folder: ModelFolder, prefix: bool) -> None:
    """The form in which newer folders keep it: merges and byte_fallback instead of scores."""
    pieces = [text for text, _, kind in PIECES if kind != USER_DEFINED]
    merges = [
        ("\u2581", "t"), ("h", "e"), ("\u2581t", "he"), ("a", "t"), ("\u2581", "c"), ("\u2581c", "at"),
    ]  # fmt: skip
    model = models.BPE(
        {text: token for token, text in enumerate(pieces)}, merges, unk_token="<unk>", fuse_unk=True,
        byte_fallback=True,
    )  # fmt: skip
    original = Tokenizer(model)
    steps: list[Any] = [normalizers.Prepend("\u2581")] if prefix else []
    original.normalizer = normalizers.Sequence([*steps, normalizers.Replace(" ", "\u2581")])
    original.decoder = decoders.Sequence([decoders.Replace("\u2581", " "), decoders.ByteFallback()])
    original.add_special_tokens(
        [AddedToken(text, special=True, normalized=False) for text in ("<s>", "</s>")]
    )
    original.post_processor = processors.TemplateProcessing(
        single=["<s>", "$A"], pair=["<s>", "$A", "<s>", "$B"], special_tokens=[("<s>", 1)]
    )
    folder.files["tokenizer.json"] = original.to_str()
    folder.files["tokenizer_config.json"] = {"bos_token": "<s>", "eos_token": "</s>"}
    found = converted(folder)
    assert found["tokenizer.ggml.model"] == "llama"
    assert found["tokenizer.ggml.add_space_prefix"] is prefix
    assert found["tokenizer.ggml.add_bos_token"] is True
    assert found["tokenizer.ggml.add_eos_token"] is False
    assert found["tokenizer.ggml.token_type"][:4] == [UNKNOWN, CONTROL, CONTROL, BYTE]
    for text in TEXTS:
        plain = text.replace("</s>", "< /s>")
        if plain:  # the library prepends the space to an empty text too
            assert encoder(folder).encode(plain) == original.encode(plain).ids, plain


def reference_tiktoken(text: bytes, ranks: dict[bytes, int]) -> list[int]:
    """tiktoken's own rule: of all neighbours, the pair whose union has the lowest rank is merged first."""
    parts = [bytes([byte]) for byte in text]
    while True:
        pairs = [(ranks[parts[i] + parts[i + 1]], i) for i in range(len(parts) - 1)
                 if parts[i] + parts[i + 1] in ranks]  # fmt: skip
        if not pairs:
            return [ranks[part] for part in parts]
        _, i = min(pairs)
        parts[i : i + 2] = [parts[i] + parts[i + 1]]


def test_tiktoken_vocabulary_of_qwen(make_folder: Callable[..., ModelFolder]) -> None:
    folder = make_folder("qwen")
    found = converted(folder)
    n = len(TIKTOKEN)
    assert found["tokenizer.ggml.pre"] == "qwen2"
    assert found["tokenizer.ggml.tokens"][n : n + 4] == [
        "<|endoftext|>", "<|im_start|>", "<|im_end|>", "<|extra_0|>",
    ]  # fmt: skip
    assert found["tokenizer.ggml.token_type"][n : n + 209] == [CONTROL] * 208 + [UNUSED]
    assert found["tokenizer.ggml.eos_token_id"] == found["tokenizer.ggml.bos_token_id"] == n
    assert found["tokenizer.ggml.eot_token_id"] == n + 2
    assert "<|im_start|>system" in found["tokenizer.chat_template"]
    assert len(found["tokenizer.ggml.merges"]) == n - 256
    assert "\u0120t he" in found["tokenizer.ggml.merges"]
    ranks = {token: rank for rank, token in enumerate(TIKTOKEN)}
    for word in (b" the", b" cat", b" cats", b"the", b"12", "\u4f60".encode(), b"\n\n", b" thatch"):
        ids = encoder(folder).encode(word.decode(), add_special=False)
        parts = [b"1", b"2"] if word == b"12" else [word]  # digits are cut apart before
        assert ids == [token for part in parts for token in reference_tiktoken(part, ranks)], word


def test_the_base_model_of_qwen_gets_no_template(make_folder: Callable[..., ModelFolder]) -> None:
    folder = make_folder("qwen")
    folder.files["generation_config.json"] = {"chat_format": "raw"}
    found = converted(folder)
    assert "tokenizer.chat_template" not in found
    assert "tokenizer.ggml.eot_token_id" not in found


def test_chatglm3_appends_its_control_tokens(make_folder: Callable[..., ModelFolder]) -> None:
    found = converted(make_folder("chatglm"))
    n = len(PIECES)
    assert found["tokenizer.ggml.pre"] == "chatglm-spm"
    assert found["tokenizer.ggml.tokens"][:3] == ["<unk>", "<bos>", "<eos>"]
    assert found["tokenizer.ggml.tokens"][n : n + 9] == [
        "[MASK]", "[gMASK]", "[sMASK]", "sop", "eop", "<|system|>", "<|user|>", "<|assistant|>",
        "<|observation|>",
    ]  # fmt: skip
    assert found["tokenizer.ggml.token_type"][n : n + 9] == [CONTROL] * 9
    assert found["tokenizer.ggml.eos_token_id"] == 2
    assert found["tokenizer.ggml.eot_token_id"] == n + 6
    assert found["tokenizer.ggml.add_bos_token"] is False


def test_glm4_keeps_tiktoken_ranks_in_tokenizer_model(make_folder: Callable[..., ModelFolder]) -> None:
    folder = make_folder("chatglm")
    folder.files["tokenizer.model"] = tiktoken_text()
    n = len(TIKTOKEN)
    names = ["<|endoftext|>", "[gMASK]", "<sop>", "<|user|>", "<|observation|>"]
    folder.files["tokenizer_config.json"] = {
        "eos_token": "<|endoftext|>",
        "added_tokens_decoder": {
            str(n + i): {"content": name, "special": True} for i, name in enumerate(names)
        },
    }
    found = converted(folder)
    assert found["tokenizer.ggml.model"] == "gpt2"
    assert found["tokenizer.ggml.pre"] == "chatglm-bpe"
    assert found["tokenizer.ggml.tokens"][n : n + 5] == names
    assert found["tokenizer.ggml.eos_token_id"] == n
    assert found["tokenizer.ggml.eot_token_id"] == n + 3
    assert len(found["tokenizer.ggml.merges"]) == n - 256


def test_ranks_in_tokenizer_model_give_way_to_tokenizer_json(make_folder: Callable[..., ModelFolder]) -> None:
    """Llama 3's folders may hold the original release's file as well."""
    folder = make_folder("llama")
    folder.files["tokenizer.model"] = tiktoken_text()
    found = converted(folder)
    assert found["tokenizer.ggml.merges"] == [
        " ".join(merge) for merge in folder.files["tokenizer.json"]["model"]["merges"]
    ]


def test_special_ids_by_name_and_by_number(make_folder: Callable[..., ModelFolder]) -> None:
    folder = make_folder("llama")
    begin = byte_level(VOCAB - 4).token_to_id("<|begin|>")
    found = converted(folder)
    assert found["tokenizer.ggml.bos_token_id"] == begin
    assert found["tokenizer.ggml.eos_token_id"] == begin + 1
    folder.files["tokenizer_config.json"] = {}
    folder.config |= {"bos_token_id": begin, "eos_token_id": [begin + 1, begin + 3], "pad_token_id": 10**9}
    folder.files["generation_config.json"] = {"eos_token_id": [begin + 1, begin + 3, 5, -1, "x"]}
    found = converted(folder)
    assert found["tokenizer.ggml.bos_token_id"] == begin
    assert found["tokenizer.ggml.eos_token_id"] == begin + 1
    assert found["tokenizer.ggml.eot_token_id"] == begin + 3
    assert "tokenizer.ggml.padding_token_id" not in found


@pytest.mark.parametrize(
    ("single", "bos", "eos"),
    [
        ([{"SpecialToken": {"id": "<|begin|>"}}, {"Sequence": {"id": "A"}}], True, False),
        ([{"Sequence": {"id": "A"}}, {"SpecialToken": {"id": "<|end|>"}}], False, True),
        ([{"Sequence": {"id": "A"}}], False, False),
        ([{"SpecialToken": {"id": "<|turn|>"}}, {"Sequence": {"id": "A"}}], False, False),
    ],
)
def test_the_template_around_a_text(
    make_folder: Callable[..., ModelFolder], single: list[Any], bos: bool, eos: bool
) -> None:
    folder = make_folder("llama")
    post = {"type": "TemplateProcessing", "single": single, "pair": [], "special_tokens": {}}
    folder.files["tokenizer.json"]["post_processor"] = {"type": "Sequence", "processors": [post]}
    folder.files["tokenizer_config.json"]["add_bos_token"] = not bos  # the template is what runs
    found = converted(folder)
    assert found["tokenizer.ggml.add_bos_token"] is bos
    assert found["tokenizer.ggml.add_eos_token"] is eos


def test_chat_templates_in_each_place(make_folder: Callable[..., ModelFolder]) -> None:
    folder = make_folder("llama")
    assert converted(folder)["tokenizer.chat_template"] == "{{ messages }}"
    named = [{"name": "default", "template": "{{ 1 }}"}, {"name": "tool_use", "template": "{{ 2 }}"}]
    for several in (named, {"default": "{{ 1 }}", "tool_use": "{{ 2 }}"}):
        folder.files["tokenizer_config.json"]["chat_template"] = several
        found = converted(folder)
        assert found["tokenizer.chat_template"] == "{{ 1 }}"
        assert found["tokenizer.chat_template.tool_use"] == "{{ 2 }}"
    del folder.files["tokenizer_config.json"]["chat_template"]
    folder.files["chat_template.json"] = {"chat_template": "{{ 3 }}"}
    assert converted(folder)["tokenizer.chat_template"] == "{{ 3 }}"
    folder.files["chat_template.jinja"] = "{{ 4 }}"
    assert converted(folder)["tokenizer.chat_template"] == "{{ 4 }}"
    (folder.path / "additional_chat_templates").mkdir()
    (folder.path / "additional_chat_templates" / "rag.jinja").write_text("{{ 5 }}")
    found = converted(folder)
    assert found["tokenizer.chat_template"] == "{{ 4 }}"
    assert found["tokenizer.chat_template.rag"] == "{{ 5 }}"


def test_more_tokens_than_the_embedding_has_rows(folder: ModelFolder) -> None:
    tokenizer = byte_level_json(300)
    tokenizer["added_tokens"].append({"id": VOCAB + 7, "content": "<far>", "special": True})
    folder.files["tokenizer.json"] = tokenizer
    warnings: list[str] = []
    assert len(converted(folder, warnings)["tokenizer.ggml.tokens"]) == VOCAB
    assert warnings == [f"tokens from id {VOCAB} on are left out: the embedding has no rows for them"]


def nested_sequences(depth: int) -> str:
    steps = '{"type": "Sequence", "pretokenizers": [' * depth + '{"type": "ByteLevel"}' + "]}" * depth
    return json.dumps(byte_level_json(300) | {"pre_tokenizer": 0}).replace(
        '"pre_tokenizer": 0', f'"pre_tokenizer": {steps}'
    )


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ({}, r"has no tokenizer; expected one of tokenizer.model, tokenizer.json, qwen.tiktoken"),
        ({"tokenizer.json": "{"}, r"tokenizer.json is no JSON"),
        ({"tokenizer.json": "[" * 100_000}, r"tokenizer.json is no JSON"),
        ({"tokenizer.json": "[]"}, r"content of tokenizer.json; got list"),
        ({"tokenizer.json": b"\xff\xfe"}, r"tokenizer.json is not UTF-8"),
        (
            {"tokenizer.json": {"model": {"type": "Unigram", "vocab": {}}}},
            r"model of tokenizer.json; got Unigram",
        ),
        (
            {"tokenizer.json": {"model": {"type": "BPE", "vocab": {"a": 0}, "merges": []}}},
            r"unsupported kind",
        ),
        ({"tokenizer.json": {"model": {"vocab": {"a": "b"}, "merges": []}}}, r"ids of tokenizer.json"),
        ({"tokenizer.json": {"model": {"vocab": {"a": 1 << 40}, "merges": []}}}, r"ids of tokenizer.json"),
        ({"tokenizer.json": {"model": {"vocab": {"a": -1}, "merges": []}}}, r"ids of tokenizer.json"),
        ({"tokenizer.json": {"model": {"vocab": {"\ud800": 0}, "merges": []}}}, r"not Unicode text"),
        ({"tokenizer.json": {"model": {"vocab": {"a": 0}, "merges": ["abc"]}}}, r"merge in tokenizer.json"),
        ({"tokenizer.json": {"model": {"vocab": {"a": 0}, "merges": 3}}}, r"merges in tokenizer.json"),
        (
            {"tokenizer.json": {**byte_level_json(300), "added_tokens": [{"id": 1 << 40, "content": "x"}]}},
            r"id of an added token",
        ),
        (
            {"tokenizer.json": {**byte_level_json(300), "added_tokens": [{"id": 3, "content": 3}]}},
            r"text of an added token",
        ),
        ({"tokenizer.json": {**byte_level_json(300), "added_tokens": [3]}}, r"entry of added_tokens"),
        (
            {"tokenizer.json": nested_sequences(2000)},
            r"nested too deeply|tokenizer.json is no JSON: maximum recursion",
        ),
        (
            {"tokenizer.json": byte_level_json(300), "chat_template.json": {"chat_template": "\ud800"}},
            r"text that is not Unicode",
        ),
        ({"tokenizer.model": b""}, r"it has no pieces"),
        ({"tokenizer.model": b"\x0a\xff\xff\xff\xff\x0f"}, r"tokenizer.model is cut short"),
        ({"tokenizer.model": b"\xff" * 40}, r"more than ten bytes"),
        ({"tokenizer.model": b"\x0b"}, r"is no SentencePiece model: field type; got 3"),
        ({"tokenizer.model": sentencepiece_proto()[:50]}, r"tokenizer.model is cut short"),
        ({"tokenizer.model": sentencepiece_proto([("a", 0.0, 9)])}, r"type of piece 'a'.*got 9"),
        ({"tokenizer.model": b"\x0a\x03\x0a\x01\xff"}, r"piece of tokenizer.model is not UTF-8"),
        ({"qwen.tiktoken": "YQ== 0\n!! 1\n"}, r"line 2 of qwen.tiktoken"),
        ({"qwen.tiktoken": "YQ== 0\nYg== 5\n"}, r"ranks of qwen.tiktoken"),
        ({"qwen.tiktoken": "YQ== 0\n" + "QUFB" * 1000 + " 1\n"}, r"token in line 2.*got 3000 bytes"),
        (
            {"tokenizer.json": byte_level_json(300), "tokenizer_config.json": {"chat_template": 3}},
            r"chat_template; got int",
        ),
        (
            {
                "tokenizer.json": byte_level_json(300),
                "tokenizer_config.json": {"chat_template": [{"name": 1}]},
            },
            r"entry of chat_template",
        ),
        (
            {
                "tokenizer.json": byte_level_json(300),
                "tokenizer_config.json": {"added_tokens_decoder": {"x": {"content": "y"}}},
            },
            r"entry of added_tokens_decoder",
        ),
    ],
)
def test_a_tokenizer_that_cannot_be(folder: ModelFolder, files: dict[str, Any], message: str) -> None:
    folder.files = files
    with pytest.raises(ModelError, match=message):
        converted(folder)
    assert not list(folder.path.glob("out.gguf*"))


def test_an_unusual_file_of_json_is_read_as_json(folder: ModelFolder) -> None:
    folder.files = {"tokenizer.json": json.dumps(byte_level_json(300), ensure_ascii=False, indent=1)}
    assert converted(folder)["tokenizer.ggml.model"] == "gpt2"


def test_published_merges_follow_from_the_ranks(test_data: Path, tmp_path: Path) -> None:
    """Qwen's vocabulary of 151,643 tokens: its ranks give back the merges it was published with."""
    fields = gguf_strings(test_data / "vocab" / "ggml-vocab-qwen2.gguf")
    tokens, merges = fields["tokenizer.ggml.tokens"], fields["tokenizer.ggml.merges"]
    printable = [*range(33, 127), *range(161, 173), *range(174, 256)]
    others = iter(range(256, 512))
    byte_of = {chr(byte if byte in printable else next(others)): byte for byte in range(256)}
    words = [bytes(map(byte_of.__getitem__, token)) for token in tokens[:151643]]
    file = tmp_path / "qwen.tiktoken"
    file.write_text(tiktoken_text(words))
    found = [f"{spelled(left)} {spelled(right)}" for left, right in merges_of(read_ranks(file))]
    assert found == merges


def gguf_strings(path: Path) -> dict[str, list[str]]:
    file = _core.GGUFFile(path)
    return {name: file.get(name, None) for name in ("tokenizer.ggml.tokens", "tokenizer.ggml.merges")}
