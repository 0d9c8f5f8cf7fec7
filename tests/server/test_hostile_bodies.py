"""Hostile bodies: an error in the documented shape, never a server failure."""

from __future__ import annotations

import json

import pytest
from fake_engine import FakeEngine, FakeTokenizer
from hypothesis import given, settings
from hypothesis import strategies as st
from in_process_client import InProcessClient

MESSAGES = [{"role": "user", "content": "Hello!"}]
FUNCTION = {"name": "f", "parameters": {"type": "object"}}
# Valid bodies, each field of which is then made something else.
BODIES = {
    "/api/v1/generate": {
        "prompt": "x",
        "stop": ["x"],
        "logit_bias": {"1": 2},
        "dry_sequence_breakers": ["\n"],
        "timeout": 60,
        "priority": 1,
    },
    "/api/v1/batch/generate": {"requests": [{"prompt": "x", "max_tokens": 5}, {"prompt": "y"}]},
    "/v1/completions": {
        "prompt": ["a", [1]],
        "n": 1,
        "logprobs": 1,
        "echo": True,
        "stop": ["x"],
        "suffix": None,
    },
    "/v1/chat/completions": {
        "messages": [
            *MESSAGES,
            {"role": "assistant", "tool_calls": [{"id": "1", "function": {"name": "f", "arguments": "{"}}]},
            {"role": "tool", "content": [{"type": "text", "text": "x"}], "tool_call_id": "1"},
        ],
        "tools": [{"type": "function", "function": FUNCTION}],
        "tool_choice": {"type": "allowed_tools", "allowed_tools": {"mode": "auto", "tools": []}},
        "stream_options": {"include_usage": True},
        "chat_template_kwargs": {"a": {}},
        "reasoning_effort": "low",
        "logit_bias": {"1": 2},
    },
    "/v1/embeddings": {"input": ["a", [1]], "dimensions": 2, "encoding_format": "base64"},
    "/v1/responses": {
        "input": [
            {"role": "user", "content": [{"type": "input_text", "text": "x"}]},
            {"type": "function_call", "call_id": "1", "name": "f", "arguments": "{}"},
            {"type": "function_call_output", "call_id": "1", "output": "x"},
            {"type": "reasoning", "summary": [], "content": [{"type": "reasoning_text", "text": "x"}]},
        ],
        "tools": [{"type": "function", **FUNCTION}],
        "text": {"format": {"type": "text"}},
        "reasoning": {"effort": "low"},
        "metadata": {"a": "b"},
    },
    "/v1/messages": {
        "max_tokens": 5,
        "system": [{"type": "text", "text": "x"}],
        "messages": [
            *MESSAGES,
            {"role": "assistant", "content": [{"type": "tool_use", "id": "1", "name": "f", "input": {}}]},
            {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "1", "content": "x"}]},
        ],
        "tools": [{"name": "f", "input_schema": {"type": "object"}}],
        "tool_choice": {"type": "auto"},
        "thinking": {"type": "enabled", "budget_tokens": 1},
    },
    "/v1/tokenize": {"messages": MESSAGES, "tools": [{"type": "function", "function": FUNCTION}]},
    "/v1/detokenize": {"tokens": [1, 2]},
    "/v1/apply-template": {"messages": MESSAGES, "chat_template_kwargs": {}},
}
ODD = st.sampled_from(
    [
        None,
        True,
        0,
        -1,
        1.5,
        10**30,
        1e300,
        "",
        "x",
        "\ud800",
        "\0",
        [],
        [[]],
        [None],
        {},
        {"a": 1},
        {"type": "x"},
    ]
)


def places(value, path=()):
    """The paths of every part of a body."""
    yield path
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, item in items:
        yield from places(item, (*path, key))


def changed(body, path, odd):
    copy = json.loads(json.dumps(body))
    if not path:
        return odd
    place = copy
    for key in path[:-1]:
        place = place[key]
    place[path[-1]] = odd
    return copy


def send(path, content, *, takes_tools=True):
    engine = FakeEngine(tokenizer=FakeTokenizer(takes_tools=takes_tools))
    headers = {"Content-Type": "application/json"}
    return InProcessClient(engine).request("POST", path, content=content, headers=headers)


def check(answer, path):
    assert answer.status_code in (200, 400, 404), answer.text
    if answer.status_code == 200:
        return
    error = answer.json()["error"]
    assert error["message"]
    if path.startswith("/api/v1"):
        assert set(error) == {"code", "message", "details"}
    elif path == "/v1/messages":
        assert answer.json()["type"] == "error"
    else:
        assert set(error) == {"message", "type", "param", "code"}


@pytest.mark.parametrize("path", BODIES)
def test_the_bodies_themselves_are_served(path):
    for takes_tools in (True, False):
        answer = send(path, json.dumps(BODIES[path]), takes_tools=takes_tools)
        assert answer.status_code == 200, answer.text


@pytest.mark.parametrize("path", BODIES)
@settings(max_examples=25, deadline=None)
@given(data=st.data())
def test_odd_values_anywhere(path, data):
    body = BODIES[path]
    place = data.draw(st.sampled_from(list(places(body))))
    check(send(path, json.dumps(changed(body, place, data.draw(ODD)))), path)


@pytest.mark.parametrize("depth", [60, 400, 990, 100_000])
@pytest.mark.parametrize("takes_tools", [True, False])
@pytest.mark.parametrize(
    "path", ["/v1/chat/completions", "/v1/responses", "/v1/messages", "/v1/apply-template"]
)
def test_deep_schemas(path, depth, takes_tools):
    deep = '{"items":' * depth + "{}" + "}" * depth
    body = {**BODIES[path], "tools": [{"type": "function", "function": FUNCTION}]}
    if path == "/v1/responses":
        body["tools"] = [{"type": "function", **FUNCTION}]
    if path == "/v1/messages":
        body["tools"] = [{"name": "f", "input_schema": {"type": "object"}}]
    check(send(path, json.dumps(body).replace('{"type": "object"}', deep), takes_tools=takes_tools), path)


@pytest.mark.parametrize("path", ["/v1/chat/completions", "/v1/responses"])
def test_deep_choices(path):
    choice = '{"type":"allowed_tools","tools":[],"mode":' * 600 + '"auto"' + "}" * 600
    content = json.dumps({**BODIES[path], "tool_choice": "CHOICE"}).replace('"CHOICE"', choice)
    assert send(path, content).status_code == 400
