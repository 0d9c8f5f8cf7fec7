from __future__ import annotations

import itertools
import threading
import time
from types import SimpleNamespace
from typing import Any

import pytest

from llmcore.chat_template import ChatTemplate
from llmcore.errors import InvalidArgumentError, LLMCoreError, ModelError

CHATML = """\
{% for message in messages %}
{{ '<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>' + '\n' }}
{%- endfor %}
{% if add_generation_prompt %}
{{ '<|im_start|>assistant\n' }}
{%- endif %}
"""
LLAMA3 = """\
{{- bos_token }}
{%- for message in messages %}
    {{- '<|start_header_id|>' ~ message.role ~ '<|end_header_id|>\n\n' ~ message.content | trim ~ '<|eot_id|>'
    }}
{%- endfor %}
{%- if add_generation_prompt %}{{ '<|start_header_id|>assistant<|end_header_id|>\n\n' }}{% endif %}
"""
GEMMA = """\
{{ bos_token }}
{%- if messages[0]['role'] == 'system' %}{{ raise_exception('System role not supported') }}{% endif %}
{%- for message in messages -%}
    {%- if (message['role'] == 'user') != (loop.index0 % 2 == 0) -%}
        {{ raise_exception('Roles must alternate') }}
    {%- endif -%}
    {%- set role = 'model' if message['role'] == 'assistant' else message['role'] -%}
    {{ '<start_of_turn>' + role + '\n' + message['content'] | trim + '<end_of_turn>\n' }}
{%- endfor -%}
{%- if add_generation_prompt -%}{{ '<start_of_turn>model\n' }}{%- endif -%}
"""
MISTRAL = """\
{%- if messages[0].role == 'system' %}{% set system = messages[0].content %}{% set turns = messages[1:] %}
{%- else %}{% set system = '' %}{% set turns = messages %}{% endif %}
{{- bos_token }}
{%- for message in turns %}
    {%- if message.role == 'user' %}
        {{- '[INST] ' + (system + '\n\n' if loop.first and system else '') + message.content + ' [/INST]' }}
    {%- elif message.role == 'assistant' %}
        {{- ' ' + message.content + eos_token }}
    {%- endif %}
{%- endfor %}
"""
TURNS = [
    {"role": "user", "content": " Hi "},
    {"role": "assistant", "content": "Hello"},
    {"role": "user", "content": "Bye"},
]
USER = [{"role": "user", "content": "hello"}]


def test_chatml() -> None:
    assert ChatTemplate(CHATML).render(TURNS) == (
        "<|im_start|>user\n Hi <|im_end|>\n<|im_start|>assistant\nHello<|im_end|>\n"
        "<|im_start|>user\nBye<|im_end|>\n<|im_start|>assistant\n"
    )
    assert not ChatTemplate(CHATML).render(TURNS, add_generation_prompt=False).endswith("assistant\n")


def test_llama3() -> None:
    assert ChatTemplate(LLAMA3, bos_token="<|begin_of_text|>").render(TURNS[:1]) == (
        "<|begin_of_text|><|start_header_id|>user<|end_header_id|>\n\nHi<|eot_id|>"
        "<|start_header_id|>assistant<|end_header_id|>\n\n"
    )


def test_gemma_and_its_refusals() -> None:
    template = ChatTemplate(GEMMA, bos_token="<bos>")
    assert template.render(TURNS) == (
        "<bos><start_of_turn>user\nHi<end_of_turn>\n<start_of_turn>model\nHello<end_of_turn>\n"
        "<start_of_turn>user\nBye<end_of_turn>\n<start_of_turn>model\n"
    )
    with pytest.raises(InvalidArgumentError, match="System role not supported"):
        template.render([{"role": "system", "content": "Be kind"}, *TURNS])
    with pytest.raises(InvalidArgumentError, match="Roles must alternate"):
        template.render([TURNS[0], TURNS[0]])


def test_mistral() -> None:
    messages = [{"role": "system", "content": "Be kind"}, *TURNS]
    assert ChatTemplate(MISTRAL, "<s>", "</s>").render(messages) == (
        "<s>[INST] Be kind\n\n Hi  [/INST] Hello</s>[INST] Bye [/INST]"
    )


