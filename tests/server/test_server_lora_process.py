"""Adapters through a real server over a real model."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from adapter_files import random_adapter, write_adapter
from served_process import REAL_SERVER, ServedProcess

from llmcore import default_model

GREEDY = {"prompt": "Hello, who are you?", "max_tokens": 12, "temperature": 0}
ADAPTERS = "/api/v1/models/llmcore-default/adapters"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServedProcess]:
    model = default_model.path()
    if not model.is_file():
        pytest.skip("this checkout has no embedded model")
    folder = tmp_path_factory.mktemp("models")
    one = random_adapter(folder / "one.gguf", model, seed=1, rank=4, strength=2.0)
    random_adapter(folder / "two.gguf", model, seed=2, rank=4, strength=2.0)
    write_adapter(folder / "other.gguf", "gemma", {})
    arguments = ["--port", "0", "--threads", "1", "--n-ctx", "256", "--models-dir", str(folder)]
    process = ServedProcess(REAL_SERVER, [*arguments, "--lora", f"one={one}:0.5"])
    yield process
    process.stop()


def text(server: ServedProcess, **body: object) -> str:
    answer = server.post("/api/v1/generate", {**GREEDY, **body})
    assert answer.status_code == 200, answer.text
    return str(answer.json()["text"])


def test_answers_are_the_adapters(server: ServedProcess) -> None:
    base, one = text(server), text(server, lora="one")
    assert base != one
    assert text(server, model="llmcore-default:one") == one
    added = server.post(ADAPTERS, {"name": "two", "path": "two.gguf"})
    assert added.status_code == 200, added.text
    two = text(server, lora="two")
    assert len({base, one, two}) == 3
    # The same file at the scale of `one` is `one`.
    assert server.post(ADAPTERS, {"name": "half", "path": "one.gguf", "scale": 0.5}).status_code == 200
    assert text(server, lora="half") == one
    names = [model["id"] for model in server.client.get("/v1/models").json()["data"]]
    assert names == ["llmcore-default", "one", "two", "half"]
    chat = {"model": "two", "messages": [{"role": "user", "content": GREEDY["prompt"]}], "temperature": 0}
    completion = server.post("/v1/chat/completions", {**chat, "max_tokens": 12}).json()
    assert completion["model"] == "two"
    assert completion["choices"][0]["message"]["content"] == two
    assert server.client.delete(f"{ADAPTERS}/two").status_code == 200
    assert server.post("/api/v1/generate", {**GREEDY, "lora": "two"}).status_code == 404
    assert server.client.delete(f"{ADAPTERS}/half").status_code == 200
    assert text(server) == base


def test_they_come_back_with_their_model(server: ServedProcess) -> None:
    one = text(server, lora="one")
    assert server.post("/api/v1/models/llmcore-default/unload", {}).status_code == 200
    assert text(server, lora="one") == one


def test_another_models_adapter_is_refused(server: ServedProcess) -> None:
    answer = server.client.post(
        ADAPTERS, json={"name": "x", "path": "other.gguf"}, headers={"Accept-Language": "en"}
    )
    assert answer.status_code == 400
    assert "general.architecture" in answer.json()["error"]["details"]
    assert server.post("/v1/completions", {"model": "x", "prompt": "x"}).status_code == 404
