"""Vocabularies as the model families have them: their formats, what ends a turn, what text cannot do."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import gguf
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from llmcore.chat_formats import FORMATS
from llmcore.errors import InvalidArgumentError
from llmcore.model_tokenizer import ModelTokenizer

NORMAL, UNKNOWN, CONTROL, USER_DEFINED, BYTE = 1, 2, 3, 4, 6
ROLES = ("<|system|>", "<|user|>", "<|assistant|>", "<|observation|>")


@dataclass(frozen=True)
class Family:
    """What a family's files hold beside their ordinary pieces."""

    format: str
    architecture: str
    model: str
    controls: tuple[str, ...]
    eos: str
    ends: frozenset[str]
    bos: str = ""
    eot: str = ""
    tags: tuple[str, ...] = ()
    name: str = ""
    fields: dict[str, bool] = field(default_factory=dict)

    @property
    def id(self) -> str:
        return f"{self.format}-{self.architecture}-{self.model}"


def family(*facts: str, **more: Any) -> Family:
    """Of format, architecture, kind of vocabulary, control tokens, EOS and what ends a turn."""
    speaks, architecture, model, names, eos, ends = facts
    return Family(speaks, architecture, model, tuple(names.split()), eos, frozenset(ends.split()), **more)


LLAMA3 = "<|begin_of_text|> <|end_of_text|> <|start_header_id|> <|end_header_id|> <|eot_id|>"
MISTRAL = "<s> </s> [INST] [/INST] [TOOL_CALLS] [AVAILABLE_TOOLS] [/AVAILABLE_TOOLS] [TOOL_RESULTS]"
GEMMA = "<pad> <eos> <bos> <start_of_turn> <end_of_turn>"
PHI3 = "<s> <|endoftext|> <|assistant|> <|system|> <|end|> <|user|>"
GLM3 = "<bos> <eos> [MASK] [gMASK] [sMASK] sop eop " + " ".join(ROLES)
GLM4 = "<|endoftext|> [MASK] [gMASK] [sMASK] <sop> <eop> " + " ".join(ROLES)
HARMONY = (
    "<|startoftext|> <|endoftext|> <|return|> <|constrain|> <|channel|> <|start|> <|end|> <|message|> "
    "<|call|>"
)
CHATML = "<|endoftext|> <|im_start|> <|im_end|>"
TOOL_TAGS = ("<tool_call>", "</tool_call>")
THINK_TAGS = (*TOOL_TAGS, "<think>", "</think>")
CHATML_ENDS = "<|endoftext|> <|im_end|>"
NO_PREFIX = {"tokenizer.ggml.add_space_prefix": False}

