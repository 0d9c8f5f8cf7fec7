"""Anthropic's `/v1/messages` over a fake engine."""

from __future__ import annotations

import json

import pytest
from fake_engine import FakeEngine, FakeTokenizer
from in_process_client import InProcessClient
from test_server_responses import SAID, named_events, seen, thinker

from llmcore.errors import QueueFullError

MESSAGES = "/v1/messages"
HELLO = {"messages": [{"role": "user", "content": "Hello!"}], "max_tokens": 100}
CLOCK = {"name": "clock", "description": "Tells the time.", "input_schema": {"type": "object"}}


def test_whole_answer(client, engine):
    body = client.post(MESSAGES, {**HELLO, "model": "default", "system": "Be kind."}).json()
    assert body["id"].startswith("msg_")
    assert (body["type"], body["role"], body["model"]) == ("message", "assistant", "default")
    assert body["content"] == [{"type": "text", "text": "人工智能"}]
    assert (body["stop_reason"], body["stop_sequence"]) == ("end_turn", None)
    assert body["usage"] == {
        "input_tokens": len(engine.prompts[0]),
        "cache_creation_input_tokens": 0,
        "cache_read_input_tokens": 0,
        "output_tokens": 4,
    }
    assert seen(engine) == [
        {"role": "system", "content": "Be kind."},
        {"role": "user", "content": "Hello!"},
    ]


BEGUN = {**HELLO, "messages": [*HELLO["messages"], {"role": "assistant", "content": "Hi, <b>"}]}  # type: ignore[misc]


def test_an_answer_that_has_begun_is_continued(client, engine):
    assert client.post(MESSAGES, BEGUN).json()["content"] == [{"type": "text", "text": "人工智能"}]
    prompt = "".join(map(chr, engine.prompts[0]))
    assert prompt == json.dumps(HELLO["messages"], ensure_ascii=False) + "Hi, <b>"
    counted = client.post(f"{MESSAGES}/count_tokens", {"messages": BEGUN["messages"]}).json()
    assert counted == {"input_tokens": len(prompt)}


def test_reasoning_is_closed_before_an_answer_that_has_begun():
    tokenizer = FakeTokenizer("{{ enable_thinking }}</think>")
    tokenizer.thinks_at_once = True
    engine = FakeEngine(tokenizer=tokenizer)
    body = InProcessClient(engine).post(MESSAGES, BEGUN).json()
    assert body["content"] == [{"type": "text", "text": "人工智能"}]
    assert "".join(map(chr, engine.prompts[0])).endswith("<think>\n\n</think>\n\nHi, <b>")


@pytest.mark.parametrize(
    "form",
    [
        {"tools": [CLOCK], "tool_choice": {"type": "any"}},
        {"output_config": {"format": {"type": "json_schema", "schema": {"type": "object"}}}},
    ],
)
def test_no_form_for_an_answer_that_has_begun(client, form):
    answer = client.post(MESSAGES, {**BEGUN, **form})
    assert answer.status_code == 400
    assert "form" in answer.json()["error"]["message"]


def test_what_is_cut_off_says_so(client):
    assert client.post(MESSAGES, {**HELLO, "max_tokens": 2}).json()["stop_reason"] == "max_tokens"


def test_stop_sequences(client, engine):
    body = client.post(MESSAGES, {**HELLO, "stop_sequences": ["x", "智"], "top_k": 3}).json()
    assert engine.params[0].stop == ("x", "智")
    assert engine.params[0].top_k == 3
    # The fake engine counts no end token, and its text holds the sequence.
    assert (body["stop_reason"], body["stop_sequence"]) == ("stop_sequence", "智")


def test_thinking_words_and_calls_are_blocks():
    body = thinker().post(MESSAGES, {**HELLO, "tools": [CLOCK]}).json()
    thinking, text, call = body["content"]
    assert thinking == {"type": "thinking", "thinking": "hm", "signature": ""}
    assert text == {"type": "text", "text": "Now:"}
    assert (call["type"], call["name"], call["input"]) == ("tool_use", "clock", {"zone": 8})
    assert body["stop_reason"] == "tool_use"


def test_stream():
    events = named_events(thinker().post(MESSAGES, {**HELLO, "tools": [CLOCK], "stream": True}).text)
    kinds = [event["type"] for event in events]
    block = ["content_block_start", "content_block_delta", "content_block_stop"]
    compact = [kind for place, kind in enumerate(kinds) if place == 0 or kinds[place - 1] != kind]
    assert compact == ["message_start", *block * 3, "message_delta", "message_stop"]
    assert events[0]["message"]["content"] == []
    grown = ["", "", ""]
    for event in events:
        if event["type"] == "content_block_delta":
            delta = event["delta"]
            grown[event["index"]] += (
                delta.get("thinking", "") or delta.get("text", "") or delta.get("partial_json", "")
            )
    assert grown[:2] == ["hm", "Now:"]
    assert json.loads(grown[2]) == {"zone": 8}
    assert events[-2]["delta"]["stop_reason"] == "tool_use"
    assert events[-2]["usage"]["output_tokens"] == len(SAID)