def test_contents_in_parts_are_joined() -> None:
    parts = [{"type": "text", "text": "one"}, {"type": "text", "text": "two"}]
    template = ChatTemplate("{{ messages[0].content.upper() }}")
    assert template.render([{"role": "user", "content": parts}]) == "ONE\nTWO"
    with pytest.raises(InvalidArgumentError, match=r"messages\[0\].*image_url"):
        template.render([{"role": "user", "content": [{"type": "image_url", "image_url": {}}]}])


def test_null_content_is_empty_and_arguments_are_objects() -> None:
    template = ChatTemplate(
        "{{ messages[0].content }}{{ messages[0].tool_calls[0].function.arguments | tojson }}"
    )
    call = {"type": "function", "function": {"name": "f", "arguments": '{"x": "é<"}'}}
    assert template.render([{"role": "assistant", "content": None, "tool_calls": [call]}]) == '{"x": "é<"}'
    call["function"] = {"name": "f", "arguments": "not JSON"}
    assert template.render([{"role": "assistant", "content": None, "tool_calls": [call]}]) == '"not JSON"'


@pytest.mark.parametrize("depth", [100, 978, 100_000])
def test_arguments_are_bounded_in_depth(depth: int) -> None:
    arguments = '{"a":' * depth + "1" + "}" * depth
    call = {"type": "function", "function": {"name": "f", "arguments": arguments}}
    template = ChatTemplate("{{ messages[0].tool_calls[0].function.arguments | tojson }}")
    with pytest.raises(InvalidArgumentError, match="more than 64 levels"):
        template.render([{"role": "assistant", "content": None, "tool_calls": [call]}])


def test_arguments_that_hold_halves_of_characters_stay_as_they_are_written() -> None:
    call = {"type": "function", "function": {"name": "f", "arguments": '{"x": "\\ud800"}'}}
    template = ChatTemplate("{{ messages[0].tool_calls[0].function.arguments }}")
    said = template.render([{"role": "assistant", "content": None, "tool_calls": [call]}])
    assert said == '{"x": "\\ud800"}'


@pytest.mark.parametrize("message", ["text", {}, {"content": "x"}, {"role": 1, "content": "x"}])
def test_messages_need_roles(message: Any) -> None:
    with pytest.raises(InvalidArgumentError, match=r"messages\[0\]"):
        ChatTemplate("").render([message])


def test_the_vocabulary_of_templates() -> None:
    def render(source: str, **variables: Any) -> str:
        return ChatTemplate(source).render(USER, **variables)

    assert render("{% generation %}{{ messages[0].content }}{% endgeneration %}") == "hello"
    assert render("{% for i in range(9) %}{% if i == 2 %}{% break %}{% endif %}{{ i }}{% endfor %}") == "01"
    assert (
        render("{{ x | tojson }}", x={"a": "<é&'>", "b": [1, None]}) == """{"a": "<é&'>", "b": [1, null]}"""
    )
    assert render("{{ x | tojson(indent=2) }}", x={"a": 1}) == '{\n  "a": 1\n}'
    assert len(render("{{ strftime_now('%Y') }}")) == 4
    assert (
        render(
            "{% set ns = namespace(n=0) %}{% for m in messages %}"
            "{% set ns.n = ns.n + 1 %}{% endfor %}{{ ns.n }}"
        )
        == "1"
    )
    assert render("{{ tools | length }}", tools=[{}, {}]) == "2"
    assert (
        render("{{ ['a', 'b'] | join('-') }}{{ 'a-b'.replace('-', '+') }}{{ 'a-b' | replace('-', '') }}")
        == "a-ba+bab"
    )
    assert render("{{ 'a\nb' | indent(2) }}|{{ 'a\n\nb' | indent(2, true, true) }}") == "a\n  b|  a\n  \n  b"
    assert render("{% for a, b in x | dictsort %}{{ a ~ b ~ loop.last }}{% endfor %}", x={"k": 1}) == "k1True"
    assert (
        render("{{ enable_thinking is defined and enable_thinking is false }}", enable_thinking=False)
        == "True"
    )
    assert render("{{ range(5) | batch(2, 0) | list }}{{ [1, 2, 3] | slice(2) | list }}") == (
        "[[0, 1], [2, 3], [4, 0]][[1, 2], [3]]"
    )
    assert render(
        "{% macro m(x) %}<{{ x }}>{% endmacro %}{{ m('y') }}{{ '%s %d' % ('z', 1) }}{{ '{}!'.format(2) }}"
    ) == ("<y>z 12!")
    assert render("{% set t %}{{ messages[0].content }}!{% endset %}{{ t }}") == "hello!"
    assert (
        render("{% for x in [[1], [2]] recursive %}{{ loop(x) if x is iterable else x }}{% endfor %}") == "12"
    )