FAMILIES = [
    family("qwen", "qwen", "gpt2", CHATML, "<|endoftext|>", CHATML_ENDS),
    family("qwen", "qwen2", "gpt2", CHATML, "<|im_end|>", CHATML_ENDS),
    family("qwen2_5", "qwen2", "gpt2", CHATML, "<|im_end|>", CHATML_ENDS, tags=TOOL_TAGS),
    family("qwen2_5", "qwen2moe", "gpt2", CHATML, "<|im_end|>", CHATML_ENDS, tags=TOOL_TAGS),
    family("qwen3", "qwen3", "gpt2", CHATML, "<|im_end|>", CHATML_ENDS, tags=THINK_TAGS),
    family("qwen3", "qwen3moe", "gpt2", CHATML, "<|im_end|>", CHATML_ENDS, tags=THINK_TAGS),
    family("chatml", "llama", "gpt2", CHATML, "<|im_end|>", CHATML_ENDS),
    family("chatml", "llama", "llama", "<s> </s> <|im_start|> <|im_end|>", "</s>", "</s> <|im_end|>"),
    family("llama2", "llama", "llama", "<s> </s>", "</s>", "</s>", bos="<s>", name="Llama-2-7b-chat-hf"),
    family(
        "llama3",
        "llama",
        "gpt2",
        LLAMA3,
        "<|end_of_text|>",
        "<|end_of_text|> <|eot_id|>",
        bos="<|begin_of_text|>",
    ),
    family(
        "llama3_1",
        "llama",
        "gpt2",
        f"{LLAMA3} <|eom_id|> <|python_tag|>",
        "<|eot_id|>",
        "<|end_of_text|> <|eot_id|> <|eom_id|>",
        bos="<|begin_of_text|>",
    ),
    *(
        family(
            "gemma",
            arch,
            "llama",
            GEMMA,
            "<eos>",
            "<eos> <end_of_turn>",
            bos="<bos>",
            fields=NO_PREFIX,
        )
        for arch in ("gemma", "gemma2", "gemma3")
    ),
    family(
        "mistral_v1", "llama", "llama", "<s> </s>", "</s>", "</s>", bos="<s>", name="Mixtral-8x7B-Instruct"
    ),
    family("mistral_v3", "llama", "llama", MISTRAL, "</s>", "</s>", bos="<s>"),
    family("mistral_v3", "llama", "gpt2", MISTRAL, "</s>", "</s>", bos="<s>"),
    family(
        "mistral_v7",
        "llama",
        "gpt2",
        f"{MISTRAL} [SYSTEM_PROMPT] [/SYSTEM_PROMPT]",
        "</s>",
        "</s>",
        bos="<s>",
    ),
    family(
        "phi3", "phi3", "llama", PHI3, "<|endoftext|>", "<|endoftext|> <|end|>", bos="<s>", tags=("</s>",)
    ),
    family(
        "phi4_mini",
        "phi3",
        "gpt2",
        "<|endoftext|> <|assistant|> <|system|> <|end|> <|user|> <|tool|> <|/tool|>",
        "<|endoftext|>",
        "<|endoftext|> <|end|>",
    ),
    family("phi4", "phi3", "gpt2", f"{CHATML} <|im_sep|>", "<|im_end|>", CHATML_ENDS),
    family(
        "chatglm3",
        "chatglm",
        "llama",
        GLM3,
        "<eos>",
        "<eos> <|user|> <|observation|>",
        bos="<bos>",
        fields={"tokenizer.ggml.add_bos_token": False},
    ),
    *(
        family(
            "glm4",
            arch,
            "gpt2",
            GLM4,
            "<|endoftext|>",
            "<|endoftext|> <|user|> <|observation|>",
            eot="<|user|>",
        )
        for arch in ("chatglm", "glm4")
    ),
    family(
        "gpt_oss",
        "gpt-oss",
        "gpt2",
        HARMONY,
        "<|return|>",
        "<|endoftext|> <|return|> <|call|>",
        bos="<|startoftext|>",
    ),
]
WITH_TOOLS = ("qwen2_5", "qwen3", "llama3_1", "mistral_v3", "phi4_mini", "chatglm3", "glm4", "gpt_oss")
every_family = pytest.mark.parametrize("one", FAMILIES, ids=lambda one: one.id)


def ordinary_pieces(model: str, byte_alphabet: Sequence[str]) -> tuple[list[str], list[int]]:
    if model == "gpt2":
        return [*byte_alphabet, "qz"], [NORMAL] * 257
    letters = ["▁", *"abcdefghijklmnopqrstuvwxyz", "▁h", "▁hi"]
    return (
        ["<unk>", *(f"<0x{byte:02X}>" for byte in range(256)), *letters],
        [UNKNOWN, *[BYTE] * 256, *[NORMAL] * len(letters)],
    )


Write = Callable[..., ModelTokenizer]


@pytest.fixture(scope="session")
def load(tmp_path_factory: pytest.TempPathFactory, byte_alphabet: list[str]) -> Write:
    """(family, file name=, type of the control tokens=): the tokenizer of such a file."""

    def write(one: Family, name: str = "m.gguf", control_type: int = CONTROL) -> ModelTokenizer:
        tokens, types = ordinary_pieces(one.model, byte_alphabet)
        specials = [*one.controls, *one.tags]
        scores = [-float(i) for i in range(len(tokens))] + [0.0] * len(specials)
        types = types + [control_type] * len(one.controls) + [USER_DEFINED] * len(one.tags)
        tokens = tokens + specials
        path = tmp_path_factory.mktemp("family") / name
        writer = gguf.GGUFWriter(path, one.architecture)
        writer.add_tokenizer_model(one.model)
        writer.add_token_list(tokens)
        writer.add_token_types(types)
        if one.model == "llama":
            writer.add_token_scores(scores)
            writer.add_unk_token_id(0)
        else:
            writer.add_tokenizer_pre("glm4" if one.format == "glm4" else "qwen2")
            writer.add_token_merges(["q z"])
        for key, text in (("bos", one.bos), ("eos", one.eos), ("eot", one.eot)):
            if text:
                writer.add_uint32(f"tokenizer.ggml.{key}_token_id", tokens.index(text))
        for key, value in one.fields.items():
            writer.add_bool(key, value)
        if one.name:
            writer.add_name(one.name)
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.close()
        return ModelTokenizer.from_gguf(path)

    return write


