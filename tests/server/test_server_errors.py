"""Refusals: their status, their shape in both route families, their language."""

from __future__ import annotations

import asyncio
import gc
import json
import re
import time

import httpx
import pytest
from fake_engine import FakeEngine, fake_registry
from falcon import testing
from in_process_client import InProcessClient

from llmcore.errors import ContextLengthError
from llmcore_server.app import create_app
from llmcore_server.config import ServerConfig
from llmcore_server.errors import CATALOGUE, preferred_language
from llmcore_server.generation import Generation

GENERATE = "/api/v1/generate"
CHAT = "/v1/chat/completions"
HELLO = [{"role": "user", "content": "hi"}]


def native(answer):
    assert answer.headers["content-type"] == "application/json"
    assert set(answer.json()) == {"error"}
    assert set(answer.json()["error"]) == {"code", "message", "details"}
    return answer.json()["error"]


def openai(answer):
    assert answer.headers["content-type"] == "application/json"
    assert set(answer.json()) == {"error"}
    assert set(answer.json()["error"]) == {"message", "type", "param", "code"}
    return answer.json()["error"]


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("prompt", 1),
        ("max_tokens", 0),
        ("max_tokens", "5"),
        ("max_tokens", 1.5),
        ("max_tokens", 10**30),
        ("temperature", -0.1),
        ("temperature", 2.1),
        ("temperature", "hot"),
        ("top_p", 1.5),
        ("stop", ["a", "b", "c", "d", "e"]),
        ("stop", 3),
        ("logit_bias", {"x": 1}),
        ("logit_bias", {"1": 101}),
        ("stream", "yes"),
        ("tools", [{"type": "function"}]),
    ],
)
def test_bad_parameters_are_named(client, engine, field, value):
    answer = client.post(GENERATE, {"prompt": "x", field: value})
    assert answer.status_code == 400
    assert field in native(answer)["details"]
    answer = client.post(CHAT, {"messages": HELLO, "prompt": "x", field: value})
    if field != "prompt":
        assert answer.status_code == 400
        error = openai(answer)
        assert error["type"] == "invalid_request_error"
        assert error["param"].startswith(field)
    assert engine.params == [] or field == "prompt"


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"[]",
        b"null",
        b'{"prompt": NaN}',
        b'{"prompt": "\xff"}',
        b'{"prompt": "\\ud800"}',
        b'{"prompt": "x"} y',
        b'{"prompt": "x", "metadata": ' + b"[" * 100_000 + b"]" * 100_000 + b"}",
    ],
)
@pytest.mark.parametrize(("path", "shape"), [(GENERATE, native), (CHAT, openai)])
def test_malformed_bodies(client, body, path, shape):
    answer = client.request("POST", path, content=body, headers={"Content-Type": "application/json"})
    assert answer.status_code == 400
    shape(answer)


def test_missing_prompt_and_messages(client):
    assert "prompt" in native(client.post(GENERATE, {}))["details"]
    assert openai(client.post(CHAT, {}))["param"] == "messages"
    assert openai(client.post(CHAT, {"messages": []}))["param"] == "messages"


@pytest.mark.parametrize(("path", "shape"), [(GENERATE, native), (CHAT, openai)])
def test_oversized_body(path, shape):
    client = InProcessClient(FakeEngine(), ServerConfig(max_body_bytes=1000))
    answer = client.post(path, {"prompt": "x" * 2000})
    assert answer.status_code == 413
    shape(answer)


def test_body_at_the_limit_is_taken():
    body = json.dumps({"prompt": "x" * 100}).encode()
    client = InProcessClient(FakeEngine(), ServerConfig(max_body_bytes=len(body)))
    headers = {"Content-Type": "application/json"}
    assert client.request("POST", GENERATE, content=body, headers=headers).status_code == 200
    assert client.request("POST", GENERATE, content=body + b" ", headers=headers).status_code == 413


@pytest.mark.parametrize("content_type", ["text/plain", "application/x-www-form-urlencoded"])
def test_other_content_types_are_refused(client, content_type):
    answer = client.request(
        "POST", GENERATE, content=b'{"prompt": "x"}', headers={"Content-Type": content_type}
    )
    assert answer.status_code == 415
    native(answer)


def test_compressed_bodies_are_refused_by_that_name(client):
    for coding, status in (("gzip", 415), ("identity", 200), ("", 200)):
        headers = {"Content-Type": "application/json", "Content-Encoding": coding}
        answer = client.request("POST", GENERATE, content=b'{"prompt": "x"}', headers=headers)
        assert answer.status_code == status
        assert status == 200 or "Content-Encoding" in native(answer)["details"]


@pytest.mark.parametrize(
    ("path", "shape"), [("/nowhere", native), ("/api/v1/nowhere", native), ("/v1/nowhere", openai)]
)
def test_unknown_url(client, path, shape):
    answer = client.get(path)
    assert answer.status_code == 404
    assert shape(answer)["code"] == ("unknown_url" if shape is openai else "NOT_FOUND")


