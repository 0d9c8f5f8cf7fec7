"""What the routes under `/v1` answer is what the OpenAPI document says, whatever the request asks for."""

from __future__ import annotations

from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest
from fake_engine import FakeEngine, FakeTokenizer
from in_process_client import InProcessClient
from jsonschema_rs import Draft202012Validator

from llmcore_server.config import ServerConfig
from llmcore_server.rate_limits import LimitSettings

HELLO = [{"role": "user", "content": "Hello!"}]
CLOCK = {"name": "clock", "description": "Tells the time.", "parameters": {"type": "object"}}
TOOLS = [{"type": "function", "function": CLOCK}]
MESSAGES_TOOLS = [{"name": "clock", "input_schema": {"type": "object"}}]
SCHEMA = {"type": "json_schema", "name": "n", "schema": {"type": "object"}}
THOUGHT = "<think>hm</think>Now:\n"
CALLS = '<tool_call>{"name": "clock", "arguments": {"zone": 8}}</tool_call>' * 2
CUT = 12
# Fields that an answer may lack, and those whose objects are not the server's.
OPTIONAL = {"reasoning_content", "tool_calls", "function_call", "parent", "token_strs", "completed_at"}
FREE = {"metadata", "input", "parameters", "format", "top_logprobs"}

# The bodies of requests, by path.
POSTS: dict[str, list[dict[str, Any]]] = {
    "/v1/chat/completions": [
        {"messages": HELLO},
        {"messages": HELLO, "n": 3, "model": "gpt-3.5-turbo"},
        {"messages": HELLO, "tools": TOOLS, "max_tokens": 300},
        {"messages": HELLO, "tools": TOOLS, "tool_choice": "none"},
        {"messages": HELLO, "functions": [CLOCK]},
        {"messages": HELLO, "max_tokens": CUT},
        {"messages": HELLO, "logprobs": True, "top_logprobs": 2},
    ],
    "/v1/completions": [
        {"prompt": "say"},
        {"prompt": ["say", "it"], "n": 2, "max_tokens": 300},
        {"prompt": "say", "logprobs": 0},
        {"prompt": "say", "logprobs": 2, "echo": True},
        {"prompt": "say", "logprobs": 2, "echo": True, "max_tokens": 0},
    ],
    "/v1/responses": [
        {"input": "Hello!"},
        {"input": "Hello!", "max_output_tokens": CUT, "temperature": 0, "top_p": 1},
        {
            "input": HELLO,
            "tools": [{"type": "function", **CLOCK}],
            "instructions": "x",
            "metadata": {"a": "b"},
        },
        {"input": HELLO, "tools": [{"type": "function", "name": "clock", "strict": True}]},
        {"input": HELLO, "tools": [{"type": "function", **CLOCK}], "tool_choice": "none"},
        {"input": "x", "reasoning": {"effort": "low", "summary": "auto"}, "text": {"format": SCHEMA}},
    ],
    "/v1/messages": [
        {"messages": HELLO, "max_tokens": 300},
        {"messages": HELLO, "max_tokens": CUT},
        {"messages": HELLO, "max_tokens": 300, "tools": MESSAGES_TOOLS},
        {"messages": HELLO, "max_tokens": 300, "stop_sequences": ["Now"]},
    ],
    "/v1/messages/count_tokens": [{"messages": HELLO}, {"messages": HELLO, "tools": MESSAGES_TOOLS}],
    "/v1/embeddings": [
        {"input": "Hello!"},
        {"input": ["a", "b"], "encoding_format": "base64", "dimensions": 2, "model": "tiny-chat"},
        {"input": [[1, 2], [3]], "normalize": False},
    ],
    "/v1/engines/tiny-chat/chat/completions": [{"messages": HELLO}],
    "/v1/engines/tiny-chat/completions": [{"prompt": "say"}],
    "/v1/engines/tiny-chat/embeddings": [{"input": "say"}],
    **{
        f"{prefix}{path}": bodies
        for prefix in ("", "/v1")
        for path, bodies in {
            "/tokenize": [
                {"content": "é"},
                {"prompt": "人", "with_pieces": True, "return_token_strs": True},
                {"messages": HELLO},
            ],
            "/detokenize": [{"tokens": [97, 98]}],
            "/apply-template": [{"messages": HELLO}],
        }.items()
    },
}
UNLIMITED = {path for path in POSTS if "token" in path or "template" in path}
GETS = {
    "/v1/models": "/v1/models",
    "/v1/models/gpt-3.5-turbo": "/v1/models/{name}",
    "/v1/engines": "/v1/engines",
    "/v1/engines/cold": "/v1/engines/{path}",
}
BAD: dict[str, Any] = {"model": "nobody", "messages": HELLO, "prompt": "x", "input": "x", "max_tokens": 1}


def logprobs_of(token_id: int) -> Any:
    top = [(token_id, -0.5), (65, float("-inf"))]
    return [SimpleNamespace(token_id=token_id, logprob=-0.5, top=top)]


def engine(said: str) -> FakeEngine:
    tokenizer = FakeTokenizer("<tool_call></think>enable_thinking")
    return FakeEngine(text=said, tokenizer=tokenizer, logprobs_of=logprobs_of, cached_tokens=3)


@pytest.fixture(scope="module")
def document() -> Any:
    return InProcessClient(FakeEngine()).get("/openapi.json").json()


