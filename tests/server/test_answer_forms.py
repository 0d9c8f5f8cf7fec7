"""What `response_format` and a forced call ask of an answer."""

from __future__ import annotations

import json

import pytest

from llmcore import StructuredOutput, default_model
from llmcore.grammar_guide import GrammarGuide
from llmcore.model_tokenizer import ModelTokenizer
from llmcore_server.assistant.answer_form import (
    AnswerForm,
    forced_call_form,
    free_text_or_calls,
    read_format,
)
from llmcore_server.errors import ApiError

POINT = {
    "type": "object",
    "properties": {"x": {"type": "integer"}},
    "required": ["x"],
    "additionalProperties": False,
}


def schema_format(schema, **extra):
    return {"type": "json_schema", "json_schema": {"name": "point", "schema": schema, **extra}}


def test_formats():
    assert read_format(None, "response_format") is None
    assert read_format({"type": "text"}, "response_format") is None
    assert read_format({"type": "json_object"}, "p") == AnswerForm("json_object", "p", "")
    assert read_format({"type": "json_object", "schema": POINT}, "p") == AnswerForm("json_schema", "p", POINT)
    assert read_format(schema_format(POINT, strict=True), "p") == AnswerForm("json_schema", "p", POINT)
    flat = {"type": "json_schema", "name": "point", "schema": POINT, "strict": True}
    assert read_format(flat, "text.format") == AnswerForm("json_schema", "text.format", POINT)
    compact = read_format({"type": "json_object", "compact": True}, "p")
    assert compact.kind == "json_schema"
    assert compact.value["type"] == "object"
    assert read_format(schema_format(POINT) | {"compact": False}, "p").value == POINT
    assert read_format(schema_format({"type": "object"}), "p") is not None, (
        "only strict ones are held to more"
    )


@pytest.mark.parametrize(
    ("given", "param"),
    [
        ({"type": "json_object", "compact": 1}, "p.compact"),
        ({"type": "grammar"}, "p.type"),
        ({}, "p.type"),
        ({"type": "json_schema"}, "p.json_schema"),
        ({"type": "json_schema", "json_schema": {"schema": POINT}}, "p.json_schema.name"),
        ({"type": "json_schema", "json_schema": {"name": "a b", "schema": POINT}}, "p.json_schema.name"),
        ({"type": "json_schema", "json_schema": {"name": "a"}}, "p.json_schema.schema"),
        (schema_format("x"), "p.json_schema.schema"),
        (schema_format(POINT, strict=1.5), "p.json_schema.strict"),
        ({"type": "json_object", "schema": 1}, "p.schema"),
        (schema_format({**POINT, "required": []}, strict=True), "p.json_schema.schema"),
        (schema_format({"type": "object"}, strict=True), "p.json_schema.schema"),
        (
            schema_format({**POINT, "properties": {"x": {"anyOf": [{"type": "object"}]}}}, strict=True),
            "p.json_schema.schema",
        ),
        (
            schema_format({**POINT, "$defs": {"a": {"items": {"type": "object"}}}}, strict=True),
            "p.json_schema.schema",
        ),
    ],
)
def test_formats_that_cannot_be_served(given, param):
    with pytest.raises(ApiError) as refused:
        read_format(given, "p")
    assert refused.value.param == param
    assert refused.value.status == 400


def test_a_strict_schemas_fault_is_placed():
    with pytest.raises(ApiError) as refused:
        read_format(schema_format({**POINT, "properties": {"x": {"type": "object"}}}, strict=True), "p")
    said = json.dumps(refused.value.openai_body())
    assert "/properties/x" in said
    assert "additionalProperties" in said
    assert "invalid_json_schema" in said


def function(name, parameters):
    return {"type": "function", "function": {"name": name, "parameters": parameters}}


