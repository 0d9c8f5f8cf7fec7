"""What a request may say of its sampling and its scheduling, on every route that samples; whose it is."""

from __future__ import annotations

import json
import re
import time

import pytest
from fake_engine import FakeEngine
from in_process_client import InProcessClient
from served_process import events

from llmcore import AsyncEngine, SamplingParams
from llmcore.errors import DeadlineExceededError
from llmcore_server.api_keys import KeyRing, new_key, write_keys
from llmcore_server.authentication import Authenticator
from llmcore_server.config import ServerConfig
from llmcore_server.schemas import SamplingFields

GENERATE, STREAM, BATCH = "/api/v1/generate", "/api/v1/generate/stream", "/api/v1/batch/generate"
CHAT, COMPLETIONS = "/v1/chat/completions", "/v1/completions"
MESSAGES = {"messages": [{"role": "user", "content": "hi"}]}
BODIES = {
    GENERATE: {"prompt": "x"},
    STREAM: {"prompt": "x"},
    BATCH: {"prompt": "x"},
    CHAT: MESSAGES,
    COMPLETIONS: {"prompt": "x"},
}
OTHER_ROUTES = {
    "/v1/responses": {"input": "hi"},
    "/v1/messages": {**MESSAGES, "max_tokens": 8},
}
EVERY_PARAMETER = {
    "max_tokens": 3,
    "temperature": 0.5,
    "top_k": 40,
    "top_p": 0.9,
    "min_p": 0.1,
    "seed": 7,
    "stop": ["a"],
    "stop_token_ids": [5],
    "min_tokens": 2,
    "ignore_eos": True,
    "repetition_penalty": 1.1,
    "frequency_penalty": 0.2,
    "presence_penalty": 0.3,
    "logit_bias": {"5": -100.0},
    "typical_p": 0.8,
    "top_n_sigma": 1.5,
    "xtc_probability": 0.4,
    "xtc_threshold": 0.2,
    "mirostat": 2,
    "mirostat_tau": 4.0,
    "mirostat_eta": 0.2,
    "dry_multiplier": 0.8,
    "dry_base": 2.0,
    "dry_allowed_length": 3,
    "dry_range": 64,
    "dry_sequence_breakers": ["\n", "。"],
}


def post(client, path, **fields):
    body = {**BODIES.get(path, OTHER_ROUTES.get(path)), **fields}
    return client.post(path, {"requests": [body]} if path == BATCH else body)


def refusal(answer, path):
    body = answer.json()
    return body["results"][0]["error"] if path == BATCH else body["error"]


@pytest.mark.parametrize("path", BODIES)
def test_every_parameter_reaches_the_engine(client, engine, path):
    assert set(EVERY_PARAMETER) == set(SamplingFields.__struct_fields__) - {"model", "priority", "timeout"}
    assert post(client, path, **EVERY_PARAMETER).status_code == 200
    (params,) = engine.params
    expected = SamplingParams(**EVERY_PARAMETER)
    assert {name: getattr(params, name) for name in EVERY_PARAMETER} == {
        name: getattr(expected, name) for name in EVERY_PARAMETER
    }


def test_the_engine_has_no_parameter_that_cannot_be_given():
    """But for those that an answer needs a place for, which routes take in their own way."""
    of_routes = {"n", "best_of", "logprobs", "prompt_logprobs", "structured"}
    assert set(EVERY_PARAMETER) == set(SamplingParams.__dataclass_fields__) - of_routes


@pytest.mark.parametrize("path", BODIES)
@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("typical_p", 0),
        ("typical_p", 1.1),
        ("top_n_sigma", -1),
        ("xtc_probability", 2),
        ("xtc_threshold", "much"),
        ("mirostat", 3),
        ("mirostat_tau", -1),
        ("mirostat_eta", 1.5),
        ("dry_multiplier", 1e9),
        ("dry_base", 0.5),
        ("dry_allowed_length", 0),
        ("dry_range", -1),
        ("dry_sequence_breakers", [""]),
        ("dry_sequence_breakers", ["x"] * 33),
        ("min_tokens", -1),
        ("ignore_eos", 1),
        ("priority", -1),
        ("priority", 101),
        ("priority", 0.5),
        ("timeout", 0),
        ("timeout", -1),
        ("timeout", 1e12),
        ("timeout", "1s"),
    ],
)
def test_bad_values_are_named(engine, path, field, value):
    answer = post(InProcessClient(engine), path, **{field: value})
    assert answer.status_code == (200 if path == BATCH else 400)
    error = refusal(answer, path)
    assert field in error.get("details", error["message"])
    if path.startswith("/v1"):
        assert error["param"].startswith(field)
    assert engine.params == []


@pytest.mark.parametrize("field", ["n", "best_of", "logprobs", "prompt_logprobs"])
def test_what_the_specifications_answer_has_no_place_for_is_refused(client, engine, field):
    answer = client.post(GENERATE, {"prompt": "x", field: 2})
    assert answer.status_code == 400
    assert answer.json()["error"]["code"] == "UNSUPPORTED_PARAMETER"
    assert field in answer.json()["error"]["details"]
    assert engine.params == []


@pytest.mark.parametrize("path", BODIES)
def test_priority_and_timeout_reach_the_engine(client, engine, path):
    post(client, path, priority=5, timeout=60)
    (scheduled,) = engine.scheduled
    assert scheduled.priority == 5
    assert 50 < scheduled.deadline < 60


@pytest.mark.parametrize("path", [*BODIES, *OTHER_ROUTES])
def test_without_a_timeout_there_is_no_deadline(client, engine, path):
    post(client, path)
    assert [(one.priority, one.deadline) for one in engine.scheduled] == [(0, None)]


