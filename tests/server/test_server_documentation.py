"""The OpenAPI document: complete, true to what checks and what is answered; the page that shows it."""

from __future__ import annotations

import re

import msgspec
import pytest
from fake_engine import FakeEngine, fake_registry
from falcon.inspect import inspect_compiled_router, inspect_routes, register_router
from in_process_client import InProcessClient

from llmcore_server import answers
from llmcore_server.app import create_app
from llmcore_server.exact_router import ExactRouter
from llmcore_server.schemas import GenerateRequest, SamplingFields

PROMPT = {"prompt": "x"}

# Falcon looks into routers of its own class alone.
register_router(ExactRouter)(inspect_compiled_router)


@pytest.fixture(scope="module")
def document():
    answer = InProcessClient(FakeEngine()).get("/openapi.json")
    assert answer.headers["content-type"] == "application/json"
    return answer.json()


def schema_of(document, path, method="get", status="200"):
    content = document["paths"][path][method]["responses"][status]["content"]
    return resolved(document, content["application/json"]["schema"])


def resolved(document, schema):
    while "$ref" in schema:
        schema = document["components"]["schemas"][schema["$ref"].rpartition("/")[2]]
    return schema


def test_every_route_is_in_it(document):
    app = create_app(fake_registry(FakeEngine()))._app
    routes = {
        (re.sub(r"\{(\w+):[^}]*\}", r"{\1}", route.path), method.method.lower())
        for route in inspect_routes(app)
        for method in route.methods
        if not method.internal
    }
    assert {(path, method) for path, methods in document["paths"].items() for method in methods} == routes
    assert len(routes) > 15


def test_it_is_openapi(document):
    assert document["openapi"].startswith("3.1")
    ids = [operation["operationId"] for path in document["paths"].values() for operation in path.values()]
    assert len(ids) == len(set(ids))
    for path, methods in document["paths"].items():
        for operation in methods.values():
            named = {parameter["name"] for parameter in operation.get("parameters", ())}
            assert named == set(re.findall(r"\{(\w+)\}", path))
            assert operation["summary"]
    references = re.findall(r'"\$ref":"#/components/schemas/([^"]+)"', msgspec.json.encode(document).decode())
    assert set(references) <= set(document["components"]["schemas"])


def test_requests_are_described_by_what_checks_them(document):
    body = document["paths"]["/api/v1/generate"]["post"]["requestBody"]["content"]["application/json"]
    described = resolved(document, body["schema"])
    assert set(described["properties"]) == set(GenerateRequest.__struct_fields__)
    assert described["required"] == ["prompt"]
    temperature = resolved(document, described["properties"]["temperature"])
    assert {"type": "number", "minimum": 0, "maximum": 2} in temperature["anyOf"]
    for path, fields in (
        ("/api/v1/models/{name}/load", {"quantization", "prefer_gpu", "dry_run", "wait"}),
        ("/api/v1/models/{name}/unload", set()),
        ("/api/v1/batch/generate", {"requests"}),
    ):
        body = document["paths"][path]["post"]["requestBody"]["content"]["application/json"]["schema"]
        assert set(resolved(document, body)["properties"]) == fields
    body = document["paths"]["/v1/engines/{path}"]["post"]["requestBody"]["content"]["application/json"]
    assert body["schema"]["anyOf"] == [
        {"$ref": f"#/components/schemas/{name}"}
        for name in ("ChatCompletionRequest", "CompletionRequest", "EmbeddingRequest")
    ]
    item = document["components"]["schemas"]["BatchRequest"]["properties"]["requests"]["items"]
    assert item == {"$ref": "#/components/schemas/GenerateRequest"}


@pytest.mark.parametrize(
    ("method", "path", "template", "kind"),
    [
        ("GET", "/health", None, answers.Health),
        ("GET", "/api/v1/health/live", None, answers.Condition),
        ("POST", "/api/v1/generate", None, answers.GenerateAnswer),
        ("POST", "/api/v1/batch/generate", None, answers.BatchAnswer),
        ("GET", "/api/v1/models", None, answers.ModelList),
        ("GET", "/api/v1/models/cold", "/api/v1/models/{name}", answers.ModelDetail),
        ("POST", "/api/v1/models/cold/load", "/api/v1/models/{name}/load", answers.LoadAnswer),
        ("POST", "/api/v1/models/cold/unload", "/api/v1/models/{name}/unload", answers.ModelDetail),
    ],
)
def test_answers_are_described_by_what_is_answered(document, client, method, path, template, kind):  # noqa: PLR0917
    body = {"requests": [PROMPT, {}]} if "batch" in path else PROMPT
    options = {"json": body} if "generate" in path else {}
    answer = client.request(method, path, **options)
    assert answer.status_code == 200
    msgspec.json.decode(answer.content, type=kind)
    described = schema_of(document, template or path, method.lower())
    assert set(described["required"]) <= set(answer.json()) <= set(described["properties"])


def test_refusals_are_described_in_both_shapes(document, client):
    for path, body in (("/api/v1/generate", {}), ("/v1/chat/completions", {})):
        answer = client.post(path, body).json()["error"]
        described = resolved(document, schema_of(document, path, "post", "400")["properties"]["error"])
        assert set(described["properties"]) == set(answer)


def test_the_page_needs_nothing_from_elsewhere(client):
    answer = client.get("/docs")
    assert answer.headers["content-type"].startswith("text/html")
    assert answer.headers["content-security-policy"].startswith("default-src 'self'")
    assert not re.search(r"(src|href)=.?(https?:)?//", answer.text)
    assert "openapi.json" in answer.text


def test_every_sampling_parameter_is_described_with_its_range(document):
    for name in ("GenerateRequest", "CompletionRequest", "ChatCompletionRequest"):
        properties = document["components"]["schemas"][name]["properties"]
        assert set(SamplingFields.__struct_fields__) <= set(properties)
        (timeout,) = [kind for kind in properties["timeout"]["anyOf"] if kind["type"] != "null"]
        assert (timeout["exclusiveMinimum"], timeout["maximum"]) == (0, 86400)
        assert "DEADLINE_EXCEEDED" in timeout["description"]