def test_forced_calls():
    recursive = {
        "properties": {"next": {"$ref": "#"}, "n": {"$ref": "#/$defs/N"}},
        "$defs": {"N": {"type": "null"}},
    }
    tools = [function("a", recursive), function("b", {"type": "object"})]
    form = forced_call_form(tools, "a")
    assert form.schema["properties"]["name"] == {"const": "a"}
    assert form.schema["$defs"]["tool0"]["properties"] == {
        "next": {"$ref": "#/$defs/tool0"},
        "n": {"$ref": "#/$defs/tool0/$defs/N"},
    }
    assert form.schema["$defs"]["tool0"]["type"] == "object"
    either = forced_call_form(tools, None).schema
    assert [one["properties"]["name"]["const"] for one in either["anyOf"]] == ["a", "b"]
    assert set(either["$defs"]) == {"tool0", "tool1"}


def test_hostile_depth():
    deep = {}
    for _ in range(5000):
        deep = {"items": deep}
    read_format(schema_format({**POINT, "properties": {"x": deep}}, strict=True), "p")
    with pytest.raises(ApiError):
        forced_call_form([function("a", deep)], None)


@pytest.fixture(scope="module")
def follows():
    """(form, text): whether a model can write the text, and whether it may end there."""
    if not default_model.path().is_file():
        pytest.skip("this checkout has no embedded model")
    tokenizer = ModelTokenizer.from_gguf(default_model.path())
    guide = GrammarGuide()
    guide.attach(tokenizer.tokenizer, tokenizer.tokenizer.vocab_size)

    def followed(form, text):
        matcher = guide.compile(StructuredOutput(form.kind, form.value))
        ids = tokenizer.encode(text, add_special=False)
        return matcher.try_consume_tokens(ids) == len(ids), matcher.is_accepting()

    return followed


def call(name, arguments, gap="\n"):
    return f'<tool_call>{gap}{{"name": "{name}", "arguments": {arguments}}}{gap}</tool_call>'


STRICT_TOOL = {"type": "function", "function": {"name": "move", "parameters": POINT}}
LOOSE_TOOL = {"type": "function", "function": {"name": "say", "parameters": POINT}}
COMPLETE, OPEN, IMPOSSIBLE = (True, True), (True, False), (False, False)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", COMPLETE),
        ('No tool is needed: {"x": <tool>} <tool_', COMPLETE),
        ("<tool_call>", OPEN),
        (call("move", '{"x": 1}'), COMPLETE),
        (call("move", '{"x": 1}', ""), COMPLETE),
        ("Let me see.\n" + call("move", '{"x": 1}') + "\nDone", COMPLETE),
        (call("move", '{"x": 1}') + "\n" + call("move", '{"x": -2}'), COMPLETE),
        (call("move", '{"x": 1}').removesuffix("</tool_call>"), OPEN),
        (call("move", '{"x": "1"}'), IMPOSSIBLE),
        (call("move", "{}"), IMPOSSIBLE),
        (call("move", '{"x": 1, "y": 2}'), IMPOSSIBLE),
        (call("go", '{"x": 1}'), IMPOSSIBLE),
        ("Now <tool_call> is a tag", IMPOSSIBLE),
        (call("move", '{"x": 1}') + call("go", "{}"), IMPOSSIBLE),
        (call("say", '{"anything": [1, "a"]}'), COMPLETE),
    ],
)
def test_strict_calls_among_free_text(follows, text, expected):
    form = free_text_or_calls([STRICT_TOOL, LOOSE_TOOL], {"move"}, parallel=True)
    assert follows(form, text) == expected


def test_one_call_where_calls_are_not_parallel(follows):
    form = free_text_or_calls([STRICT_TOOL], {"move"}, parallel=False)
    one = call("move", '{"x": 1}')
    assert follows(form, "a" + one + "b") == COMPLETE
    assert follows(form, one + one)[0] is False


def test_compact_json_has_no_white_space(follows):
    form = read_format({**schema_format(POINT), "compact": True}, "p")
    assert follows(form, '{"x":1}') == COMPLETE
    assert follows(form, '{"x": 1}') == IMPOSSIBLE
    assert follows(read_format(schema_format(POINT), "p"), '{ "x": 1 }') == COMPLETE
