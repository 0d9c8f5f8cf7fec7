"""`/v1/completions` over a fake engine."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
from fake_engine import FakeEngine
from in_process_client import InProcessClient
from served_process import events

from llmcore.errors import ContextLengthError

COMPLETIONS = "/v1/completions"


def complete(client, **body):
    return client.post(COMPLETIONS, {"prompt": "say", **body})


def logprobs_of(token_id):
    return [SimpleNamespace(token_id=token_id, logprob=-0.5, top=[(token_id, -0.5), (65, -2.0)])]


def test_whole_answer(client, engine):
    body = complete(client).json()
    assert body["id"].startswith("cmpl-")
    assert body["object"] == "text_completion"
    assert body["model"] == "tiny-chat"
    assert body["choices"] == [{"text": "人工智能", "index": 0, "logprobs": None, "finish_reason": "stop"}]
    assert body["usage"] == {"prompt_tokens": 4, "completion_tokens": 4, "total_tokens": 8}
    assert engine.prompts == [[2, *map(ord, "say")]]
    assert engine.params[0].max_tokens == 16
    assert engine.params[0].temperature == 1.0


@pytest.mark.parametrize(
    ("prompt", "prompts"),
    [
        ("ab", [[2, 97, 98]]),
        (["a", "b"], [[2, 97], [2, 98]]),
        ([5, 6], [[5, 6]]),
        ([[5, 6], [7]], [[5, 6], [7]]),
        (["a", [7]], [[2, 97], [7]]),
    ],
)
def test_kinds_of_prompts(client, engine, prompt, prompts):
    choices = complete(client, prompt=prompt).json()["choices"]
    assert sorted(engine.prompts) == sorted(prompts)
    assert [choice["index"] for choice in choices] == list(range(len(prompts)))


@pytest.mark.parametrize(
    "prompt", [[], ["a", 1], [1, "a"], [1.5], [-1], [True], [[]], {"a": 1}, None, [None]]
)
def test_prompts_that_are_none(client, prompt):
    answer = complete(client, prompt=prompt)
    assert answer.status_code == 400
    assert answer.json()["error"]["param"].startswith("prompt")


def test_choices_are_prompt_major(client, engine):
    body = complete(client, prompt=["a", "bc"], n=2).json()
    assert [choice["index"] for choice in body["choices"]] == [0, 1, 2, 3]
    assert body["usage"] == {"prompt_tokens": 5, "completion_tokens": 16, "total_tokens": 21}
    assert [params.n for params in engine.params] == [2, 2]


@pytest.mark.parametrize(
    ("extra", "param"),
    [
        ({"best_of": 1, "n": 2}, "best_of"),
        ({"best_of": 3, "stream": True}, "best_of"),
        ({"best_of": 99}, "best_of"),
        ({"n": 99}, "n"),
        ({"n": 16, "prompt": ["a"] * 9}, "prompt"),
        ({"prompt": ["a"] * 129}, "prompt"),
        ({"suffix": "end"}, "suffix"),
        ({"suffix": "end", "echo": True}, "suffix"),
        ({"suffix": "end", "prompt": [1]}, "suffix"),
        ({"logprobs": 21}, "logprobs"),
        ({"response_format": {"type": "json_object"}}, "response_format"),
        ({"grammar": "root ::= [a]"}, "grammar"),
        ({"logprobs": True}, "logprobs"),
    ],
)
def test_what_cannot_be_served_is_named(client, extra, param):
    answer = complete(client, **extra)
    assert answer.status_code == 400
    error = answer.json()["error"]
    assert error["param"] == param
    assert param in error["message"]


def test_nulls_are_as_if_absent(client, engine):
    names = (
        "suffix",
        "echo",
        "n",
        "best_of",
        "logprobs",
        "stream",
        "stream_options",
        "stop",
        "seed",
        "top_p",
    )
    answer = complete(client, logit_bias={}, user=None, **dict.fromkeys(names))
    assert answer.status_code == 200
    assert "x-llmcore-warnings" not in answer.headers
    assert engine.params[0].seed is None


def test_best_of_reaches_the_engine(client, engine):
    complete(client, best_of=3, n=2)
    assert (engine.params[0].n, engine.params[0].best_of) == (2, 3)


def test_infilling(client, engine):
    engine.tokenizer.infill = True
    assert complete(client, suffix="end").status_code == 200
    assert engine.prompts == [[*map(ord, "say|end|")]]


def test_logprobs():
    client = InProcessClient(FakeEngine(text="人B", logprobs_of=logprobs_of))
    (choice,) = complete(client, logprobs=1).json()["choices"]
    assert choice["logprobs"] == {
        "tokens": ["人", "B"],
        "token_logprobs": [-0.5, -0.5],
        "top_logprobs": [{"人": -0.5}, {"B": -0.5}],
        "text_offset": [0, 1],
    }
    (choice,) = complete(client, logprobs=2).json()["choices"]
    assert choice["logprobs"]["top_logprobs"][1] == {"B": -0.5, "A": -2.0}
    (choice,) = complete(client, logprobs=0).json()["choices"]
    assert choice["logprobs"]["top_logprobs"] is None


def test_echo():
    client = InProcessClient(FakeEngine(text="人B", logprobs_of=logprobs_of))
    (choice,) = complete(client, echo=True).json()["choices"]
    assert (choice["text"], choice["logprobs"]) == ("say人B", None)
    (choice,) = complete(client, prompt=[97, 98], echo=True).json()["choices"]
    assert choice["text"] == "ab人B"
    (choice,) = complete(client, echo=True, logprobs=1).json()["choices"]
    logprobs = choice["logprobs"]
    assert "".join(logprobs["tokens"]) == choice["text"]
    assert logprobs["token_logprobs"] == [None, -0.5, -0.5, -0.5, -0.5]
    assert logprobs["top_logprobs"][0] is None
    assert logprobs["text_offset"] == [0, 1, 2, 3, 4]


def test_the_prompt_alone_can_be_scored():
    client = InProcessClient(FakeEngine(text="人B", logprobs_of=logprobs_of))
    body = complete(client, echo=True, logprobs=1, max_tokens=0).json()
    (choice,) = body["choices"]
    assert (choice["text"], choice["finish_reason"]) == ("say", "length")
    assert choice["logprobs"]["tokens"] == ["s", "a", "y"]
    assert body["usage"] == {"prompt_tokens": 4, "completion_tokens": 0, "total_tokens": 4}


def test_stream():
    client = InProcessClient(FakeEngine(text="人B", logprobs_of=logprobs_of))
    body = {"prompt": ["a", "b"], "echo": True, "logprobs": 1}
    whole = complete(client, **body).json()["choices"]
    *chunks, usage, done = events(
        complete(client, stream=True, stream_options={"include_usage": True}, **body).text
    )
    assert done == "[DONE]"
    assert usage["choices"] == []
    assert usage["usage"]["total_tokens"] == 8
    assert {chunk["object"] for chunk in chunks} == {"text_completion"}
    assert all(chunk["usage"] is None for chunk in chunks)
    for expected in whole:
        own = [chunk["choices"][0] for chunk in chunks if chunk["choices"][0]["index"] == expected["index"]]
        assert "".join(choice["text"] for choice in own) == expected["text"]
        assert [choice["finish_reason"] for choice in own] == [None] * (len(own) - 1) + ["stop"]
        for name, values in expected["logprobs"].items():
            assert [item for choice in own for item in choice["logprobs"][name]] == values


@pytest.mark.parametrize("stream", [False, True])
def test_one_prompt_too_long_refuses_the_request(stream):
    engine = FakeEngine(error=ContextLengthError("9 > 8"))
    answer = complete(InProcessClient(engine), prompt=["a", "b"], stream=stream)
    assert answer.status_code == 400
    assert answer.json()["error"]["code"] == "context_length_exceeded"


def test_failure_in_a_stream():
    engine = FakeEngine(error=RuntimeError("fire"), fail_after=2)
    received = events(complete(InProcessClient(engine), stream=True).text)
    assert set(received[-1]) == {"error"}
    assert "[DONE]" not in received


def test_legacy_engines(client, engine):
    answer = client.post("/v1/engines/tiny-chat/completions", {"prompt": "a"}).json()
    assert answer["model"] == "tiny-chat"
    messages = [{"role": "user", "content": "hi"}]
    chat = client.post("/v1/engines/gpt-3.5-turbo/chat/completions", {"messages": messages}).json()
    assert chat["object"] == "chat.completion"
    assert chat["model"] == "gpt-3.5-turbo"
    embedding = client.post("/v1/engines/default/embeddings", {"input": "a"}).json()
    assert embedding["object"] == "list"
    assert len(engine.prompts) == 2
    assert client.post("/v1/engines/nobody/completions", {"prompt": "a"}).status_code == 404
    unknown = client.post("/v1/engines/tiny-chat/edits", {"prompt": "a"})
    assert unknown.status_code == 404
    assert unknown.json()["error"]["code"] == "unknown_url"
    assert [one["id"] for one in client.get("/v1/engines").json()["data"]] == ["tiny-chat", "cold"]
    assert client.get("/v1/engines/cold").json()["object"] == "engine"


def test_one_model(client):
    body = client.get("/v1/models/tiny-chat").json()
    assert body == {"id": "tiny-chat", "object": "model", "created": 1_700_000_000, "owned_by": "llmcore"}
    assert client.get("/v1/models/gpt-3.5-turbo").json()["id"] == "gpt-3.5-turbo"
    unknown = client.get("/v1/models/owner%2Fname%3A8b")
    assert unknown.status_code == 404
    error = unknown.json()["error"]
    assert error["code"] == "model_not_found"
    assert "owner/name:8b" in error["message"]
