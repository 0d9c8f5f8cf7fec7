"""`/api/v1/generate` and `/api/v1/generate/stream` over a fake engine."""

from __future__ import annotations

import json

import pytest
from fake_engine import FakeEngine
from in_process_client import InProcessClient
from served_process import events

from llmcore.errors import ContextLengthError, InvalidArgumentError, QueueFullError
from llmcore_server.config import ServerConfig


def test_answer_has_the_documented_shape(client, engine):
    answer = client.post("/api/v1/generate", {"prompt": "你好"})
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "application/json"
    assert set(answer.json()) == {"text", "usage", "latency"}
    assert answer.json()["text"] == "人工智能"
    prompt_tokens = len(engine.prompts[0])
    assert answer.json()["usage"] == {
        "prompt_tokens": prompt_tokens,
        "completion_tokens": 4,
        "total_tokens": prompt_tokens + 4,
    }
    assert isinstance(answer.json()["latency"], float)


def test_prompt_becomes_one_user_turn(client, engine):
    client.post("/api/v1/generate", {"prompt": "你好"})
    assert json.loads("".join(map(chr, engine.prompts[0]))) == [{"role": "user", "content": "你好"}]


def test_raw_prompt_is_passed_on_as_it_is(client, engine):
    client.post("/api/v1/generate", {"prompt": "Once upon", "raw": True})
    assert engine.prompts == ["Once upon"]


def test_model_without_template_gets_the_raw_prompt(client, engine):
    engine.tokenizer.chat_template = None
    client.post("/api/v1/generate", {"prompt": "Once upon"})
    assert engine.prompts == ["Once upon"]


def test_documented_defaults(client, engine):
    client.post("/api/v1/generate", {"prompt": "x"})
    assert engine.params[0].max_tokens == 512
    assert engine.params[0].temperature == 0.7


def test_every_optional_may_be_null(client, engine):
    names = (
        "model max_tokens temperature top_k top_p min_p seed stop stop_token_ids min_tokens ignore_eos"
        " repetition_penalty frequency_penalty presence_penalty logit_bias stream raw"
    )
    answer = client.post("/api/v1/generate", {"prompt": "x", **dict.fromkeys(names.split())})
    assert answer.status_code == 200
    assert engine.params[0].max_tokens == 512


def test_sampling_parameters_reach_the_engine(client, engine):
    body = {
        "prompt": "x",
        "max_tokens": 3,
        "temperature": 0,
        "top_k": 40,
        "top_p": 0.9,
        "min_p": 0.1,
        "seed": 7,
        "stop": ["a", ""],
        "repetition_penalty": 1.1,
        "logit_bias": {"5": -100},
    }
    answer = client.post("/api/v1/generate", body)
    assert answer.json()["usage"]["completion_tokens"] == 3
    params = engine.params[0]
    assert (params.max_tokens, params.temperature, params.top_k, params.top_p) == (3, 0, 40, 0.9)
    assert (params.min_p, params.seed, params.stop, params.repetition_penalty) == (0.1, 7, ("a",), 1.1)
    assert dict(params.logit_bias) == {5: -100}


@pytest.mark.parametrize("path", ["/api/v1/generate", "/api/v1/generate/stream"])
def test_stream_has_the_documented_events(engine, path):
    client = InProcessClient(engine, ServerConfig(event_interval=0))
    engine.pause = 0.01
    answer = client.post(path, {"prompt": "x", "stream": True})
    assert answer.headers["content-type"] == "text/event-stream; charset=utf-8"
    assert events(answer.text) == [
        {"token": "人", "finished": False},
        {"token": "工", "finished": False},
        {"token": "智", "finished": False},
        {"token": "能", "finished": True},
    ]


def test_tokens_that_arrive_together_join_one_event(client):
    received = events(client.post("/api/v1/generate/stream", {"prompt": "x"}).text)
    assert len(received) < 4
    assert "".join(event["token"] for event in received) == "人工智能"
    assert [event["finished"] for event in received] == [False] * (len(received) - 1) + [True]


def test_failure_in_a_stream_is_an_event():
    engine = FakeEngine(error=RuntimeError("the machine is on fire"), fail_after=2, pause=0.01)
    client = InProcessClient(engine, ServerConfig(event_interval=0))
    received = events(client.post("/api/v1/generate/stream", {"prompt": "x"}).text)
    assert [event["token"] for event in received] == ["人", "工", ""]
    assert received[-1]["error"]["code"] == "INTERNAL_ERROR"
    assert received[-1]["finished"] is True
    assert "fire" not in json.dumps(received)


@pytest.mark.parametrize("path", ["/api/v1/generate", "/api/v1/generate/stream"])
@pytest.mark.parametrize(
    ("error", "status", "code"),
    [
        (ContextLengthError("prompt has 9 tokens; the context is 8"), 400, "CONTEXT_LENGTH_EXCEEDED"),
        (InvalidArgumentError("top_p"), 400, "INVALID_REQUEST"),
        (QueueFullError("full"), 429, "TOO_MANY_REQUESTS"),
        (ZeroDivisionError(), 500, "INTERNAL_ERROR"),
    ],
)
def test_what_the_engine_refuses_is_answered_before_a_stream_starts(path, error, status, code):
    answer = InProcessClient(FakeEngine(error=error)).post(path, {"prompt": "x"})
    assert answer.status_code == status
    assert answer.json()["error"]["code"] == code
    assert answer.headers.get("retry-after") == ("1" if status == 429 else None)


def test_a_slow_first_token_does_not_hold_the_headers_back(client, engine):
    engine.first_pause = 0.4
    assert events(client.post("/api/v1/generate/stream", {"prompt": "x"}).text)[-1]["finished"] is True


def test_finished_requests_are_measured_and_not_aborted(client, engine):
    client.post("/api/v1/generate", {"prompt": "x"})
    assert engine.finished == 1
    assert engine.aborted == []
    assert engine.closed


FORM = {"type": "json_schema", "json_schema": {"name": "f", "schema": {"type": "object"}}}


@pytest.mark.parametrize("path", ["/api/v1/generate", "/api/v1/generate/stream"])
@pytest.mark.parametrize("raw", [False, True])
def test_an_answer_may_have_a_form(client, engine, path, raw):
    engine.tokenizer.thinks_at_once = not raw
    engine.tokenizer.chat_template = "</think>"
    answer = client.post(path, {"prompt": "x", "raw": raw, "response_format": FORM})
    assert answer.status_code == 200, answer.text
    structured = engine.params[0].structured
    assert (structured.kind, json.loads(structured.text)) == ("json_schema", {"type": "object"})
    prompt = engine.prompts[0]
    assert prompt == "x" if raw else "".join(map(chr, prompt)).endswith("<think>\n\n</think>\n\n")


@pytest.mark.parametrize(
    ("form", "code"),
    [({"type": "xml"}, "UNSUPPORTED_PARAMETER"), ({"type": "json_schema"}, "INVALID_REQUEST")],
)
def test_a_form_that_cannot_be_served_is_named(client, engine, form, code):
    answer = client.post("/api/v1/generate", {"prompt": "x", "response_format": form})
    assert answer.status_code == 400
    assert answer.json()["error"]["code"] == code
    assert "response_format" in answer.json()["error"]["details"]
    assert engine.params == []