@pytest.fixture(scope="session")
def loaded(load: Write) -> dict[str, ModelTokenizer]:
    return {one.id: load(one) for one in FAMILIES}


def source_of(name: str) -> str:
    return next(one for one in FORMATS if one.name == name).source


def texts(tokenizer: ModelTokenizer, ids: Sequence[int]) -> list[str]:
    return [tokenizer.token_bytes(token).decode() for token in ids]


def controls(tokenizer: ModelTokenizer, ids: Sequence[int]) -> list[str]:
    types = tokenizer.tokenizer.vocabulary.token_types
    return texts(tokenizer, [token for token in ids if types[token] == CONTROL])


def conversation(system: str, *contents: str) -> list[dict[str, Any]]:
    roles = ("user", "assistant")
    turns = [{"role": roles[i % 2], "content": content} for i, content in enumerate(contents)]
    return [{"role": "system", "content": system}, *turns]


@every_family
def test_the_vocabulary_shows_the_format(loaded: dict[str, ModelTokenizer], one: Family) -> None:
    assert loaded[one.id].chat_template == source_of(one.format)


@every_family
def test_what_ends_a_turn(loaded: dict[str, ModelTokenizer], one: Family) -> None:
    tokenizer = loaded[one.id]
    assert set(texts(tokenizer, tokenizer.tokenizer.end_token_ids)) == one.ends


@every_family
@pytest.mark.parametrize("written", [NORMAL, USER_DEFINED])
def test_known_tokens_count_whatever_the_file_calls_them(load: Write, one: Family, written: int) -> None:
    tokenizer = load(one, control_type=written)
    ends = set(texts(tokenizer, tokenizer.tokenizer.end_token_ids))
    assert ends == one.ends
    if one.name:
        return  # formats in plain text
    if one.format == "chatglm3":  # Its "sop" is a syllable where the file does not say it is a token.
        assert tokenizer.chat_template is (None if written == NORMAL else source_of("chatglm3"))
    else:
        assert tokenizer.chat_template == source_of(one.format)
    marks = [name for name in one.controls if name in one.ends and name not in ("</s>", "<eos>")]
    ids = tokenizer.encode("".join(marks))
    assert not set(texts(tokenizer, ids)) & set(marks)


@pytest.mark.parametrize(
    ("one", "text"),
    [
        ("qwen-qwen-gpt2", "<|im_start|>system\nbe<|im_end|>\n<|im_start|>user\nhi<|im_end|>\n"),
        ("llama2-llama-llama", "<s>[INST] <<SYS>>\nbe\n<</SYS>>\n\nhi [/INST] yo </s><s> [INST] so [/INST]"),
        ("gemma-gemma-llama", "<bos><start_of_turn>user\nbe\n\nhi<end_of_turn>\n<start_of_turn>model\nyo"),
        (
            "chatglm3-chatglm-llama",
            "[gMASK]sop<|system|>\n be<|user|> \n hi<|assistant|> \n yo<|user|> \n so",
        ),
        ("glm4-chatglm-gpt2", "[gMASK]<sop><|system|>\nbe<|user|>\nhi<|assistant|>\nyo<|user|>\nso"),
        ("mistral_v3-llama-llama", "<s>[INST]hi[/INST] yo</s>[INST] be\n\nso[/INST]"),
        ("mistral_v3-llama-gpt2", "<s>[INST]hi[/INST]yo</s>[INST]be\n\nso[/INST]"),
    ],
)
def test_conversations_as_tokens(loaded: dict[str, ModelTokenizer], one: str, text: str) -> None:
    tokenizer = loaded[one]
    ids = tokenizer.encode_chat(conversation("be", "hi", "yo", "so"))
    assert tokenizer.decode(ids, skip_special=False).startswith(text)


def test_special_tokens_of_chatglm3_are_ids(loaded: dict[str, ModelTokenizer]) -> None:
    tokenizer = loaded["chatglm3-chatglm-llama"]
    ids = tokenizer.encode_chat([{"role": "user", "content": "hi"}])
    assert texts(tokenizer, ids) == ["[gMASK]", "sop", "<|user|>", " ", "\n", " hi", "<|assistant|>"]
    observed = tokenizer.encode_chat([{"role": "observation", "content": "hi"}])
    assert controls(tokenizer, observed) == ["[gMASK]", "sop", "<|observation|>", "<|assistant|>"]
    for text in ("sop", "philosophy", "people", "[gMASK]sop<|user|>"):
        assert controls(tokenizer, tokenizer.encode(text)) == []


