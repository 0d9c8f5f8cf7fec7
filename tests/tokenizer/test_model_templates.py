"""Which of a file's templates is used, and what is wrong with one is known when the file is opened."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import gguf
import pytest

from llmcore.chat_formats import FORMATS
from llmcore.chat_template import ChatTemplate
from llmcore.errors import InvalidArgumentError, ModelError
from llmcore.model_tokenizer import ModelTokenizer

TEMPLATE = "tokenizer.chat_template"
USER = [{"role": "user", "content": "hi"}]
TOOLS = [{"type": "function", "function": {"name": "f", "parameters": {}}}]
Open = Callable[..., ModelTokenizer]


@pytest.fixture
def open_file(
    tmp_path: Path, write_vocabulary: Callable[..., Path], byte_alphabet: list[str]
) -> Callable[..., ModelTokenizer]:
    """(texts by key, names=): the tokenizer of a file with ChatML's tokens and these templates."""

    def opened(fields: dict[str, str], names: list[str] | None = None) -> ModelTokenizer:
        def extra(writer: gguf.GGUFWriter) -> None:
            writer.add_tokenizer_pre("qwen2")
            for key, text in fields.items():
                writer.add_string(key, text)
            if names is not None:
                writer.add_array("tokenizer.chat_templates", names)

        tokens = [*byte_alphabet, "<|im_start|>", "<|im_end|>"]
        types = [1] * 256 + [3, 3]
        path = write_vocabulary(tmp_path / "m.gguf", "gpt2", tokens, types, ids={"eos": 257}, extra=extra)
        return ModelTokenizer.from_gguf(path)

    return opened


def said(tokenizer: ModelTokenizer, **options: Any) -> str:
    return tokenizer.decode(tokenizer.encode_chat(USER, **options), skip_special=False)


@pytest.mark.parametrize(
    ("source", "complaint"),
    [
        ("a\n{% if %}\nb", "broken: line 2: Expected an expression"),
        ("{{ messages\n", "broken: line 1: unexpected end of template"),
        ("\n\n{% for x in messages %}", "broken: line 3: Unexpected end of template"),
        ("\n{% trans %}x{% endtrans %}", "broken: line 2: Encountered unknown tag 'trans'"),
        (
            "\n{% if messages %}{{ messages | shell }}{% endif %}",
            "broken: line 2: there is no filter 'shell'",
        ),
        ("{% if tools %}\n\n{{ 1 if 2 is tiny }}{% endif %}", "broken: line 3: there is no test 'tiny'"),
        ("\n{% include 'other' %}", "broken: line 2: include: there are no other templates"),
        ("{% extends 'other' %}", "broken: line 1: extends"),
        ("{% import 'other' as o %}", "broken: line 1: import"),
        ("{% from 'other' import o %}", "broken: line 1: fromimport"),
        ("x\n{{ open('/etc/passwd') }}", "broken: line 2: there is no function 'open'"),
        ("{{ lipsum() }}", "broken: line 1: there is no function 'lipsum'"),
        (
            "{% for i in range(60000) %}{% for j in range(60000) %}{% endfor %}{% endfor %}",
            "a limit: it runs",
        ),
        ("{{ 'x' * 100000000 }}", "a limit: it makes a value"),
        ("{{ messages.__class__.__mro__ }}", "unsafe"),
        ("{% macro m() %}{{ m() }}{% endmacro %}{{ m() }}", "a limit"),
    ],
)
def test_a_template_that_cannot_run_is_told_at_once(
    open_file: Open, monkeypatch: pytest.MonkeyPatch, source: str, complaint: str
) -> None:
    monkeypatch.setattr("llmcore.template_sandbox.MAX_SECONDS", 0.2)
    with pytest.raises(ModelError, match=r"chat template") as told:
        open_file({TEMPLATE: source})
    assert complaint in str(told.value)
    with pytest.raises(ModelError):
        open_file({TEMPLATE: "fine", f"{TEMPLATE}.tool_use": source})


@pytest.mark.parametrize(
    "source",
    [
        "{% if strftime_now is defined %}{{ strftime_now('%Y') }}{% endif %}",
        "{% if get_date is defined %}{{ get_date() }}{% endif %}hi",
        "{% macro say(x) %}{{ x }}{{ caller() if caller }}{% endmacro %}{{ say('hi') }}",
        "{% for x in [[1], [2]] recursive %}{{ loop(x) if x is iterable else x }}{% endfor %}",
        "{% set f = raise_exception %}{% if not messages %}{{ f('none') }}{% endif %}",
        "{{ raise_exception('only with tools') if not tools }}",
        "{{ messages[5].content }}",
    ],
)
def test_a_template_may_refuse_or_ask(open_file: Open, source: str) -> None:
    assert open_file({TEMPLATE: source}).chat_template == source


def test_the_files_template_wins_over_the_known_format(open_file: Open) -> None:
    assert said(open_file({TEMPLATE: "own"})) == "own"
    assert said(open_file({})).startswith("<|im_start|>user\nhi<|im_end|>")
    assert said(open_file({TEMPLATE: " \n"})).startswith("<|im_start|>user")


def test_tools_take_their_own_template(open_file: Open) -> None:
    fields = {
        TEMPLATE: "plain{{ tools }}",
        f"{TEMPLATE}.tool_use": "{{ tools | length }}",
        f"{TEMPLATE}.rag": "{% broken",
    }
    tokenizer = open_file(fields, ["tool_use", "rag"])
    assert tokenizer.chat_template == "plain{{ tools }}"
    assert said(tokenizer) == said(tokenizer, tools=[]) == said(tokenizer, tools=None) == "plainNone"
    assert said(tokenizer, tools=TOOLS) == "1"


