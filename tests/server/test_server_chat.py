"""`/v1/chat/completions` over a fake engine."""

from __future__ import annotations

import json
from types import SimpleNamespace

import pytest
from fake_engine import FakeEngine
from in_process_client import InProcessClient
from served_process import events

from llmcore.errors import ContextLengthError, QueueFullError

CHAT = "/v1/chat/completions"
HELLO = [{"role": "user", "content": "hi"}]
ROLE = {"role": "assistant", "content": ""}


def chat(client, **body):
    return client.post(CHAT, {"messages": HELLO, **body})


def seen_messages(engine):
    return json.loads("".join(map(chr, engine.prompts[-1])))


def test_whole_answer(client, engine):
    answer = chat(client)
    assert answer.status_code == 200
    body = answer.json()
    assert body["id"].startswith("chatcmpl-")
    assert body["object"] == "chat.completion"
    assert isinstance(body["created"], int)
    assert body["model"] == "tiny-chat"
    assert body["choices"] == [
        {
            "index": 0,
            "message": {"role": "assistant", "content": "人工智能", "refusal": None},
            "logprobs": None,
            "finish_reason": "stop",
        }
    ]
    usage = body["usage"]
    assert usage["completion_tokens"] == 4
    assert usage["prompt_tokens"] == len(engine.prompts[0])
    assert usage["total_tokens"] == usage["prompt_tokens"] + 4


def test_headers(client):
    answer = chat(client)
    assert answer.headers["x-request-id"].startswith("req_")
    assert answer.headers["request-id"] == answer.headers["x-request-id"]
    assert answer.headers["openai-processing-ms"].isdigit()
    given = client.post(CHAT, {"messages": HELLO}, headers={"X-Request-ID": "mine-1"})
    assert given.headers["x-request-id"] == "mine-1"
    hostile = client.post(CHAT, {"messages": HELLO}, headers={"X-Request-ID": "a b\x7f"})
    assert hostile.headers["x-request-id"].startswith("req_")


def test_openai_defaults(client, engine):
    chat(client)
    params = engine.params[0]
    assert params.temperature == 1.0
    assert params.max_tokens is None


@pytest.mark.parametrize(
    "limits", [{"max_tokens": 2}, {"max_completion_tokens": 2}, {"max_tokens": 9, "max_completion_tokens": 2}]
)
def test_token_limits(client, limits):
    choice = chat(client, **limits).json()["choices"][0]
    assert choice["message"]["content"] == "人工"
    assert choice["finish_reason"] == "length"


def test_every_optional_may_be_null(client):
    names = (
        "model max_tokens max_completion_tokens temperature top_p n stop seed logit_bias logprobs"
        " top_logprobs presence_penalty frequency_penalty response_format tools tool_choice"
        " parallel_tool_calls stream stream_options user metadata store service_tier reasoning_effort"
        " prompt_cache_key safety_identifier verbosity functions function_call modalities audio"
    )
    answer = chat(client, **dict.fromkeys(names.split()))
    assert answer.status_code == 200
    assert "x-llmcore-warnings" not in answer.headers


def test_messages_reach_the_template(client, engine):
    messages = [
        {"role": "developer", "content": "be kind"},
        {"role": "user", "content": [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]},
        {"role": "assistant", "content": None},
        {"role": "user", "content": "c", "name": "eve"},
    ]
    assert client.post(CHAT, {"messages": messages}).status_code == 200
    assert seen_messages(engine) == [
        {"role": "developer", "content": "be kind"},
        {"role": "user", "content": "ab"},
        {"role": "assistant", "content": ""},
        {"role": "user", "content": "c", "name": "eve"},
    ]