def test_phi3s_tokens_take_in_the_space_behind_them(loaded: dict[str, ModelTokenizer]) -> None:
    """As its own tokenizer does: the line breaks of its format are no tokens."""
    tokenizer = loaded["phi3-phi3-llama"]
    ids = tokenizer.encode_chat(conversation("be", "hi \n", " \n\u2003yo", "so"))
    assert texts(tokenizer, ids) == [
        *("<s>", "<|system|>", " ", "b", "e", "<|end|>", "<|user|>", " hi", " ", "\n", "<|end|>"),
        *("<|assistant|>", " ", "y", "o", "<|end|>", "<|user|>", " ", "s", "o", "<|end|>", "<|assistant|>"),
    ]
    kept = tokenizer.encode("<s> hi<|user|>\n\n<|endoftext|> hi", parse_special=True)
    assert texts(tokenizer, kept) == ["<s>", " ", " hi", "<|user|>", "<|endoftext|>", " ", " hi"]
    bpe = loaded["phi4_mini-phi3-gpt2"]
    assert texts(bpe, bpe.encode("<|user|>\n", parse_special=True)) == ["<|user|>", "\n"]


@pytest.mark.parametrize("prefix", [True, False])
@pytest.mark.parametrize("model", ["llama", "gpt2"])
def test_mistrals_space_is_written_once(load: Write, prefix: bool, model: str) -> None:
    """ "[INST] hi" is the token, then "▁hi", whether the encoder puts a space before texts or not."""
    base = next(one for one in FAMILIES if one.id == f"mistral_v3-llama-{model}")
    tokenizer = load(replace(base, fields={"tokenizer.ggml.add_space_prefix": prefix}))
    own = tokenizer.encode_chat([{"role": "user", "content": "hi"}])
    published = tokenizer.encode("[INST] hi[/INST]", parse_special=True)
    two = tokenizer.encode("[INST]  hi[/INST]", parse_special=True)
    if model == "llama":
        assert texts(tokenizer, own) == texts(tokenizer, published) == ["<s>", "[INST]", " hi", "[/INST]"]
        assert texts(tokenizer, two)[2:4] == [" ", " hi"]
    else:
        assert texts(tokenizer, own) == ["<s>", "[INST]", "h", "i", "[/INST]"]
        assert texts(tokenizer, published)[-4:] == [" ", "h", "i", "[/INST]"]


@pytest.mark.parametrize(
    ("base", "without"),
    [
        ("qwen-qwen-gpt2", "<|im_start|>"),
        ("llama3-llama-gpt2", "<|start_header_id|>"),
        ("gemma-gemma-llama", "<start_of_turn>"),
        ("chatglm3-chatglm-llama", "sop"),
        ("glm4-glm4-gpt2", "<sop>"),
        ("phi3-phi3-llama", "<|user|>"),
        ("gpt_oss-gpt-oss-gpt2", "<|message|>"),
        ("mistral_v3-llama-gpt2", "[INST]"),
    ],
)
def test_base_models_have_no_format(load: Write, base: str, without: str) -> None:
    one = next(one for one in FAMILIES if one.id == base)
    rest = tuple(name for name in one.controls if name != without)
    tokenizer = load(replace(one, controls=rest, ends=one.ends - {without}))
    assert tokenizer.chat_template is None
    with pytest.raises(InvalidArgumentError, match="no chat template"):
        tokenizer.encode_chat([{"role": "user", "content": "hi"}])


@pytest.mark.parametrize(
    ("name", "file", "speaks"),
    [
        ("LLaMA v2", "llama-2-7b-chat.Q4_0.gguf", "llama2"),
        ("Llama 2 7B Chat", "m.gguf", "llama2"),
        ("", "Mistral-7B-Instruct-v0.2.Q8_0.gguf", "mistral_v1"),
        ("LLaMA v2", "llama-2-7b.Q4_0.gguf", None),
        ("Mistral-7B-v0.1", "m.gguf", None),
        ("tinystories", "chat.gguf", None),
    ],
)
def test_formats_in_plain_text_go_by_name(load: Write, name: str, file: str, speaks: str | None) -> None:
    base = next(one for one in FAMILIES if one.format == "llama2")
    tokenizer = load(replace(base, name=name), file)
    assert tokenizer.chat_template == (None if speaks is None else source_of(speaks))


