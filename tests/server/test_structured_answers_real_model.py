"""Answers of a form and forced calls from a real process: the embedded model has never heard of either."""

from __future__ import annotations

import json

import openai
import pytest
from roomy_model import write_roomy_model
from served_process import REAL_SERVER, ServedProcess
from test_server_responses import named_events

from llmcore import default_model

ASKED = [{"role": "user", "content": "What is llmcore?"}]
COLOUR = {
    "type": "object",
    "properties": {
        "name": {"type": "string", "maxLength": 8},
        "shade": {"enum": ["light", "dark"]},
        "parts": {"type": "array", "items": {"type": "integer", "minimum": 0, "maximum": 9}, "maxItems": 3},
    },
    "required": ["name", "shade", "parts"],
    "additionalProperties": False,
}
PAINT = {"type": "function", "function": {"name": "paint", "parameters": COLOUR, "strict": True}}
CLEAN = {
    "type": "function",
    "function": {
        "name": "clean",
        "parameters": {
            "type": "object",
            "properties": {"tree": {"$ref": "#/$defs/Tree"}},
            "required": ["tree"],
            "additionalProperties": False,
            "$defs": {
                "Tree": {
                    "type": "object",
                    "properties": {"leaf": {"type": "boolean"}},
                    "required": ["leaf"],
                    "additionalProperties": False,
                }
            },
        },
    },
}
SAMPLED = {"model": "default", "messages": ASKED, "temperature": 1.2, "max_tokens": 200}


def strict_format(schema=COLOUR, **extra):
    return {
        "type": "json_schema",
        "json_schema": {"name": "colour", "schema": schema, "strict": True, **extra},
    }


@pytest.fixture(scope="module")
def roomy(tmp_path_factory):
    if not default_model.path().is_file():
        pytest.skip("this checkout has no embedded model")
    path = write_roomy_model(tmp_path_factory.mktemp("models"))
    process = ServedProcess(REAL_SERVER, ["--port", "0", "--threads", "1", str(path)])
    yield process
    process.stop()


@pytest.fixture
def sdk(roomy):
    with openai.OpenAI(base_url=f"{roomy.url}/v1", api_key="any", max_retries=0) as client:
        yield client


def check_colour(text):
    colour = json.loads(text)
    assert set(colour) == {"name", "shade", "parts"}
    assert colour["shade"] in ("light", "dark")
    assert len(colour["parts"]) <= 3
    assert all(0 <= part <= 9 for part in colour["parts"])


@pytest.mark.parametrize("seed", range(3))
def test_schema(sdk, seed):
    answer = sdk.chat.completions.create(response_format=strict_format(), seed=seed, n=2, **SAMPLED)
    for choice in answer.choices:
        assert choice.finish_reason == "stop"
        check_colour(choice.message.content)
    chunks = sdk.chat.completions.create(response_format=strict_format(), seed=seed, stream=True, **SAMPLED)
    check_colour("".join(chunk.choices[0].delta.content or "" for chunk in chunks))


def test_any_object(sdk):
    answer = sdk.chat.completions.create(
        response_format={"type": "json_object"}, seed=3, **{**SAMPLED, "max_tokens": 60}
    )
    (choice,) = answer.choices
    assert choice.message.content.lstrip().startswith("{")
    if choice.finish_reason == "stop":
        assert isinstance(json.loads(choice.message.content), dict)


def test_responses_have_a_form_too(sdk):
    text = {"format": {"type": "json_schema", "name": "colour", "schema": COLOUR, "strict": True}}
    answer = sdk.responses.create(model="default", input="Red?", text=text, max_output_tokens=200)
    check_colour(answer.output_text)
    assert answer.text.format.name == "colour"


