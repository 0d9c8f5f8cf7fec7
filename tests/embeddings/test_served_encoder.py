"""A real `llmcore serve` with an encoder: `/v1/embeddings` by OpenAI's client, and what it refuses."""

from __future__ import annotations

import base64
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import openai
import pytest
from golden_encoders import golden_states, pooled
from tiny_encoders import encoder_named, texts

sys.path.insert(0, str(Path(__file__).parents[1] / "server"))

from served_process import REAL_SERVER, ServedProcess


@pytest.fixture(scope="module")
def served_bert(encoder_files: dict[str, Path]) -> Iterator[ServedProcess]:
    process = ServedProcess(REAL_SERVER, ["--port", "0", "--threads", "1", str(encoder_files["bert"])])
    yield process
    process.stop()


def cosines(vectors: np.ndarray, pooling: str) -> np.ndarray:
    expected = np.stack([pooled(states, pooling) for states in golden_states("bert")])
    return (vectors * expected).sum(1) / np.linalg.norm(expected, axis=1)


def test_the_published_client_embeds_a_batch_of_all_lengths(served_bert: ServedProcess) -> None:
    ids = texts(encoder_named("bert"))
    with openai.OpenAI(base_url=f"{served_bert.url}/v1", api_key="none", max_retries=0) as client:
        answer = client.embeddings.create(model="bert", input=ids)  # in base64, this client's default
        lengths = client.embeddings.create(model="bert", input=["ab c", "a" * 3, "hello, world!"])
    vectors = np.array([item.embedding for item in answer.data])
    assert cosines(vectors, "cls") == pytest.approx(np.ones(5), abs=1e-4)
    assert answer.usage.prompt_tokens == answer.usage.total_tokens == sum(map(len, ids))
    assert lengths.usage.prompt_tokens == 5 + 5 + 14


def test_options_of_a_request(served_bert: ServedProcess) -> None:
    ids = texts(encoder_named("bert"))
    body = {"model": "bert", "input": ids, "encoding_format": "base64", "pooling": "mean"}
    answer = served_bert.post("/v1/embeddings", body).json()
    vectors = np.stack([np.frombuffer(base64.b64decode(one["embedding"]), "<f4") for one in answer["data"]])
    assert cosines(vectors, "mean") == pytest.approx(np.ones(5), abs=1e-4)
    short = served_bert.post("/v1/embeddings", {"input": "ab", "dimensions": 8}).json()["data"][0][
        "embedding"
    ]
    assert len(short) == 8
    assert np.linalg.norm(short) == pytest.approx(1.0, abs=1e-6)
    long = served_bert.post("/v1/embeddings", {"input": "ab", "normalize": False}).json()
    assert np.linalg.norm(long["data"][0]["embedding"]) > 1.5


def test_what_is_refused(served_bert: ServedProcess) -> None:
    too_long = served_bert.post("/v1/embeddings", {"input": ["ok", "a " * 95]})
    assert too_long.status_code == 400
    assert too_long.json()["error"]["code"] == "context_length_exceeded"
    assert "97 tokens" in too_long.json()["error"]["message"]
    wide = served_bert.post("/v1/embeddings", {"input": "a", "dimensions": 65})
    assert (wide.status_code, wide.json()["error"]["param"]) == (400, "dimensions")
    unknown = served_bert.post("/v1/embeddings", {"input": [[5, 96]]})
    assert unknown.status_code == 400
    chat = served_bert.post("/v1/chat/completions", {"messages": [{"role": "user", "content": "hi"}]})
    assert (chat.status_code, chat.json()["error"]["param"]) == (400, "model")
    assert "embedding model" in chat.json()["error"]["message"]
    told = served_bert.client.get("/api/v1/models/bert").json()
    assert (told["status"], told["generates"], told["pooling"]) == ("ready", False, "cls")
    assert served_bert.client.get("/health").status_code == 200