@pytest.mark.parametrize(("path", "shape"), [(GENERATE, native), (CHAT, openai)])
def test_wrong_method(client, path, shape):
    answer = client.get(path)
    assert answer.status_code == 405
    assert "POST" in answer.headers["allow"]
    shape(answer)


def test_unknown_model(client):
    answer = client.post(GENERATE, {"prompt": "x", "model": "nobody"})
    assert answer.status_code == 404
    assert native(answer)["code"] == "MODEL_NOT_FOUND"
    answer = client.post(CHAT, {"messages": HELLO, "model": "nobody"})
    assert answer.status_code == 404
    assert openai(answer) | {"message": ""} == {
        "message": "",
        "type": "invalid_request_error",
        "param": "model",
        "code": "model_not_found",
    }


def test_model_that_is_not_loaded(client):
    answer = client.post(GENERATE, {"prompt": "x", "model": "cold"})
    assert answer.status_code == 503
    assert native(answer) == {
        "code": "MODEL_NOT_LOADED",
        "message": "请求的模型未加载",
        "details": "请先调用加载接口",
    }
    answer = client.post(CHAT, {"messages": HELLO, "model": "cold"})
    assert answer.status_code == 503
    assert openai(answer)["code"] == "model_not_loaded"
    assert answer.headers["x-should-retry"] == "false"


@pytest.mark.parametrize("model", [None, "", "default", "tiny-chat", "gpt-3.5-turbo"])
def test_names_of_the_default_model(client, model):
    assert client.post(GENERATE, {"prompt": "x", "model": model}).status_code == 200


def test_model_that_cannot_be_loaded(engine):
    def fail(_file):
        raise OSError("the disk is gone")

    failures = []
    options = {"load": fail, "on_load_failed": lambda *what: failures.append(what)}
    client = InProcessClient(engine, registry_options=options)
    answer = client.post(GENERATE, {"prompt": "x"})
    assert answer.status_code == 503
    assert native(answer)["code"] == "MODEL_LOAD_FAILED"
    assert len(failures) == 1


def test_language_follows_accept_language(client):
    bad = {"prompt": "x", "temperature": 3}
    english = client.post(GENERATE, bad, headers={"Accept-Language": "en-GB,en;q=0.9,zh;q=0.3"})
    assert native(english)["message"] == "The request is invalid"
    assert native(client.post(GENERATE, bad))["message"] == "请求参数错误"


@pytest.mark.parametrize(
    ("header", "language"),
    [
        (None, "zh"),
        ("", "zh"),
        ("en", "en"),
        ("EN-us", "en"),
        ("zh-CN,en", "zh"),
        ("zh;q=0.5, en;q=0.6", "en"),
        ("en;q=0", "zh"),
        ("fr", "zh"),
        ("en;q=bad", "zh"),
        ("*;q=0.1,;;,q", "zh"),
    ],
)
def test_preferred_language(header, language):
    assert preferred_language(header) == language


def test_the_catalogue_speaks_both_languages():
    for code, kind in CATALOGUE.items():
        assert code.isupper()
        for text in (kind.message, kind.details):
            assert any("\u4e00" <= character <= "\u9fff" for character in text.zh), code
            assert text.en.isascii(), code


def test_the_documents_table_is_the_catalogue(repository):
    text = (repository / "server" / "README.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| `([A-Z_]+)` \| (\d+) \| (.+?) \| (.+?) \| (?:`(\w+)`)? ?\|$", text, re.MULTILINE)
    expected = {
        (code, str(kind.status), *kind.message, kind.openai_code or "") for code, kind in CATALOGUE.items()
    }
    assert set(rows) == expected


def test_internal_errors_say_nothing_of_the_inside(client, engine):
    engine.error = RuntimeError("secret path")
    for path, body in ((GENERATE, {"prompt": "x"}), (CHAT, {"messages": HELLO})):
        answer = client.post(path, body)
        assert answer.status_code == 500
        assert "secret" not in answer.text


def test_refused_generations_are_freed_without_the_collector(client, engine):
    def alive():
        return sum(type(kept) is Generation for kept in gc.get_objects())

    engine.error = ContextLengthError("too long")
    gc.collect()
    gc.disable()
    try:
        before = alive()
        assert client.post("/api/v1/generate", {"prompt": "x"}).status_code == 400
        engine.error = None  # itself led to the generation
        assert alive() == before
    finally:
        gc.enable()


def test_a_request_waits_for_a_model_that_loads(engine):
    async def scenario() -> None:
        registry = fake_registry(engine, load=lambda _file: (time.sleep(0.2), engine)[1])
        app = create_app(registry)
        transport = httpx.ASGITransport(app)
        async with (
            testing.ASGIConductor(app),
            httpx.AsyncClient(transport=transport, base_url="http://test") as http,
        ):
            health = await http.get("/health")
            assert health.status_code == 200
            assert health.json()["model_loaded"] is False
            assert (await http.post(GENERATE, json={"prompt": "x"})).status_code == 200
            assert (await http.get("/health")).json()["model_loaded"] is True

    asyncio.run(scenario())