@pytest.mark.parametrize(
    ("given", "param"),
    [
        (strict_format({"type": "object", "properties": {}}), "response_format.json_schema.schema"),
        (
            {
                "type": "json_schema",
                "json_schema": {"name": "a", "schema": {"type": "object", "if": {}, "then": {}}},
            },
            "response_format",
        ),
        (
            {
                "type": "json_schema",
                "json_schema": {"name": "a", "schema": {"type": "string", "pattern": "(?=a)b"}},
            },
            "response_format",
        ),
    ],
)
@pytest.mark.parametrize("stream", [False, True])
def test_schemas_that_cannot_be_kept_are_refused(sdk, given, param, stream):
    with pytest.raises(openai.BadRequestError) as refused:
        sdk.chat.completions.create(response_format=given, stream=stream, **SAMPLED)
    assert refused.value.param == param
    assert refused.value.code == "invalid_json_schema"


@pytest.mark.parametrize("seed", range(2))
def test_required_call(sdk, seed):
    answer = sdk.chat.completions.create(tools=[PAINT, CLEAN], tool_choice="required", seed=seed, **SAMPLED)
    (choice,) = answer.choices
    assert choice.finish_reason == "tool_calls"
    assert choice.message.content is None
    (call,) = choice.message.tool_calls
    if call.function.name == "paint":
        check_colour(call.function.arguments)
    else:
        assert call.function.name == "clean"
        assert set(json.loads(call.function.arguments)) == {"tree"}


def test_named_call(sdk):
    choice = {"type": "function", "function": {"name": "clean"}}
    answer = sdk.chat.completions.create(tools=[PAINT, CLEAN], tool_choice=choice, seed=1, **SAMPLED)
    (call,) = answer.choices[0].message.tool_calls
    assert call.function.name == "clean"
    assert isinstance(json.loads(call.function.arguments)["tree"]["leaf"], bool)
    assert answer.choices[0].finish_reason == "stop"


def test_streamed_call_accumulates(sdk):
    with sdk.chat.completions.stream(tools=[PAINT], tool_choice="required", seed=2, **SAMPLED) as stream:
        final = stream.get_final_completion()
    (call,) = final.choices[0].message.tool_calls
    assert call.function.name == "paint"
    check_colour(call.function.arguments)
    assert call.id.count("call_") == 1


def test_responses_call(sdk):
    tool = {"type": "function", **PAINT["function"]}
    answer = sdk.responses.create(
        model="default", input="Red?", tools=[tool], tool_choice="required", max_output_tokens=200
    )
    (call,) = answer.output
    assert (call.type, call.name) == ("function_call", "paint")
    check_colour(call.arguments)


def test_messages_call(roomy):
    body = {
        "model": "default",
        "max_tokens": 200,
        "messages": ASKED,
        "tools": [{"name": "paint", "input_schema": COLOUR}],
        "tool_choice": {"type": "tool", "name": "paint"},
    }
    whole = roomy.post("/v1/messages", body).json()
    assert whole["stop_reason"] == "tool_use"
    (call,) = whole["content"]
    check_colour(json.dumps(call["input"]))
    received = named_events(roomy.post("/v1/messages", {**body, "stream": True}).text)
    pieces = [event["delta"]["partial_json"] for event in received if event["type"] == "content_block_delta"]
    check_colour("".join(pieces))


def test_messages_have_a_form_too(roomy):
    body = {
        "model": "default",
        "max_tokens": 200,
        "messages": ASKED,
        "output_config": {"format": {"type": "json_schema", "schema": COLOUR}},
    }
    (block,) = roomy.post("/v1/messages", body).json()["content"]
    check_colour(block["text"])


def test_a_call_that_is_cut_off_says_so(sdk):
    answer = sdk.chat.completions.create(
        tools=[PAINT], tool_choice="required", seed=1, **{**SAMPLED, "max_tokens": 12}
    )
    assert answer.choices[0].finish_reason == "length"


@pytest.mark.parametrize("seed", range(4))
def test_a_form_beside_tools(sdk, seed):
    """The answer has the form, or is a call."""
    answer = sdk.chat.completions.create(
        response_format=strict_format(), tools=[CLEAN], seed=seed, **{**SAMPLED, "temperature": 2.0}
    )
    (choice,) = answer.choices
    if choice.message.tool_calls:
        assert isinstance(json.loads(choice.message.tool_calls[0].function.arguments)["tree"]["leaf"], bool)
    else:
        check_colour(choice.message.content)
