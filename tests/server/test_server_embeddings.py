"""`/v1/embeddings` and the tokenizer's routes over a fake engine."""

from __future__ import annotations

import base64

import numpy as np
import pytest
from fake_engine import FakeEngine, FakeModelInfo, FakeTokenizer
from in_process_client import InProcessClient

from llmcore.errors import ContextLengthError

EMBEDDINGS = "/v1/embeddings"


def test_floats(client):
    body = client.post(EMBEDDINGS, {"input": ["ab", [1, 2, 3, 4]], "model": "default"}).json()
    assert body["object"] == "list"
    assert [item["embedding"] for item in body["data"]] == [[1.0] * 4, [2.0] * 4]
    assert [item["index"] for item in body["data"]] == [0, 1]
    assert body["usage"] == {"prompt_tokens": 6, "total_tokens": 6}


def test_base64_is_little_endian_float32(client):
    body = client.post(EMBEDDINGS, {"input": "ab", "encoding_format": "base64"}).json()
    raw = base64.b64decode(body["data"][0]["embedding"])
    assert np.frombuffer(raw, "<f4").tolist() == [1.0] * 4


def test_dimensions_are_the_first_at_length_one(client):
    body = client.post(EMBEDDINGS, {"input": [7, 8], "dimensions": 2}).json()
    assert body["data"][0]["embedding"] == pytest.approx([0.5**0.5] * 2)
    refused = client.post(EMBEDDINGS, {"input": "a", "dimensions": 5})
    assert refused.status_code == 400
    assert refused.json()["error"]["param"] == "dimensions"


def test_pooling_and_length_by_request(client):
    client.post(EMBEDDINGS, {"input": "ab"})
    client.post(EMBEDDINGS, {"input": "ab", "pooling": "last", "normalize": False})
    assert client.engine.embedded == [(True, None), (False, "last")]
    cut = client.post(EMBEDDINGS, {"input": [7, 8, 9, 9], "dimensions": 2, "normalize": False}).json()
    assert cut["data"][0]["embedding"] == [2.0, 2.0]
    refused = client.post(EMBEDDINGS, {"input": "a", "pooling": "max"})
    assert refused.status_code == 400
    assert refused.json()["error"]["param"] == "pooling"


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/v1/chat/completions", {"messages": [{"role": "user", "content": "hi"}]}),
        ("/v1/chat/completions", {"messages": [{"role": "user", "content": "hi"}], "stream": True}),
        ("/v1/completions", {"prompt": "hi"}),
        ("/v1/responses", {"input": "hi"}),
        ("/v1/messages", {"messages": [{"role": "user", "content": "hi"}], "max_tokens": 5}),
        ("/api/v1/generate", {"prompt": "hi"}),
        ("/api/v1/generate/stream", {"prompt": "hi"}),
    ],
)
def test_an_embedding_model_generates_nothing(path, body):
    engine = FakeEngine(model_info=FakeModelInfo(generates=False, pooling="cls"))
    client = InProcessClient(engine)
    answer = client.post(path, body, headers={"Accept-Language": "en"})
    assert answer.status_code == 400
    error = answer.json()["error"]
    assert "'tiny-chat' is an embedding model and generates no text" in error.get("details", error["message"])
    if path.startswith("/v1/c"):
        assert (error["type"], error["param"]) == ("invalid_request_error", "model")
    assert engine.prompts == []


def test_a_loaded_model_tells_its_pooling():
    client = InProcessClient(FakeEngine(model_info=FakeModelInfo(generates=False, pooling="cls")))
    embedding, model = client.requests(
        ("POST", EMBEDDINGS, {"json": {"input": "ab"}}), ("GET", "/api/v1/models/tiny-chat", {})
    )
    assert embedding.status_code == 200
    told = model.json()
    assert (told["generates"], told["pooling"]) == (False, "cls")


@pytest.mark.parametrize("given", ["", [], [""], ["a", ""], [["a"]], [-1], 5, None])
def test_inputs_that_are_none(client, given):
    answer = client.post(EMBEDDINGS, {"input": given})
    assert answer.status_code == 400
    assert answer.json()["error"]["param"].startswith("input")


def test_too_long_an_input():
    client = InProcessClient(FakeEngine(error=ContextLengthError("9 > 8")))
    answer = client.post(EMBEDDINGS, {"input": "long"})
    assert answer.status_code == 400
    assert answer.json()["error"]["code"] == "context_length_exceeded"


@pytest.mark.parametrize("prefix", ["", "/v1"])
def test_tokenize_and_back(client, prefix):
    body = client.post(f"{prefix}/tokenize", {"content": "ab"}).json()
    assert body == {"tokens": [97, 98], "count": 2, "max_model_len": 2048}
    body = client.post(f"{prefix}/tokenize", {"prompt": "ab", "return_token_strs": True}).json()
    assert body["tokens"] == [2, 97, 98]
    assert body["token_strs"] == ["\x02", "a", "b"]
    assert client.post(f"{prefix}/detokenize", {"tokens": [97, 98]}).json()["content"] == "ab"


def test_pieces_and_conversations(client):
    body = client.post("/tokenize", {"content": "人", "with_pieces": True, "add_special": True}).json()
    assert body["tokens"] == [{"id": 2, "piece": "\x02"}, {"id": ord("人"), "piece": "人"}]
    messages = [{"role": "user", "content": "hi"}]
    body = client.post("/tokenize", {"messages": messages}).json()
    rendered = client.post("/apply-template", {"messages": messages}).json()["prompt"]
    assert "".join(map(chr, body["tokens"])) == rendered
    assert rendered == '[{"role": "user", "content": "hi"}]'


def test_templates_without_tools_are_told_of_them():
    client = InProcessClient(FakeEngine(tokenizer=FakeTokenizer(takes_tools=False)))
    tools = [{"type": "function", "function": {"name": "look"}}]
    messages = [{"role": "user", "content": "Hello!"}]
    rendered = client.post("/apply-template", {"messages": messages, "tools": tools}).json()["prompt"]
    assert rendered.index("look") < rendered.index("Hello!")


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/tokenize", {}),
        ("/tokenize", {"content": "a", "prompt": "b"}),
        ("/detokenize", {"tokens": ["a"]}),
        ("/detokenize", {"tokens": [-1]}),
        ("/detokenize", {"tokens": [2**31 - 1]}),
        ("/apply-template", {"messages": []}),
        ("/apply-template", {"messages": [{"role": "user"}]}),
        (
            "/apply-template",
            {"messages": [{"role": "user", "content": ""}], "chat_template_kwargs": {"tools": 1}},
        ),
    ],
)
def test_bad_requests(client, path, body):
    assert client.post(path, body).status_code == 400
    assert client.post(f"/v1{path}", body).json()["error"]["type"] == "invalid_request_error"