def template(path: str) -> str:
    return GETS.get(path) or ("/v1/engines/{path}" if path.startswith("/v1/engines/") else path)


def described(document: Any, path: str, method: str, status: int) -> Draft202012Validator:
    operation = document["paths"][template(path)][method]
    schema = operation["responses"][str(status)]["content"]["application/json"]["schema"]
    return Draft202012Validator({**schema, "components": document["components"]})


def complaints(validator: Draft202012Validator, answer: Any) -> list[str]:
    return [f"{error.instance_path}: {error.message}" for error in validator.iter_errors(answer)]


def requests(path: str) -> list[tuple[str, str, dict[str, Any]]]:
    if path in GETS:
        return [("GET", path, {})]
    return [("POST", path, {"json": body}) for body in POSTS[path]]


def objects_in(value: Any) -> Iterator[dict[str, Any]]:
    """Every object of an answer whose fields the server has named."""
    if isinstance(value, dict):
        yield value
        value = [item for name, item in value.items() if name not in FREE]
    if isinstance(value, list):
        for item in value:
            yield from objects_in(item)


@pytest.mark.parametrize("path", [*POSTS, *GETS])
def test_answers_are_as_described(document, path):
    asked = requests(path)
    for said in ("人工智能 is said", THOUGHT + "It is noon.", THOUGHT + CALLS, CALLS):
        answers = InProcessClient(engine(said)).requests(*asked)
        for (method, _, options), answer in zip(asked, answers, strict=True):
            assert answer.status_code == 200, (options, answer.text)
            validator = described(document, path, method.lower(), 200)
            assert complaints(validator, answer.json()) == [], (options, said, answer.text)


@pytest.mark.parametrize("path", [*POSTS, *GETS])
def test_no_other_answer_is_as_described(document, path):
    """A field that is left out is missed, and one that has another name is none of theirs, at any depth."""
    method, _, options = max(requests(path), key=lambda request: len(str(request)))
    answer = InProcessClient(engine(THOUGHT + CALLS)).request(method, path, **options).json()
    validator = described(document, path, method.lower(), 200)
    for one in objects_in(answer):
        for name in list(one):
            value = one.pop(name)
            assert validator.is_valid(answer) is (name in OPTIONAL), (name, one)
            one[f"{name}s"] = value
            assert not validator.is_valid(answer), (name, one)
            del one[f"{name}s"]
            one[name] = value
    assert validator.is_valid(answer)


@pytest.mark.parametrize("path", [path for path in POSTS if path.startswith("/v1/") and "kenize" not in path])
def test_refusals_are_as_described(document, path):
    client = InProcessClient(FakeEngine())
    for body in ({}, {**BAD, "model": "nobody"}):
        answer = client.post(path, body)
        assert answer.status_code in (400, 404) or "engines" in path
        if answer.status_code != 200:
            validator = described(document, path, "post", answer.status_code)
            assert complaints(validator, answer.json()) == []
            assert complaints(validator, {**answer.json(), "more": 1})


def test_each_route_is_described_and_only_those_that_stream_say_so(document):
    streaming = {"/api/v1/generate", "/api/v1/generate/stream", "/v1/engines/{path}"}
    streaming |= {"/v1/chat/completions", "/v1/completions", "/v1/responses", "/v1/messages"}
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            content = operation["responses"]["200"]["content"]
            assert ("text/event-stream" in content) is (method == "post" and path in streaming), path
            assert "text/event-stream" not in content or content["text/event-stream"]["x-event-schema"], path
            whole = content.get("application/json")
            assert whole is None or whole["schema"] or path == "/openapi.json", path
    # Two structs of one name would be told apart by their modules.
    assert not [name for name in document["components"]["schemas"] if "llmcore_server" in name]


def test_limits_are_told_as_described(document):
    config = ServerConfig(limits=LimitSettings(requests=(2, 60), tokens=(1000, 60)))
    components = document["components"]["headers"]
    for path, body in (
        ("/v1/embeddings", {"input": "x"}),
        ("/v1/engines/tiny-chat/completions", {"prompt": "x"}),
        ("/v1/messages", {"messages": HELLO, "max_tokens": 4}),
        ("/api/v1/generate", {"prompt": "x"}),
    ):
        post = ("POST", path, {"json": body})
        answers = InProcessClient(engine("said"), config).requests(post, ("POST", path, {"json": {}}), post)
        assert [answer.status_code for answer in answers] == [200, 400, 429]
        for answer in answers:
            response = document["paths"][template(path)]["post"]["responses"][str(answer.status_code)]
            names = {name.lower() for name in response["headers"]}
            told = {
                name for name in answer.headers if name.startswith("x-ratelimit-") or name == "retry-after"
            }
            assert told == names, path
            for name, reference in response["headers"].items():
                schema = components[reference["$ref"].rpartition("/")[2]]["schema"]
                value = answer.headers[name]
                decoded = int(value) if schema["type"] == "integer" else value
                assert complaints(Draft202012Validator(schema), decoded) == [], name
    limited = {
        path
        for path, methods in document["paths"].items()
        for operation in methods.values()
        if "headers" in operation["responses"]["200"]
    }
    generating = {template(path) for path in POSTS if path not in UNLIMITED}
    assert limited == generating | {"/api/v1/generate", "/api/v1/generate/stream", "/api/v1/batch/generate"}
