"""Parsers of models' text: what they find, and that the text's cutting never changes it."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llmcore_server.assistant.events import CallArguments, CallBegun, Event, Parser, Plain, Thought, Words
from llmcore_server.assistant.harmony import Harmony
from llmcore_server.assistant.json_calls import JsonCalls
from llmcore_server.assistant.mistral_calls import MistralCalls
from llmcore_server.assistant.named_calls import NamedCalls
from llmcore_server.assistant.parameter_calls import ParameterCalls
from llmcore_server.assistant.tagged_calls import TaggedCalls
from llmcore_server.assistant.think import ThinkParser

PARSERS: dict[str, Callable[[], Parser]] = {
    "plain": Plain,
    "think": lambda: ThinkParser(TaggedCalls(), begins_inside=False),
    "think at once": lambda: ThinkParser(JsonCalls({"f"}), begins_inside=True),
    "tagged": TaggedCalls,
    "json": lambda: JsonCalls({"f", "g"}),
    "mistral": MistralCalls,
    "named": lambda: NamedCalls({"f", "fg"}),
    "harmony": Harmony,
    "parameters": lambda: ParameterCalls(FUNCTIONS, ("<tool_call>", "</tool_call>")),
}
FUNCTIONS = {
    "f": {
        "properties": {
            "s": {"type": "string"},
            "n": {"type": "integer"},
            "e": {"anyOf": [{"type": "string"}]},
        }
    },
    "fg": {},
}
F = '{"name": "f", "arguments": {"a": "x}\\"y"}}'
G = '{"arguments": [1, {}], "id": "1", "name": "g"}'


def joined(events: list[Event]) -> list[tuple[object, ...]]:
    """Events with neighbours of one kind joined."""
    result: list[tuple[object, ...]] = []
    for event in events:
        *head, text = event if not isinstance(event, CallBegun) else (event.number, event.name)
        key = (type(event).__name__, *head)
        if result and result[-1][:-1] == key and not isinstance(event, CallBegun):
            result[-1] = (*key, str(result[-1][-1]) + text)
        else:
            result.append((*key, text))
    return result


def read(parser: Parser, pieces: list[str]) -> list[tuple[object, ...]]:
    events = [event for piece in pieces for event in parser.push(piece)]
    assert all(event.text for event in events if not isinstance(event, CallBegun)), "an empty event"
    return joined(events + parser.finish())


def words(text: str) -> tuple[object, ...]:
    return ("Words", text)


def call(index: int, name: str, arguments: str) -> list[tuple[object, ...]]:
    return [("CallBegun", index, name), ("CallArguments", index, arguments)]


F0, G1 = call(0, "f", '{"a": "x}\\"y"}'), call(1, "g", "[1, {}]")


@pytest.mark.parametrize(
    ("kind", "text", "expected"),
    [
        ("think", "<think>\na b\n</think>\n\nc", [("Thought", "a b"), words("c")]),
        ("think", "\n<think></think>c", [words("c")]),
        ("think", "no <think>a</think>", [words("no <think>a</think>")]),
        ("think", "<think>never done </thi", [("Thought", "never done </thi")]),
        ("think", "<thin", [words("<thin")]),
        (
            "think",
            f"<think>a</think><tool_call>{F}</tool_call>",
            [("Thought", "a"), *F0],
        ),
        ("think at once", "a</think>b", [("Thought", "a"), words("b")]),
        ("think at once", "a", [("Thought", "a")]),
        ("tagged", f"<tool_call>\n{F}\n</tool_call>", F0),
        (
            "tagged",
            f"See: \n<tool_call>{F}</tool_call>\n<tool_call>{G}</tool_call>\n",
            [words("See:"), *F0, *G1],
        ),
        ("tagged", f"<tool_call>{F}</tool_call> so", [*F0, words(" so")]),
        ("tagged", "a < b <tool_cal", [words("a < b <tool_cal")]),
        ("tagged", "a \n", [words("a \n")]),
        ("tagged", "<tool_call>what?</tool_call>", [words("<tool_call>what?</tool_call>")]),
        ("tagged", '<tool_call>{"name": "f"}</tool_call>', call(0, "f", "{}")),
        ("tagged", '<tool_call>{"name": "f", "arguments": "{\\"a\\": 1}"}', call(0, "f", '{"a": 1}')),
        ("tagged", '<tool_call>{"name": "f", "arguments": {"a": [1', call(0, "f", '{"a": [1')),
        ("tagged", '<tool_call>{"name": "f", "arguments": null, "x": -1.5e3}', call(0, "f", "{}")),
        ("tagged", '<tool_call>{"name": ', [words('<tool_call>{"name": ')]),
        ("json", F, F0),
        ("json", f"<|python_tag|>{F}; {G}", [*F0, *G1]),
        ("json", '{"type": "function", "name": "f", "parameters": {}}', call(0, "f", "{}")),
        ("json", '{"name": "Bob", "age": 3}', [words('{"name": "Bob", "age": 3}')]),
        ("json", '{"a": true, "name": "f"}!', [*call(0, "f", "{}"), words("!")]),
        ("json", "{not json}", [words("{not json}")]),
        ("json", f"<|tool_call|>[{F}, {G}]<|/tool_call|>", [*F0, *G1]),
        ("json", ' [ {"a": 1}, 2]', [words(' [ {"a": 1}, 2]')]),
        ("json", "[1]: see", [words("[1]: see")]),
        ("json", "{}", [words("{}")]),
        ("json", " Hello", [words(" Hello")]),
        ("json", '{"name', [words('{"name')]),
        ("mistral", f"[TOOL_CALLS][{F}, {G}]", [*F0, *G1]),
        ("mistral", f"So [TOOL_CALLS] [{F}]", [words("So"), *F0]),
        ("mistral", '[TOOL_CALLS]f[ARGS]{"a": 1}', call(0, "f", '{"a": 1}')),
        (
            "mistral",
            "[TOOL_CALLS]f[CALL_ID]x9[ARGS]{}[TOOL_CALLS]g{}",
            [*call(0, "f", "{}"), *call(1, "g", "{}")],
        ),
        ("mistral", "[TOOL", [words("[TOOL")]),
        ("mistral", "[TOOL_CALLS]oops", [words("[TOOL_CALLS]oops")]),
        ("named", 'f\n{"a": {}}\nso', call(0, "f", '{"a": {}}')),
        ("named", " fg \n {", call(0, "fg", "{")),
        ("named", "f\nis a letter", [words("f\nis a letter")]),
        ("named", "fog\n{}", [words("fog\n{}")]),
        ("named", "f", [words("f")]),
        ("named", "f\n", [words("f\n")]),
        (
            "harmony",
            "<|channel|>analysis<|message|>hm<|end|><|start|>assistant<|channel|>final<|message|>yes",
            [("Thought", "hm"), words("yes")],
        ),
        (
            "harmony",
            '<|channel|>commentary to=functions.f <|constrain|>json<|message|>{"a": 1}',
            call(0, "f", '{"a": 1}'),
        ),
        ("harmony", " to=functions.f<|channel|>commentary json<|message|>", call(0, "f", "{}")),
        ("harmony", "<|channel|>commentary<|message|>Let me see<|end|>", [words("Let me see")]),
        ("harmony", "Hello <|there", [words("Hello <|there")]),
        ("harmony", "<|chan", [words("<|chan")]),
        (
            "parameters",
            'So:\n\n<tool_call>\n<function=f>\n<parameter=s>\na <b>\n"c"\n\n</parameter>\n<parameter=n>\n7\n'
            "</parameter>\n</function>\n</tool_call>\n<tool_call>\n<function=g>\n</function>\n</tool_call>",
            [words("So:"), *call(0, "f", '{"s": "a <b>\\n\\"c\\"\\n", "n": 7}'), *call(1, "g", "{}")],
        ),
        ("parameters", "<function=f><parameter=e>x</parameter></function>", call(0, "f", '{"e": "x"}')),
        (
            "parameters",
            "<function=fg><parameter=a>[1, {}]</parameter> ? <parameter=b>True</parameter></tool_call> so",
            [*call(0, "fg", '{"a": [1, {}], "b": true}'), words(" so")],
        ),
        ("parameters", "<function=f><parameter=n>NaN</parameter></function>", call(0, "f", '{"n": "NaN"}')),
        ("parameters", "<tool_call><function=f><parameter=s>\ncut </par", call(0, "f", '{"s": "cut ')),
        ("parameters", "an <function=other> <tool_call>what", [words("an <function=other> <tool_call>what")]),
        ("parameters", "a <fun", [words("a <fun")]),
        ("parameters", "<tool_call>\n<func", [words("<tool_call>\n<func")]),
    ],
)
def test_what_is_found(kind, text, expected):
    assert read(PARSERS[kind](), [text]) == expected
    assert read(PARSERS[kind](), list(text)) == expected


FRAGMENTS = [
    *("<think>", "</think>", "<tool_call>", "</tool_call>", "[TOOL_CALLS]", "[ARGS]", "[CALL_ID]"),
    *("<function=f>", "<function=", "<parameter=s>", "<parameter=n>", "</parameter>", "</function>"),
    *("<|channel|>", "<|message|>", "<|start|>", "<|end|>", "analysis", "final", "commentary"),
    *(
        " to=functions.f",
        "<|tool_call|>",
        "<|/tool_call|>",
        "<|python_tag|>",
        F,
        G,
        '{"name": "f", ',
        '"arguments": ',
        "null",
        "7",
        "人",
        "f",
    ),
    *'[]{},;:" \n\\',
]


@pytest.mark.parametrize("kind", PARSERS)
@settings(max_examples=150, deadline=None)
@given(data=st.data())
def test_cutting_changes_nothing(kind, data):
    text = "".join(data.draw(st.lists(st.sampled_from(FRAGMENTS), max_size=12)))
    cuts = sorted(data.draw(st.lists(st.integers(0, len(text)), max_size=8)))
    pieces = [text[start:end] for start, end in zip([0, *cuts], [*cuts, len(text)], strict=True)]
    whole = read(PARSERS[kind](), [text])
    assert read(PARSERS[kind](), pieces) == whole
    assert read(PARSERS[kind](), list(text)) == whole
    begun = [event[1] for event in whole if event[0] == "CallBegun"]
    assert begun == list(range(len(begun)))
    assert {event[1] for event in whole if event[0] == "CallArguments"} <= set(begun)


@pytest.mark.parametrize("length", [4095, 4096, 4097, 4100, 9000])
def test_long_headers(length):
    text = "<|channel|>".ljust(length, "x") + "<|message|>hello<|end|>"
    whole = read(Harmony(), [text])
    assert read(Harmony(), list(text)) == whole
    assert read(Harmony(), [text[: length + 3], text[length + 3 :]]) == whole
    assert (whole == [words("hello")]) == (length <= 4096)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=6),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=8,
)


@settings(max_examples=100, deadline=None)
@given(arguments=st.dictionaries(st.text(max_size=5), JSON, max_size=4), ascii_only=st.booleans())
def test_arguments_survive_every_format(arguments, ascii_only):
    said = json.dumps(arguments, ensure_ascii=ascii_only)
    written = {
        "tagged": f'<tool_call>{{"name": "f", "arguments": {said}}}</tool_call>',
        "json": f'{{"name": "f", "parameters": {said}}}',
        "mistral": f'[TOOL_CALLS][{{"name": "f", "arguments": {said}, "id": "123456789"}}]',
        "harmony": f"<|channel|>commentary to=functions.f<|message|>{said}",
    }
    for kind, text in written.items():
        if "<|" in said or "</" in said:
            continue
        assert read(PARSERS[kind](), [text]) == call(0, "f", said), kind


@settings(max_examples=100, deadline=None)
@given(text=st.text(max_size=12), value=JSON)
def test_arguments_survive_as_parameters(text, value):
    if "</parameter>" in text or "</parameter>" in json.dumps(value, ensure_ascii=False):
        return
    parameters = f"<parameter=s>\n{text}\n</parameter>\n<parameter=v>\n{json.dumps(value)}\n</parameter>"
    found = read(
        PARSERS["parameters"](), list(f"<tool_call>\n<function=f>\n{parameters}\n</function>\n</tool_call>")
    )
    assert found[0] == ("CallBegun", 0, "f")
    assert json.loads(str(found[1][2])) == {"s": text, "v": value}


def test_thinking_is_told():
    parser = ThinkParser(Plain(), begins_inside=False)
    parser.push("<think>a")
    assert parser.thinking
    parser.push("</think>b")
    assert not parser.thinking
    harmony = Harmony()
    harmony.push("<|channel|>analysis<|message|>a")
    assert harmony.thinking


def test_event_kinds_are_told_apart():
    events = [Words("a"), Words("b"), Thought("c"), CallBegun(0, "f"), *[CallArguments(0, "{")] * 2]
    assert joined(events) == [words("ab"), ("Thought", "c"), *call(0, "f", "{{")]