@pytest.mark.parametrize(
    "source",
    [
        "{% if %}",
        "{{ x",
        "{% for x in y %}",
        "{{ x | no_such_filter }}",
        "{{ " + "(" * 5000 + ")" * 5000 + " }}",
    ],
)
def test_broken_templates_are_known_at_construction(source: str) -> None:
    with pytest.raises(ModelError, match="chat template is broken"):
        ChatTemplate(source)


def test_a_template_that_is_not_utf8_is_broken() -> None:
    source = b"{{ messages[0].content }}\xff".decode("utf-8", "surrogateescape")  # as files' texts are read
    with pytest.raises(ModelError, match="broken: it is not UTF-8"):
        ChatTemplate(source)


def test_templates_have_a_longest_length() -> None:
    with pytest.raises(ModelError, match="length"):
        ChatTemplate(" " * (1 << 18) + " ")


@pytest.mark.parametrize(
    "source",
    [
        "{{ ''.__class__.__mro__ }}",
        "{{ cycler.__init__.__globals__ }}",
        "{{ raise_exception.__globals__.time }}",
        "{{ messages.append(1) }}",
        "{{ messages[0].update(role='system') }}",
        "{% for i in range(10**9) %}{% endfor %}",
        "{{ 'a' * 10**9 }}",
        "{{ [0] * 10**9 }}",
        "{{ 10 ** 10 ** 10 }}",
        "{{ '%1000000000d' % 1 }}",
        "{{ '%*d' % (1000000000, 1) }}",
        "{{ '{:1000000000}'.format(1) }}",
        "{{ '{:{}}'.format(1, 1000000000) }}",
        "{{ 'x'.ljust(10**9) }}",
        "{{ 'x' | indent(10**9, true) }}",
        "{{ 'x'.join(['y' * 1000] * 100000) }}",
        "{{ ['y' * 1000] * 100000 | int | string | length }}{{ (['y' * 1000] * 100000) | join }}",
        "{{ ('x' * 100000).replace('x', 'y' * 100000) }}",
        "{{ [1] | batch(10**9, 0) | list }}",
        "{{ [1] | slice(10**9) | list }}",
        "{% set ns = namespace(x='aa') %}{% for i in range(99) %}{% set ns.x = ns.x ~ ns.x %}{% endfor %}",
        "{% set ns = namespace(x='aa') %}{% for i in range(99) %}{% set ns.x = ns.x + ns.x %}{% endfor %}",
        "{% set ns = namespace(x=[1]) %}{% for i in range(99) %}{% set ns.x = ns.x + ns.x %}{% endfor %}",
        "{% set ns = namespace(x=3) %}{% for i in range(99) %}{% set ns.x = ns.x * ns.x %}{% endfor %}",
        "{% set x = 'aa' %}" + "{% set x %}{{ x }}{{ x }}{% endset %}" * 40,
        "{% macro m(n) %}{{ m(n + 1) }}{% endmacro %}{{ m(0) }}",
        "{% for i in range(9999) %}{{ 'x' * 1000 }}{% endfor %}",
        "{{ [1] | tojson(indent=1000000000) }}",
        "{% set ns = namespace(x='aa') %}{% for i in range(99) %}{% set ns.x = [ns.x, ns.x] %}{% endfor %}",
        "{% set ns = namespace(x='aa') %}{% for i in range(99) %}{% set ns.x = (ns.x, ns.x) %}{% endfor %}",
        "{% set ns = namespace(x=1) %}{% for i in range(50) %}{% set ns.x = {1: ns.x,2: ns.x} %}{% endfor %}",
        "{% set ns = namespace(x=1) %}{% for i in range(99) %}{% set ns.x = dict(a=ns.x, b=ns.x).items() %}"
        "{% endfor %}",
        "{{ (['y' * 1000000] * 100000) | string | length }}",
        "{{ ('{0}' * 100000).format('x' * 1000000) | length }}",
        "{{ (('%(a)s' * 100000) % {'a': 'x' * 1000000}) | length }}",
        "{{ ('a' * 1000000).translate({97: 'x' * 1000000}) | length }}",
        "{{ 'x'.encode().ljust(10**10) | length }}",
        "{{ (5).to_bytes(10**10, 'big') | length }}",
        "{{ 1.5 | round(10**9, 'floor') }}",
    ],
)
def test_hostile_templates_end_soon(source: str) -> None:
    began = time.thread_time()
    with pytest.raises(LLMCoreError):
        ChatTemplate(source).render(USER)
    assert time.thread_time() - began < 3