@pytest.mark.parametrize(
    ("message", "param"),
    [
        ({"role": "wizard", "content": "x"}, "messages[0].role"),
        ({"role": "user"}, "messages[0].content"),
        (
            {"role": "assistant", "content": None, "tool_calls": [{"id": "1"}]},
            "messages[0].tool_calls[0].function",
        ),
        (
            {"role": "user", "content": [{"type": "image_url", "image_url": {}}]},
            "messages[0].content[0].type",
        ),
        ({"role": "user", "content": [{"type": "text"}]}, "messages[0].content[0].text"),
    ],
)
def test_messages_that_cannot_be_served_are_named(client, message, param):
    answer = client.post(CHAT, {"messages": [message]})
    assert answer.status_code == 400
    assert answer.json()["error"]["param"] == param


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("tool_choice", "required"),
        ("tool_choice", "perhaps"),
        ("tool_choice", {"type": "function", "function": {"name": "f"}}),
        ("function_call", "perhaps"),
        ("response_format.type", {"type": "grammar"}),
        ("response_format.json_schema", {"type": "json_schema"}),
        ("modalities", ["text", "audio"]),
        ("guided_json", {"type": "object"}),
        ("top_logprobs", 3),
        ("n", 1000),
    ],
)
def test_what_would_change_the_answer_is_refused_by_name(client, name, value):
    answer = chat(client, **{name.partition(".")[0]: value})
    assert answer.status_code == 400
    error = answer.json()["error"]
    assert error["type"] == "invalid_request_error"
    assert error["param"] == name
    assert name in error["message"]


@pytest.mark.parametrize(
    ("name", "value"), [("tools", []), ("tool_choice", "auto"), ("response_format", {"type": "text"})]
)
def test_what_asks_for_nothing_is_taken(client, name, value):
    answer = chat(client, **{name: value})
    assert answer.status_code == 200
    assert "x-llmcore-warnings" not in answer.headers


def test_ignored_parameters_are_listed(client):
    answer = chat(client, user="u", metadata={"a": "b"}, store=True, **{"bad\r\nheader": 1})
    assert answer.status_code == 200
    assert answer.headers["x-llmcore-warnings"] == "ignored: user, metadata, store, bad%0D%0Aheader"
    many = chat(client, **{f"名{number}": 1 for number in range(20)}).headers["x-llmcore-warnings"]
    assert many.startswith("ignored: %E5%90%8D0, %E5%90%8D1, ")
    assert many.endswith("%E5%90%8D15, and 4 more")
    assert "%E5%90%8D" in chat(client, **{"名" * 5000: 1}).headers["x-llmcore-warnings"]


def test_ignored_fields_within_parameters_are_listed(client):
    part = {"type": "text", "text": "x", "cache_control": {"type": "ephemeral"}, "no": None}
    messages = [{"role": "user", "content": "x", "prefix": True}, {"role": "user", "content": [part, part]}]
    options = {"include_usage": True, "include_obfuscation": False, "continuous_usage_stats": True}
    body = {"messages": messages, "stream_options": options, "user": "u"}
    assert client.post(CHAT, {**body, "stream": True}).headers["x-llmcore-warnings"].split(", ") == [
        "ignored: user",
        "messages[0].prefix",
        "messages[1].content[0].cache_control",
        "messages[1].content[1].cache_control",
        "stream_options.include_obfuscation",
        "stream_options.continuous_usage_stats",
    ]
    del body["stream_options"]["include_obfuscation"]
    assert "user, stream_options, " in client.post(CHAT, body).headers["x-llmcore-warnings"]
    many = [{"role": "user", "content": "x", "x" * 200: 1}] * 4000
    warned = client.post(CHAT, {"messages": many}).headers["x-llmcore-warnings"]
    assert len(warned) < 16 * 100


def test_a_refusal_is_part_of_the_conversation(client, engine):
    refused = {"role": "assistant", "content": None, "refusal": "I will not."}
    part = {"role": "assistant", "content": [{"type": "refusal", "refusal": "Nor that."}]}
    assert chat(client, messages=[*HELLO, refused, *HELLO, part, *HELLO]).status_code == 200
    said = [message["content"] for message in seen_messages(engine) if message["role"] == "assistant"]
    assert said == ["I will not.", "Nor that."]