def test_history_becomes_messages(client, engine):
    messages = [
        {"role": "user", "content": [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]},
        {
            "role": "assistant",
            "content": [
                {"type": "thinking", "thinking": "hm", "signature": "s"},
                {"type": "text", "text": "c"},
                {"type": "tool_use", "id": "1", "name": "clock", "input": {"zone": 8}},
            ],
        },
        {
            "role": "user",
            "content": [
                {"type": "tool_result", "tool_use_id": "1", "content": [{"type": "text", "text": "noon"}]},
                {"type": "text", "text": "and?"},
            ],
        },
    ]
    assert client.post(MESSAGES, {"messages": messages, "max_tokens": 5}).status_code == 200
    call = {"id": "1", "type": "function", "function": {"name": "clock", "arguments": '{"zone": 8}'}}
    assert seen(engine) == [
        {"role": "user", "content": "ab"},
        {"role": "assistant", "content": "c", "reasoning_content": "hm", "tool_calls": [call]},
        {"role": "tool", "content": "noon", "tool_call_id": "1"},
        {"role": "user", "content": "and?"},
    ]


def test_what_was_cached_is_told_apart(client, engine):
    engine.cached_tokens = 7
    usage = client.post(MESSAGES, HELLO).json()["usage"]
    assert (usage["input_tokens"], usage["cache_read_input_tokens"]) == (len(engine.prompts[0]) - 7, 7)
    chat = client.post("/v1/chat/completions", {"messages": HELLO["messages"]}).json()["usage"]
    assert chat["prompt_tokens_details"] == {"cached_tokens": 7}
    response = client.post("/v1/responses", {"input": "Hello!"}).json()["usage"]
    assert response["input_tokens_details"] == {"cached_tokens": 7, "cache_write_tokens": 0}


def test_tokens_are_counted_as_they_are_charged(client):
    messages = {"messages": HELLO["messages"], "system": [{"type": "text", "text": "Be kind."}]}
    counted = client.post(f"{MESSAGES}/count_tokens", {**messages, "tools": [CLOCK]}).json()
    charged = client.post(MESSAGES, {**HELLO, **messages, "tools": [CLOCK]}).json()
    assert counted == {"input_tokens": charged["usage"]["input_tokens"]}


def test_thinking_can_be_turned_off():
    client = InProcessClient(FakeEngine(tokenizer=FakeTokenizer("enable_thinking")))
    client.post(MESSAGES, {**HELLO, "thinking": {"type": "disabled"}})
    assert client.engine.tokenizer.variables == [{"enable_thinking": False}]
    unheard = thinker().post(MESSAGES, {**HELLO, "thinking": {"type": "disabled"}, "metadata": {}})
    assert unheard.headers["x-llmcore-warnings"] == "ignored: metadata, thinking"


def test_effort_is_told_to_the_template_and_thinking_has_the_last_word():
    client = InProcessClient(FakeEngine(tokenizer=FakeTokenizer("enable_thinking")))
    client.post(MESSAGES, {**HELLO, "output_config": {"effort": "max"}, "thinking": {"type": "disabled"}})
    assert client.engine.tokenizer.variables == [{"reasoning_effort": "high", "enable_thinking": False}]
    unheard = thinker().post(MESSAGES, {**HELLO, "output_config": {"effort": "low", "format": None}})
    assert unheard.headers["x-llmcore-warnings"] == "ignored: output_config.effort"


def test_strict_tools_that_are_not_held_to_their_schema_are_told(client):
    strict = client.post(MESSAGES, {**HELLO, "tools": [{**CLOCK, "strict": True}]})
    assert strict.headers["x-llmcore-warnings"] == "ignored: tools[0].strict"


@pytest.mark.parametrize(
    "extra",
    [
        {"max_tokens": None},
        {"messages": []},
        {"messages": [{"role": "system", "content": "x"}]},
        {"messages": [{"role": "user", "content": [{"type": "image", "source": {}}]}]},
        {"messages": [{"role": "user", "content": [{"type": "tool_use", "id": "1", "name": "f"}]}]},
        {"tools": [{"type": "bash_20250124", "name": "bash"}]},
        {"tool_choice": {"type": "any"}},
        {"temperature": 1.5},
        {"mcp_servers": [{}]},
        {"output_format": {"type": "json_schema", "schema": {}}},
        {"output_config": {"format": {"type": "yaml"}}},
        {"output_config": {"format": {"type": "json_schema"}}},
        {"output_config": {"effort": "endless"}},
    ],
)
def test_errors_have_anthropics_shape(client, extra):
    answer = client.post(MESSAGES, {**HELLO, **extra})
    assert answer.status_code == 400
    body = answer.json()
    assert body["type"] == "error"
    assert body["error"]["type"] == "invalid_request_error"
    assert body["error"]["message"]


def test_other_errors():
    full = thinker(error=QueueFullError("full")).post(MESSAGES, HELLO)
    assert full.status_code == 429
    assert full.json()["error"]["type"] == "rate_limit_error"
    unknown = thinker().post(MESSAGES, {**HELLO, "model": "nobody"})
    assert unknown.status_code == 404
    assert unknown.json()["error"]["type"] == "not_found_error"
    *_, last = named_events(
        thinker(error=RuntimeError("fire"), fail_after=12).post(MESSAGES, {**HELLO, "stream": True}).text
    )
    assert last == {
        "type": "error",
        "error": {
            "type": "api_error",
            "message": "Internal server error: See the server's log",
        },
    }