@pytest.mark.parametrize("path", [*BODIES, *OTHER_ROUTES])
def test_the_servers_limit_holds_for_every_route(engine, path):
    post(InProcessClient(engine, ServerConfig(request_timeout=20)), path)
    assert 10 < engine.scheduled[0].deadline < 20


@pytest.mark.parametrize(("asked", "most"), [(5, 5), (500, 20)])
def test_a_request_may_ask_for_less_than_the_servers_limit(engine, asked, most):
    post(InProcessClient(engine, ServerConfig(request_timeout=20)), GENERATE, timeout=asked)
    assert most / 2 < engine.scheduled[0].deadline < most


LATE = DeadlineExceededError("[engine] the request's deadline has passed")


@pytest.mark.parametrize("path", [GENERATE, STREAM, CHAT, COMPLETIONS])
def test_a_deadline_that_passes_is_told(path):
    answer = post(InProcessClient(FakeEngine(error=LATE)), path, timeout=1)
    assert answer.status_code == 503
    error = answer.json()["error"]
    if path.startswith("/v1"):
        assert (error["type"], error["code"]) == ("server_error", "deadline_exceeded")
        assert answer.headers["x-should-retry"] == "false"
    else:
        assert error["code"] == "DEADLINE_EXCEEDED"


def test_a_deadline_that_passes_within_a_batch_is_that_items_error():
    answer = post(InProcessClient(FakeEngine(error=LATE)), BATCH, timeout=1)
    assert answer.status_code == 200
    assert refusal(answer, BATCH)["code"] == "DEADLINE_EXCEEDED"


def test_a_deadline_that_passes_within_a_stream_is_an_event():
    client = InProcessClient(FakeEngine(error=LATE, fail_after=2))
    *said, last = events(post(client, STREAM, timeout=1).text)
    assert "".join(event["token"] for event in said) == "人工"
    assert last["finished"] is True
    assert last["error"]["code"] == "DEADLINE_EXCEEDED"
    for path in (CHAT, COMPLETIONS):
        *_, last = events(post(client, path, timeout=1, stream=True).text)
        assert last["error"]["code"] == "deadline_exceeded"


def test_waiting_for_a_model_counts(engine):
    def load(_plan):
        time.sleep(0.6)
        return engine

    client = InProcessClient(engine, registry_options={"load": load})
    answer = post(client, GENERATE, timeout=0.1)
    assert answer.json()["error"]["code"] == "DEADLINE_EXCEEDED"
    assert engine.params == []


OWNERSHIP = {
    "user": "alice",
    "prompt_cache_key": "k",
    "safety_identifier": "s",
    "tenant": "t",
    "cache_salt": "c",
}


@pytest.fixture
def two_keys(tmp_path):
    made = [new_key(name) for name in ("alice", "bob")]
    path = tmp_path / "keys.json"
    write_keys(path, [entry for _, entry in made])
    return ServerConfig(authenticator=Authenticator(keys=KeyRing(path, print), public_metrics=True)), made


@pytest.mark.parametrize("path", [*BODIES, *OTHER_ROUTES])
def test_the_tenant_is_the_credentials_whatever_the_body_says(engine, two_keys, path):
    config, made = two_keys
    client = InProcessClient(engine, config)
    body = {**BODIES.get(path, OTHER_ROUTES.get(path)), **OWNERSHIP}
    content = {"requests": [body]} if path == BATCH else body
    for key, _ in made:
        answer = client.post(path, content, headers={"Authorization": f"Bearer {key}"})
        assert answer.status_code == 200
    assert [one.tenant for one in engine.scheduled] == [f"key:{entry.id}" for _, entry in made]


def test_without_keys_the_tenant_is_the_address(client, engine):
    client.post(GENERATE, {"prompt": "x", **OWNERSHIP}, headers={"Authorization": "Bearer any"})
    assert [one.tenant for one in engine.scheduled] == ["address:127.0.0.1"]


def test_one_tenant_does_not_find_anothers_prompt_in_the_cache(stories_model, two_keys):
    config, made = two_keys
    body = {"prompt": "Once upon a time there was a little girl who " * 12, "max_tokens": 1, **OWNERSHIP}
    order = [0, 1, 0, 1]
    asked = [
        ("POST", COMPLETIONS, {"json": body, "headers": {"X-API-Key": made[whose][0]}}) for whose in order
    ]
    client = InProcessClient(AsyncEngine(stories_model, threads=1), config)
    answers = client.requests(*(one for ask in asked for one in (ask, ("GET", "/metrics", {}))))
    assert [answer.status_code for answer in answers] == [200] * 8
    found = [
        int(re.search(r"^llmcore_prefix_cache_tokens_total{.*} (\d+)$", text, re.MULTILINE)[1])
        for text in (answer.text for answer in answers[1::2])
    ]
    once = found[2]
    assert once >= 64
    assert found == [0, 0, once, 2 * once]


def test_a_deadline_ends_a_generation(served):
    served.wait_until_ready()
    missed = served.metric("llmcore_deadline_misses_total")
    body = {"prompt": "Once", "max_tokens": 400, "ignore_eos": True, "timeout": 0.02}
    answer = served.post(GENERATE, body)
    assert answer.status_code == 503, answer.text
    assert answer.json()["error"]["code"] == "DEADLINE_EXCEEDED"
    with served.stream(COMPLETIONS, {**body, "stream": True}) as response:
        told = response.read().decode()
    error = json.loads(told.removesuffix("\n\n").rsplit("data: ", 1)[-1])
    assert error["error"]["code"] == "deadline_exceeded"
    served.wait_for_metric("llmcore_requests_running", 0)
    assert served.metric("llmcore_deadline_misses_total") >= missed + 1