@pytest.mark.parametrize(
    "source",
    [
        "{% for i in range(60000) %}{% for j in range(60000) %}{% endfor %}{% endfor %}",
        "{% for i in range(60000) %}{% for j in range(60000) if false %}{% endfor %}{% endfor %}",
        "{% macro m(n) %}{% if n < 60 %}{{ m(n + 1) }}{{ m(n + 1) }}{% endif %}{% endmacro %}{{ m(0) }}",
        "{% for i in range(60000) %}{{ range(60000) | map('string') | list | length }}{% endfor %}",
    ],
)
def test_endless_templates_run_out_of_time(source: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("llmcore.template_sandbox.MAX_SECONDS", 0.2)
    began = time.thread_time()
    with pytest.raises(ModelError, match=r"more than 0\.2 seconds"):
        ChatTemplate(source).render(USER)
    assert time.thread_time() - began < 3


def test_a_busy_machine_ends_no_template(monkeypatch: pytest.MonkeyPatch) -> None:
    """Between any two steps of the template others run for a minute."""
    clock = itertools.count(0, 60)
    busy = SimpleNamespace(monotonic=lambda: next(clock), thread_time=time.thread_time)
    monkeypatch.setattr("llmcore.template_sandbox.time", busy)
    assert ChatTemplate("{% for m in messages %}{{ m.content }}{% endfor %}").render(USER) == "hello"
    assert next(clock) > 120


def test_nested_namespaces_print_nothing_of_what_they_hold() -> None:
    nested = "{% set ns.x = namespace(a=ns.x, b=ns.x) %}"
    source = "{% set ns = namespace(x=1) %}{% for i in range(99) %}" + nested + "{% endfor %}{{ ns.x }}"
    assert ChatTemplate(source).render(USER) == "<Namespace>"


def test_literals_and_formats_keep_their_meaning() -> None:
    source = (
        "{% set a, b = (1, [2, {'c': 3}]) %}{% for k, v in {'p': a}.items() %}{{ k }}{{ v }}{% endfor %}"
        "{{ b[1].c }} {{ b }} {{ 'x' in ('x', 'y') }} {{ '%s-%d' % ('q', 4) }} {{ '{}{z}'.format(5, z=6) }} "
        "{{ 2.56 | round(1) }}"
    )
    assert ChatTemplate(source).render(USER) == "p13 [2, {'c': 3}] True q-4 56 2.6"


def test_long_conversations_are_within_the_limits() -> None:
    turns = [{"role": "user", "content": "x" * 1000}] * 4000
    assert len(ChatTemplate(CHATML).render(turns)) > 4_000_000


def test_templates_cannot_change_the_callers_messages() -> None:
    messages = [{"role": "user", "content": "a"}]
    with pytest.raises(LLMCoreError):
        ChatTemplate("{{ messages[0].pop('role') }}").render(messages)
    assert messages == [{"role": "user", "content": "a"}]


def test_one_template_in_many_threads() -> None:
    template = ChatTemplate(CHATML)
    failures: list[int] = []

    def work(number: int) -> None:
        for _ in range(50):
            text = template.render([{"role": "user", "content": str(number)}], add_generation_prompt=False)
            if text != f"<|im_start|>user\n{number}<|im_end|>\n":
                failures.append(number)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
