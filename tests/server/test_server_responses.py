"""`/v1/responses` over a fake engine."""

from __future__ import annotations

import json
from typing import Any

import pytest
from fake_engine import FakeEngine, FakeTokenizer
from in_process_client import InProcessClient

from llmcore.errors import ContextLengthError

RESPONSES = "/v1/responses"
CLOCK = {"type": "function", "name": "clock", "description": "Tells the time."}
SAID = '<think>hm</think>Now:\n<tool_call>{"name": "clock", "arguments": {"zone": 8}}</tool_call>'


def thinker(text: str = SAID, **engine: Any) -> InProcessClient:
    return InProcessClient(FakeEngine(text=text, tokenizer=FakeTokenizer("<tool_call></think>"), **engine))


def named_events(body: str) -> list[dict[str, Any]]:
    """Parse a stream whose events are named as their type says."""
    parsed = []
    for block in body.removesuffix("\n\n").split("\n\n"):
        name, data = block.split("\n")
        payload = json.loads(data.removeprefix("data: "))
        assert name == f"event: {payload['type']}"
        parsed.append(payload)
    return parsed


def seen(engine: FakeEngine) -> Any:
    return json.loads("".join(map(chr, engine.prompts[-1])))


def test_whole_answer(client, engine):
    body = client.post(RESPONSES, {"input": "Hello!", "model": "default", "metadata": {"a": "b"}}).json()
    assert body["object"] == "response"
    assert body["status"] == "completed"
    assert body["metadata"] == {"a": "b"}
    assert body["error"] is None
    assert body["store"] is False
    (message,) = body["output"]
    assert (message["type"], message["role"], message["status"]) == ("message", "assistant", "completed")
    assert message["content"] == [
        {"type": "output_text", "text": "人工智能", "annotations": [], "logprobs": []}
    ]
    usage = body["usage"]
    assert usage["output_tokens"] == 4
    assert usage["input_tokens"] + 4 == usage["total_tokens"]
    assert seen(engine) == [{"role": "user", "content": "Hello!"}]
    assert engine.params[0].max_tokens is None


def test_what_is_cut_off_is_incomplete(client):
    body = client.post(RESPONSES, {"input": "Hello!", "max_output_tokens": 2}).json()
    assert body["status"] == "incomplete"
    assert body["incomplete_details"] == {"reason": "max_output_tokens"}
    assert body["output"][0]["status"] == "incomplete"


def test_history_becomes_messages(client, engine):
    items = [
        {
            "role": "user",
            "content": [{"type": "input_text", "text": "a"}, {"type": "input_text", "text": "b"}],
        },
        {
            "type": "reasoning",
            "id": "r",
            "summary": [],
            "content": [{"type": "reasoning_text", "text": "hm"}],
        },
        {"type": "message", "role": "assistant", "content": [{"type": "output_text", "text": "c"}]},
        {"type": "function_call", "call_id": "1", "name": "clock", "arguments": "{}"},
        {"type": "function_call_output", "call_id": "1", "output": "noon"},
    ]
    assert client.post(RESPONSES, {"input": items, "instructions": "Be kind."}).status_code == 200
    call = {"id": "1", "type": "function", "function": {"name": "clock", "arguments": "{}"}}
    assert seen(engine) == [
        {"role": "system", "content": "Be kind."},
        {"role": "user", "content": "ab"},
        {"role": "assistant", "content": "c", "reasoning_content": "hm", "tool_calls": [call]},
        {"role": "tool", "content": "noon", "tool_call_id": "1"},
    ]


def test_reasoning_words_and_calls_are_items():
    body = thinker().post(RESPONSES, {"input": "Hello!", "tools": [CLOCK]}).json()
    reasoning, message, call = body["output"]
    assert reasoning["content"] == [{"type": "reasoning_text", "text": "hm"}]
    assert message["content"][0]["text"] == "Now:"
    assert call["type"] == "function_call"
    assert (call["name"], call["arguments"]) == ("clock", '{"zone": 8}')
    assert body["usage"]["output_tokens_details"]["reasoning_tokens"] > 0