def test_what_an_assistant_said_aloud_is_not_left_out(client, engine):
    spoken = {"role": "assistant", "content": None, "audio": {"id": "audio_1"}}
    answer = chat(client, messages=[*HELLO, spoken, *HELLO])
    assert answer.status_code == 400
    assert answer.json()["error"]["param"] == "messages[1]"
    assert engine.prompts == []


def test_stream(client):
    answer = chat(client, stream=True)
    assert answer.headers["content-type"] == "text/event-stream; charset=utf-8"
    *chunks, done = events(answer.text)
    assert done == "[DONE]"
    assert len({(chunk["id"], chunk["created"], chunk["model"], chunk["object"]) for chunk in chunks}) == 1
    assert chunks[0]["object"] == "chat.completion.chunk"
    choices = [chunk["choices"][0] for chunk in chunks]
    assert choices[0]["delta"] == ROLE
    assert [choice["delta"] for choice in choices[1:-1]] == [
        {"content": character} for character in "人工智能"
    ]
    assert [choice["finish_reason"] for choice in choices] == [None] * 5 + ["stop"]
    assert choices[-1]["delta"] == {}
    assert not any("usage" in chunk or "error" in chunk for chunk in chunks)


def test_stream_with_usage(client, engine):
    answer = chat(client, stream=True, stream_options={"include_usage": True})
    *chunks, last, done = events(answer.text)
    assert done == "[DONE]"
    assert all(chunk["usage"] is None for chunk in chunks)
    assert last["choices"] == []
    assert last["usage"]["prompt_tokens"] == len(engine.prompts[0])
    assert last["usage"]["completion_tokens"] == 4


def test_several_choices(client, engine):
    choices = chat(client, n=3).json()["choices"]
    assert [choice["index"] for choice in choices] == [0, 1, 2]
    assert {choice["message"]["content"] for choice in choices} == {"人工智能"}
    assert engine.params[0].n == 3
    *chunks, _done = events(chat(client, n=2, stream=True).text)
    for index in (0, 1):
        own = [chunk["choices"][0] for chunk in chunks if chunk["choices"][0]["index"] == index]
        assert own[0]["delta"] == ROLE
        assert "".join(choice["delta"].get("content", "") for choice in own) == "人工智能"
        assert own[-1]["finish_reason"] == "stop"


def test_failure_in_a_stream_is_openai_shaped_and_has_no_done():
    engine = FakeEngine(error=RuntimeError("fire"), fail_after=2)
    received = events(chat(InProcessClient(engine), stream=True).text)
    assert "[DONE]" not in received
    assert set(received[-1]) == {"error"}
    assert received[-1]["error"]["type"] == "server_error"


@pytest.mark.parametrize("stream", [False, True])
def test_engine_refusals(stream):
    full = chat(InProcessClient(FakeEngine(error=QueueFullError("full"))), stream=stream)
    assert full.status_code == 429
    assert full.headers["retry-after"] == "1"
    assert full.json()["error"]["code"] == "rate_limit_exceeded"
    long = chat(InProcessClient(FakeEngine(error=ContextLengthError("9 > 8"))), stream=stream)
    assert long.status_code == 400
    assert long.json()["error"]["code"] == "context_length_exceeded"


def test_logprobs_never_hold_infinities():
    token = SimpleNamespace(token_id=ord("人"), logprob=-0.5, top=[(ord("人"), -0.5), (65, float("-inf"))])
    client = InProcessClient(FakeEngine(text="人", logprobs_of=lambda _id: [token]))
    content = chat(client, logprobs=True, top_logprobs=2).json()["choices"][0]["logprobs"]["content"]
    assert content == [
        {
            "token": "人",
            "logprob": -0.5,
            "bytes": list("人".encode()),
            "top_logprobs": [
                {"token": "人", "logprob": -0.5, "bytes": list("人".encode())},
                {"token": "A", "logprob": -9999.0, "bytes": [65]},
            ],
        }
    ]
