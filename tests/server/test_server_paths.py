"""A route has one path: no other spelling of it leads past the rights and limits that go by the path."""

from __future__ import annotations

import pytest
from fake_engine import FakeEngine, fake_registry
from in_process_client import InProcessClient

from llmcore_server.api_keys import KeyRing, new_key, write_keys
from llmcore_server.app import create_app
from llmcore_server.authentication import Authenticator
from llmcore_server.config import ServerConfig
from llmcore_server.route_kinds import is_generating, is_model_management

# Of the application that the guard is around.
ROUTES = [
    route.path for route in create_app(fake_registry(FakeEngine()))._app.routes if route.method == "post"
]
MADE = [path.replace("{name}", "tiny-chat") for path in ROUTES if "{path" not in path]
MADE += [f"/v1/engines/tiny-chat/{name}" for name in ("chat/completions", "completions", "embeddings")]
LIMITED = [path for path in MADE if is_generating(path)]
MANAGING = [path for path in MADE if is_model_management(path)]
BODY = {"prompt": "x", "messages": [{"role": "user", "content": "x"}], "input": "x", "max_tokens": 1}


def spellings(path):
    """Yield other ways to write a path, those that a server may take for it."""
    yield path
    yield "/" + path
    yield "///" + path
    yield path.replace("/v1", "//v1", 1)
    yield path.replace("/v1/", "/v1//", 1)
    for name in ("", ".", "tiny-chat%0A", "default%0Adefault", "tiny-chat/", "%2F", "%20"):
        yield path.replace("tiny-chat", name)
    yield path.replace("e", "%65")
    yield "/" + path[1:].replace("/", "%2F")
    for ending in ("/", "//", "/.", "%00", "%0A", "%2F", "%3Fx", ";x", "?x=//"):
        yield path + ending
    yield path.upper()
    yield path.replace("/", "/./")
    yield path.replace("/v1", "/v1/../v1", 1)


def test_what_is_looked_at():
    assert len(LIMITED) >= 10
    assert {path.rpartition("/")[2] for path in MANAGING} >= {"load", "unload", "adapters"}


@pytest.mark.parametrize("path", LIMITED)
def test_every_spelling_of_a_generating_route_is_limited(client, path):
    asked = list(dict.fromkeys(spellings(path)))
    answers = client.requests(*[("POST", f"http://test{spelling}", {"json": BODY}) for spelling in asked])
    for spelling, answer in zip(asked, answers, strict=True):
        assert answer.status_code == 404 or "x-ratelimit-limit" in answer.headers, spelling
    assert answers[0].status_code != 404


@pytest.mark.parametrize("path", [*LIMITED, *MANAGING])
def test_every_spelling_needs_the_right(tmp_path, path):
    key, entry = new_key("nobody", scopes=["metrics"])
    write_keys(tmp_path / "keys.json", [entry])
    keys = KeyRing(tmp_path / "keys.json", print)
    client = InProcessClient(FakeEngine(), ServerConfig(authenticator=Authenticator(keys)))
    asked = list(dict.fromkeys(spellings(path)))
    for headers, expected in (({"X-API-Key": key}, (403, 404, 405)), ({}, (401,))):
        options = {"json": BODY, "headers": headers}
        answers = client.requests(*[("POST", f"http://test{spelling}", options) for spelling in asked])
        for spelling, answer in zip(asked, answers, strict=True):
            assert answer.status_code in expected, spelling
        assert answers[0].status_code == expected[0]