def test_stream():
    client = thinker()
    events = named_events(client.post(RESPONSES, {"input": "Hi", "tools": [CLOCK], "stream": True}).text)
    assert [event["sequence_number"] for event in events] == list(range(len(events)))
    kinds = [event["type"].removeprefix("response.") for event in events]
    compact = [kind for place, kind in enumerate(kinds) if place == 0 or kinds[place - 1] != kind]
    assert compact == [
        "created",
        "in_progress",
        "output_item.added",
        "content_part.added",
        "reasoning_text.delta",
        "reasoning_text.done",
        "content_part.done",
        "output_item.done",
        "output_item.added",
        "content_part.added",
        "output_text.delta",
        "output_text.done",
        "content_part.done",
        "output_item.done",
        "output_item.added",
        "function_call_arguments.delta",
        "function_call_arguments.done",
        "output_item.done",
        "completed",
    ]
    final = events[-1]["response"]
    done = [event["item"] for event in events if event["type"] == "response.output_item.done"]
    assert done == final["output"]
    for index, item in enumerate(final["output"]):
        deltas = [
            event["delta"] for event in events if event.get("output_index") == index and "delta" in event
        ]
        text = item["arguments"] if item["type"] == "function_call" else item["content"][0]["text"]
        assert "".join(deltas) == text
    added = next(event["item"] for event in events if event["type"] == "response.output_item.added")
    assert added["status"] == "in_progress"
    assert added["content"] == []


def test_failure_in_a_stream():
    client = thinker(error=RuntimeError("fire"), fail_after=12)
    *_, done, error, failed = named_events(client.post(RESPONSES, {"input": "Hi", "stream": True}).text)
    assert done["type"] == "response.output_item.done"
    assert done["item"]["status"] == "incomplete"
    assert failed["response"]["output"] == [done["item"]]
    assert error["type"] == "error"
    assert failed["type"] == "response.failed"
    assert failed["response"]["error"]["code"] == "server_error"


def test_what_is_ignored_within_an_object_is_told(client):
    asked = {"reasoning": {"effort": "low", "summary": "auto"}, "text": {"verbosity": "low"}, "user": "u"}
    warned = client.post(RESPONSES, {"input": "Hi", **asked}).headers["x-llmcore-warnings"]
    assert warned == "ignored: user, reasoning.effort, reasoning.summary, text.verbosity"
    absent = {"reasoning": {"effort": None, "summary": None}, "text": {"verbosity": None}}
    assert "x-llmcore-warnings" not in client.post(RESPONSES, {"input": "Hi", **absent}).headers


@pytest.mark.parametrize("stream", [False, True])
def test_too_long_an_input(stream):
    client = thinker(error=ContextLengthError("9 > 8"))
    answer = client.post(RESPONSES, {"input": "Hi", "stream": stream})
    assert answer.status_code == 400
    assert answer.json()["error"]["code"] == "context_length_exceeded"


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({"previous_response_id": "resp_1"}, "previous_response_id"),
        ({"background": True}, "background"),
        ({"truncation": "auto"}, "truncation"),
        ({"tools": [{"type": "web_search"}]}, "tools[0].type"),
        ({"tools": [{"type": "function"}]}, "tools[0].name"),
        ({"tool_choice": "required"}, "tool_choice"),
        ({"input": [{"role": "user", "content": [{"type": "input_image"}]}]}, "input[0].content[0].type"),
        ({"input": [{"role": "user"}]}, "input[0].content"),
        ({"input": [{"content": "a"}]}, "input[0].role"),
        ({"input": [{"type": "item_reference", "id": "x"}]}, "input[0].type"),
        ({"input": [{"type": "function_call"}]}, "input[0]"),
        ({"input": []}, "input"),
    ],
)
def test_what_cannot_be_served_is_named(client, body, param):
    answer = client.post(RESPONSES, {"input": "Hi", **body})
    assert answer.status_code == 400
    assert answer.json()["error"]["param"] == param