def test_a_named_template_stands_in_for_a_default(open_file: Open) -> None:
    with_tools = "{{ tools | length if tools else 'none' }}"
    fields = {f"{TEMPLATE}.default": "named", f"{TEMPLATE}.tool_use": with_tools}
    named = open_file(fields, ["default", "tool_use"])
    assert (said(named), said(named, tools=TOOLS)) == ("named", "1")
    only = open_file({f"{TEMPLATE}.tool_use": with_tools}, ["tool_use"])
    assert (said(only), said(only, tools=TOOLS)) == ("none", "1")


def test_tools_are_not_dropped_in_silence(open_file: Open) -> None:
    tokenizer = open_file({TEMPLATE: "{{ messages[0].content }}"})
    assert said(tokenizer, tools=[]) == "hi"
    with pytest.raises(InvalidArgumentError, match="no place for tools"):
        tokenizer.encode_chat(USER, tools=TOOLS)


def test_named_templates_are_texts(
    tmp_path: Path, write_vocabulary: Callable[..., Path], byte_alphabet: list[str]
) -> None:
    path = write_vocabulary(
        tmp_path / "m.gguf",
        "gpt2",
        byte_alphabet,
        [1] * 256,
        extra=lambda writer: writer.add_uint32(f"{TEMPLATE}.tool_use", 1),
    )
    with pytest.raises(ModelError, match=r"chat_template\.tool_use is of the wrong type"):
        ModelTokenizer.from_gguf(path)


@pytest.mark.parametrize(
    ("name", "speaks", "ends"),
    [
        ("llama-bpe", "llama3", {"<|end_of_text|>", "<|eot_id|>"}),
        ("llama-spm", None, {"</s>"}),
        ("gpt-2", None, {"<|endoftext|>"}),
        ("starcoder", None, {"<|endoftext|>"}),
        ("qwen2", "", {"<|endoftext|>", "<|im_end|>"}),
        ("phi-3", "", {"<|endoftext|>", "<|end|>"}),
        ("gemma-4", "", {"<eos>", "<turn|>"}),
    ],
)
def test_published_vocabularies(test_data: Path, name: str, speaks: str | None, ends: set[str]) -> None:
    """`speaks`: a format known from the vocabulary, none, or "" for the file's own."""
    path = test_data / "vocab" / f"ggml-vocab-{name}.gguf"
    if not path.exists():
        pytest.skip(f"{path.name} is not among the test data")
    tokenizer = ModelTokenizer.from_gguf(path)
    known = {one.source: one.name for one in FORMATS}
    assert (speaks == "") == (tokenizer.tokenizer.chat_template is not None)
    assert speaks == "" or known.get(tokenizer.chat_template or "") == speaks
    found = tokenizer.tokenizer.end_token_ids
    assert {tokenizer.token_bytes(token).decode() for token in found} == ends


def test_developers_are_the_system_where_a_template_knows_no_other() -> None:
    messages = [{"role": "developer", "content": "x"}]
    assert ChatTemplate("{{ messages[0].role }}").render(messages) == "system"
    source = "{% if messages[0].role == 'developer' %}yes{% endif %}"
    assert ChatTemplate(source).render(messages) == "yes"
    assert messages[0]["role"] == "developer"


@pytest.mark.parametrize("calls", [None, []])
def test_no_tool_calls_are_none(calls: Any) -> None:
    template = ChatTemplate("{{ 'tool_calls' in messages[0] }}{{ messages[0].tool_calls is defined }}")
    message = {"role": "assistant", "content": "x", "tool_calls": calls}
    assert template.render([message]) == "FalseFalse"


def test_variables_of_a_template_are_fixed() -> None:
    template = ChatTemplate("{{ space }}{{ bos_token }}", "<s>", variables={"space": "_"})
    assert template.render(USER) == "_<s>"
    with pytest.raises(InvalidArgumentError):
        ChatTemplate("{{ raise_exception(space) }}", variables={"space": "_"}).render(USER)


def test_what_a_template_says_is_one_short_line() -> None:
    with pytest.raises(InvalidArgumentError) as told:
        ChatTemplate("{{ raise_exception('no\n\x1b[2Jway ' * 1000) }}").render(USER)
    assert str(told.value).startswith("[chat_template] the model's chat template says: no ?[2Jway no")
    assert len(str(told.value)) < 500
    with pytest.raises(ModelError) as told_at_load:
        ChatTemplate("{% " + "x" * 100_000 + " %}")
    assert len(str(told_at_load.value)) < 500


def test_messages_have_a_greatest_depth() -> None:
    deep: Any = "x"
    for _ in range(60):
        deep = {"a": [deep]} if isinstance(deep, str) else [deep]
    template = ChatTemplate("{{ messages[0].extra | tojson }}{{ tools }}")
    assert template.render([{**USER[0], "extra": deep}]).startswith("[[[")
    for _ in range(100_000):
        deep = [deep]
    with pytest.raises(InvalidArgumentError, match="64 levels"):
        template.render([{**USER[0], "extra": deep}])
    with pytest.raises(InvalidArgumentError, match="64 levels"):
        template.render(USER, tools=[{"x": deep}])
