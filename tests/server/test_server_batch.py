"""``POST /api/v1/batch/generate``: order, errors that stay with their item, work that runs together."""

from __future__ import annotations

import time

import pytest
from fake_engine import FakeEngine
from in_process_client import InProcessClient
from served_process import send_raw

from llmcore_server.config import ServerConfig

BATCH = "/api/v1/batch/generate"


def post(client, *requests, **options):
    return client.post(BATCH, {"requests": list(requests)}, **options)


def test_results_are_in_order_and_have_the_documented_shape(client):
    answer = post(client, *({"prompt": "x", "max_tokens": count} for count in (3, 1, 4)))
    assert answer.status_code == 200
    results = answer.json()["results"]
    assert [result["text"] for result in results] == ["人工智", "人", "人工智能"]
    for result in results:
        assert set(result) == {"text", "usage"}
        assert set(result["usage"]) == {"prompt_tokens", "completion_tokens", "total_tokens"}


def test_items_run_together(engine):
    engine.pause = 0.1
    began = time.monotonic()
    answer = post(InProcessClient(engine), *({"prompt": "x"} for _ in range(16)))
    assert len(answer.json()["results"]) == 16
    assert time.monotonic() - began < 8 * 0.4


def test_a_bad_item_does_not_spoil_the_batch(client):
    answer = post(
        client,
        {"prompt": "x", "max_tokens": 1},
        {"prompt": 1},
        {"prompt": "x", "model": "nobody"},
        {"prompt": "x", "model": "cold"},
        {"prompt": "x", "stream": True},
        "no object",
        {"prompt": "x", "max_tokens": 2},
        headers={"Accept-Language": "en"},
    )
    assert answer.status_code == 200
    results = answer.json()["results"]
    codes = [result["error"]["code"] if "error" in result else result["text"] for result in results]
    assert codes == [
        "人",
        "INVALID_REQUEST",
        "MODEL_NOT_FOUND",
        "MODEL_NOT_LOADED",
        "UNSUPPORTED_PARAMETER",
        "INVALID_REQUEST",
        "人工",
    ]
    assert "prompt" in results[1]["error"]["details"]
    assert set(results[1]["error"]) == {"code", "message", "details"}


def test_ignored_fields_are_told_with_their_item(client):
    answer = post(
        client,
        {"prompt": "x", "foo": 1},
        {"prompt": "x", "bar": None},
        {"prompt": 1},
        {"prompt": "x", "b": 2},
    )
    assert answer.headers["x-llmcore-warnings"] == "ignored: requests[0].foo, requests[3].b"
    many = post(client, *[{"prompt": "x", "foo": 1}] * 30).headers["x-llmcore-warnings"]
    assert many.endswith("requests[15].foo, and 14 more")


def test_what_fails_inside_is_told_without_its_inside(client, engine):
    engine.error = RuntimeError("secret path")
    answer = post(client, {"prompt": "x"})
    assert answer.json()["results"][0]["error"]["code"] == "INTERNAL_ERROR"
    assert "secret" not in answer.text


@pytest.mark.parametrize(
    "body", [{}, {"requests": []}, {"requests": {}}, {"requests": [{"prompt": "x"}] * 3}]
)
def test_bad_batches(body):
    client = InProcessClient(FakeEngine(), ServerConfig(max_batch_items=2))
    answer = client.post(BATCH, body)
    assert answer.status_code == 400
    assert "requests" in answer.json()["error"]["details"]


@pytest.mark.parametrize("item", [b"[" * 100_000 + b"]" * 100_000, b'{"prompt": "\xff"}', b'{"prompt": NaN}'])
def test_items_that_are_no_json_are_told_in_shape(client, item):
    body = b'{"requests": [' + item + b', {"prompt": "x"}]}'
    answer = client.request("POST", BATCH, content=body, headers={"Content-Type": "application/json"})
    if answer.status_code == 200:
        refused, answered = answer.json()["results"]
        assert answered["text"] == "人工智能"
        refusal = refused["error"]
    else:
        assert answer.status_code == 400
        refusal = answer.json()["error"]
    assert refusal["code"] in ("INVALID_JSON", "INVALID_REQUEST")


def test_a_prompt_beyond_all_bounds_never_reaches_the_tokenizer(engine):
    client = InProcessClient(engine, ServerConfig(max_prompt_chars=10))
    answer = client.post("/api/v1/generate", {"prompt": "x" * 11})
    assert answer.status_code == 400
    assert answer.json()["error"]["code"] == "CONTEXT_LENGTH_EXCEEDED"
    assert engine.prompts == []


def test_a_client_that_leaves_cancels_every_item(serve_fake):
    process = serve_fake(first_pause=60)
    connection = send_raw(process, BATCH, {"requests": [{"prompt": "x"}] * 5})
    process.wait_for_metric("llmcore_requests_running", 5)
    connection.close()
    process.wait_for_metric("llmcore_requests_cancelled_total", 5, limit=2.0)
    process.wait_for_metric("active_connections", 0, limit=2.0)
