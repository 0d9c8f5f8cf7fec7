"""Streams send the events that the OpenAPI document describes, and it describes none that is never sent."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from functools import cache
from typing import Any

import pytest
from fake_engine import FakeEngine
from in_process_client import InProcessClient
from jsonschema_rs import Draft202012Validator
from test_server_v1_answers import (
    CALLS,
    CUT,
    FREE,
    HELLO,
    POSTS,
    THOUGHT,
    TOOLS,
    complaints,
    engine,
    template,
)

from llmcore.errors import DeadlineExceededError
from llmcore_server.config import ServerConfig

AT_ONCE = ServerConfig(event_interval=0)
USAGE = {"stream_options": {"include_usage": True}}
CALL_CUT = len(THOUGHT) + 60
# The bodies of requests besides `POSTS`, by path.
MORE: dict[str, list[dict[str, Any]]] = {
    "/v1/chat/completions": [
        {"messages": HELLO, "n": 2, "tools": TOOLS, "max_tokens": 300, **USAGE},
        {"messages": HELLO, "tools": TOOLS, "max_tokens": CALL_CUT},
    ],
    "/v1/completions": [{"prompt": ["say", "it"], "n": 2, **USAGE}, {"prompt": "say", "max_tokens": 0}],
    "/v1/responses": [{**POSTS["/v1/responses"][2], "max_output_tokens": CALL_CUT}],
    "/v1/messages": [{**POSTS["/v1/messages"][2], "max_tokens": CALL_CUT}],
    "/v1/engines/tiny-chat/chat/completions": [{**body, **USAGE} for body in POSTS["/v1/chat/completions"]],
    "/v1/engines/tiny-chat/completions": [{"prompt": "say", "logprobs": 2, **USAGE}],
    "/api/v1/generate": [{"prompt": "say"}],
    "/api/v1/generate/stream": [{"prompt": "say", "max_tokens": CUT}],
}
# Fields that an object may lack, by the field that holds it.
MAY_LACK = {
    "delta": {"role", "content", "reasoning_content", "tool_calls", "function_call"},
    "tool_calls": {"id", "type"},
    "function": {"name"},
    "function_call": {"name"},
    "response": {"completed_at"},
}


def engines() -> Iterator[FakeEngine]:
    """Engines that answer, and some that fail on the way: in a thought, behind it, in a call."""
    for said in ("人工智能 is said", THOUGHT + "It is noon.", THOUGHT + CALLS, CALLS):
        yield engine(said)
    without_logprobs = engine("said")
    without_logprobs.logprobs_of = None
    yield without_logprobs
    for error in (RuntimeError("fire"), DeadlineExceededError("late")):
        for fail_after in (9, len(THOUGHT) - 1, CALL_CUT):
            failing = engine(THOUGHT + CALLS)
            failing.error, failing.fail_after = error, fail_after
            yield failing


@cache
def sent(path: str) -> list[str]:
    """The data of every event of a path's streams."""
    asked = [
        ("POST", path, {"json": {**body, "stream": True}}) for body in [*POSTS.get(path, []), *MORE[path]]
    ]
    data: list[str] = []
    for one in engines():
        for answer in InProcessClient(one, AT_ONCE).requests(*asked):
            assert answer.headers["content-type"].startswith("text/event-stream")
            lines = re.findall(r"^data: (.*)$", answer.text, re.MULTILINE)
            assert "[DONE]" not in lines[:-1]
            data += lines[:-1] if lines[-1] == "[DONE]" else lines
    return data


def event_schema(document: Any, path: str) -> Any:
    content = document["paths"][template(path)]["post"]["responses"]["200"]["content"]
    return content["text/event-stream"]["x-event-schema"]


def validator(document: Any, schema: Any) -> Draft202012Validator:
    return Draft202012Validator({**schema, "components": document["components"]})


def objects_in(value: Any, holder: str = "") -> Iterator[tuple[str, dict[str, Any]]]:
    """Every object of an event whose fields the server has named, with the field that holds it."""
    if isinstance(value, dict) and (holder not in FREE or "logprob" in value):
        yield holder, value
        for name, item in value.items():
            yield from objects_in(item, name)
    if isinstance(value, list):
        for item in value:
            yield from objects_in(item, holder)


@pytest.fixture(scope="module")
def document() -> Any:
    return InProcessClient(FakeEngine()).get("/openapi.json").json()


@pytest.mark.parametrize("path", MORE)
def test_events_are_as_described(document, path):
    described = validator(document, event_schema(document, path))
    for data in sent(path):
        assert complaints(described, json.loads(data)) == [], data


@pytest.mark.parametrize("path", [path for path in MORE if path.startswith("/v1")])
def test_no_other_event_is_as_described(document, path):
    described = validator(document, event_schema(document, path))
    for event in map(json.loads, sent(path)):
        for holder, one in objects_in(event):
            for name in list(one):
                value = one.pop(name)
                # Of a chunk's usage, null alone may be absent.
                optional = name in MAY_LACK.get(holder, ()) or (holder, name, value) == ("", "usage", None)
                assert described.is_valid(event) is optional, (name, event)
                one[f"{name}s"] = value
                assert not described.is_valid(event), (name, event)
                del one[f"{name}s"]
                one[name] = value
        assert described.is_valid(event)


@pytest.mark.parametrize("route", sorted({template(path) for path in MORE}))
def test_nothing_is_described_that_is_never_sent(document, route):
    """Not a kind of event, nor a field of one."""
    structs: dict[str, Any] = {}
    left = [event_schema(document, route)]
    while left:
        for name in re.findall(r'"\$ref": "#/components/schemas/(\w+)"', json.dumps(left.pop())):
            if name not in structs:
                structs[name] = document["components"]["schemas"][name]
                left.append(structs[name])
    validators = {name: validator(document, schema) for name, schema in structs.items()}
    seen = {
        (name, field)
        for path in MORE
        if template(path) == route
        for data in sent(path)
        for _, one in objects_in(json.loads(data))
        for name, described in validators.items()
        if described.is_valid(one)
        for field in one
    }
    assert {
        (name, field) for name, schema in structs.items() for field in schema["properties"]
    } - seen == set()