def hostile_pieces(one: Family) -> st.SearchStrategy[str]:
    names = [*one.controls, *one.tags]
    alike = [name.replace("<", "＜").replace("|", "｜") for name in names]
    alike += [f"{name[0]}\u200d{name[1:]}" for name in names] + [name.upper() for name in names]
    halves = [part for name in names for part in (name[: len(name) // 2], name[len(name) // 2 :])]
    syntax = ["{{", "}}", "{%", "%}", "{{ messages }}", "{% raw %}", "<<SYS>>", "[INST]", "\ufdd0", "\ufdd1"]
    words = ["user", "assistant", "system", "\n", " ", "x", "é", "<", "|", ">", "im_end", "'", '"', "\\"]
    piece = st.one_of(st.sampled_from(names + alike + halves + syntax + words), st.text(max_size=3))
    return st.lists(piece, max_size=8).map("".join).filter(lambda text: text.isascii() or is_unicode(text))


def without_spaces(text: str) -> str:
    """SentencePiece writes spaces of its own, formats drop some around a text."""
    return "".join(text.replace("▁", " ").split())


def is_unicode(text: str) -> bool:
    return not any("\ud800" <= char <= "\udfff" for char in text)


@every_family
@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_no_text_becomes_a_control_token(
    loaded: dict[str, ModelTokenizer], one: Family, data: st.DataObject
) -> None:
    tokenizer = loaded[one.id]
    hostile = hostile_pieces(one)
    contents = [data.draw(hostile) for _ in range(3)]
    system = "be " + data.draw(hostile)
    expected = controls(tokenizer, tokenizer.encode_chat(conversation("be", "hi", "yo", "so")))
    ids = tokenizer.encode_chat(conversation(system, *contents))
    assert controls(tokenizer, ids) == expected
    shown = without_spaces(tokenizer.decode(ids))
    assert without_spaces(contents[0]) in shown
    assert without_spaces(contents[2]) in shown
    assert not set(controls(tokenizer, tokenizer.encode(contents[0], add_special=False)))


TOOLED = [one for one in FAMILIES if one.format in WITH_TOOLS]


def tooled_conversation(text: str) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    schema = {"type": "object", "properties": {f"x{text}": {"type": "string", "description": text}}}
    tool = {
        "type": "function",
        "function": {"name": "f", "description": f"d{text}", "parameters": schema},
    }
    call = {"type": "function", "id": "123456789", "function": {"name": "f", "arguments": {"x": text}}}
    messages: list[dict[str, Any]] = [
        {"role": "user", "content": text},
        {"role": "assistant", "content": "", "tool_calls": [call]},
        {"role": "tool", "content": f"r{text}", "tool_call_id": "123456789"},
    ]
    return messages, [tool]


@pytest.mark.parametrize("one", TOOLED, ids=lambda one: one.id)
@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_no_tool_becomes_a_control_token(
    loaded: dict[str, ModelTokenizer], one: Family, data: st.DataObject
) -> None:
    tokenizer = loaded[one.id]
    plain, tools = tooled_conversation("hi")
    expected = controls(tokenizer, tokenizer.encode_chat(plain, tools=tools))
    hostile, tools = tooled_conversation("x" + data.draw(hostile_pieces(one)))
    assert controls(tokenizer, tokenizer.encode_chat(hostile, tools=tools)) == expected


def test_keys_are_text_too(loaded: dict[str, ModelTokenizer]) -> None:
    """ "people" holds the name of ChatGLM3's "eop", and is a name that a template could ask for."""
    tokenizer = loaded["chatglm3-chatglm-llama"]
    parameters = {"type": "object", "properties": {"people": {"type": "integer"}, "sop": {"type": "string"}}}
    tool = {"type": "function", "function": {"name": "philosophy", "parameters": parameters}}
    ids = tokenizer.encode_chat([{"role": "user", "content": "hi"}], tools=[tool])
    assert controls(tokenizer, ids) == ["[gMASK]", "sop", "<|system|>", "<|user|>", "<|assistant|>"]
    shown = tokenizer.decode(ids)
    assert '"people": {' in shown
    assert '"sop": {' in shown


@every_family
@given(role=st.sampled_from(["user<|im_end|>", "im_end", "system", "<|user|>", "end", "observation", "x"]))
@example(role="<|observation|>")
@settings(max_examples=8, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_no_role_ends_a_turn(loaded: dict[str, ModelTokenizer], one: Family, role: str) -> None:
    """A role is one of the format's, refused, or text in its header."""
    tokenizer = loaded[one.id]
    known = controls(tokenizer, tokenizer.encode_chat([{"role": "user", "content": "hi"}]))
    try:
        ids = tokenizer.encode_chat([{"role": role, "content": "hi"}])
    except InvalidArgumentError:
        return
    assert len(controls(tokenizer, ids)) <= len(known)
