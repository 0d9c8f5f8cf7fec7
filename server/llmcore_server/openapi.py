"""The OpenAPI 3.1 document, made of the structs that check requests and of those that are answered."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

import msgspec
from msgspec import Struct

from llmcore_server import answers
from llmcore_server.documented_app import Route
from llmcore_server.errors import CATALOGUE, is_openai_path
from llmcore_server.route_kinds import is_generating, is_health
from llmcore_server.schemas import BodyDecoder, GenerateRequest

_PARAMETER = re.compile(r"\{(\w+)(?::[^}]*)?\}")
_ANTHROPIC = re.compile(r"/v1/messages(?:/|$)")
_REFERENCE = "#/components/schemas/{name}"

# What the routes of the specification answer, by method and path; the same with and without /api/v1.
_ANSWERS: Mapping[tuple[str, str], tuple[str, Any]] = {
    ("get", "/health"): ("State, memory, open connections", answers.Health),
    ("get", "/health/live"): ("Whether the process serves", answers.Condition),
    ("get", "/health/ready"): ("Whether its models have made a step", answers.Condition),
    ("post", "/generate"): ("A text for a prompt", answers.GenerateAnswer),
    ("post", "/generate/stream"): ("A text for a prompt, as server-sent events", answers.TokenEvent),
    ("post", "/batch/generate"): ("Texts for several prompts, run together", answers.BatchAnswer),
    ("get", "/models"): ("The models this server knows", answers.ModelList),
    ("get", "/models/{name}"): ("One model and its state", answers.ModelDetail),
    ("post", "/models/{name}/load"): ("Load a model", answers.LoadAnswer),
    ("post", "/models/{name}/adapters"): ("Load a LoRA adapter", answers.ModelDetail),
    ("delete", "/models/{name}/adapters/{adapter}"): ("Free a LoRA adapter", answers.ModelDetail),
    ("post", "/models/{name}/unload"): ("Free a model's memory", answers.ModelDetail),
}
_TEXTS = {"/metrics": "text/plain", "/docs": "text/html"}
_EXTRA_STATUSES = {"/models/{name}/load": 202, "/health/ready": 503}


class OpenAIErrorDetail(Struct, frozen=True):
    """OpenAI's description of a refusal."""

    message: str
    type: str
    param: str | None
    code: str | None


class OpenAIErrorAnswer(Struct, frozen=True):
    """Every refusal under ``/v1``."""

    error: OpenAIErrorDetail


class AnthropicErrorDetail(Struct, frozen=True):
    """Anthropic's description of a refusal."""

    type: str
    message: str


class AnthropicErrorAnswer(Struct, frozen=True):
    """Every refusal of Anthropic's routes, which lie among OpenAI's."""

    type: str
    error: AnthropicErrorDetail


_ERRORS: Mapping[str, type[Struct]] = {
    "native": answers.ErrorAnswer,
    "openai": OpenAIErrorAnswer,
    "anthropic": AnthropicErrorAnswer,
}


def openapi_document(routes: Iterable[Route], version: str, keys_required: bool) -> dict[str, Any]:
    """Return the document of these routes. A request body's schema is that of the decoder that the resource
    checks it with: ``_decoder``, or ``_<suffix>_decoder`` or ``_<suffix>`` of a route with a suffix."""
    listed = list(routes)
    bodies = {route: body for route in listed if (body := _body_type(route)) is not None}
    types = [*_ERRORS.values(), GenerateRequest, *bodies.values()]
    types += [answer for _, answer in _ANSWERS.values()]
    schemas, components = msgspec.json.schema_components(types, ref_template=_REFERENCE)
    by_type = dict(zip(types, schemas, strict=True))
    if "BatchRequest" in components:
        # Its items are decoded one by one, so that a bad one is its own error.
        components["BatchRequest"]["properties"]["requests"]["items"] = by_type[GenerateRequest]
    paths: dict[str, dict[str, Any]] = {}
    for route in listed:
        path = _PARAMETER.sub(r"{\1}", route.path)
        operation = _operation(route, by_type.get(bodies.get(route)), by_type)
        paths.setdefault(path, {})[route.method] = operation
    document: dict[str, Any] = {
        "openapi": "3.1.0",
        "info": {"title": "llmcore", "version": version},
        "paths": paths,
        "components": {"schemas": components},
    }
    if keys_required:
        document["components"]["securitySchemes"] = {
            "bearer": {"type": "http", "scheme": "bearer"},
            "key": {"type": "apiKey", "in": "header", "name": "X-API-Key"},
        }
        document["security"] = [{"bearer": []}, {"key": []}]
    return document


def _body_type(route: Route) -> type[Struct] | None:
    if route.method != "post":
        return None
    names = [f"_{route.suffix}_decoder", f"_{route.suffix}"] if route.suffix else []
    for name in [*names, "_decoder"]:
        decoder = getattr(route.resource, name, None)
        if isinstance(decoder, BodyDecoder):
            return decoder.body_type
    return None


def _operation(route: Route, body: Any, by_type: Mapping[Any, Any]) -> dict[str, Any]:
    short = route.path.removeprefix("/api/v1")
    summary, answer = _ANSWERS.get((route.method, short), (None, None))
    if is_openai_path(route.path):
        summary, answer = None, None
    operation: dict[str, Any] = {
        "operationId": re.sub(r"\W+", "_", f"{route.method}{route.path}").strip("_"),
        "tags": [_tag(route.path)],
        "responses": _responses(route, short, by_type.get(answer, {}), by_type),
    }
    if summary is not None:
        operation["summary"] = summary
    elif route.resource.__doc__:
        operation["summary"] = " ".join(route.resource.__doc__.split("\n\n")[0].split())
    parameters = _PARAMETER.findall(route.path)
    if parameters:
        operation["parameters"] = [
            {"name": name, "in": "path", "required": True, "schema": {"type": "string"}}
            for name in parameters
        ]
    if route.method == "post":
        schema = body if body is not None else {"type": "object"}
        optional = short.endswith(("/load", "/unload"))
        operation["requestBody"] = {
            "required": not optional,
            "content": {"application/json": {"schema": schema}},
        }
    if is_health(route.path):
        operation["security"] = []
    return operation


def _responses(route: Route, short: str, schema: Any, by_type: Mapping[Any, Any]) -> dict[str, Any]:
    if short in _TEXTS:
        content: dict[str, Any] = {_TEXTS[short]: {"schema": {"type": "string"}}}
    elif short == "/generate/stream":
        content = {"text/event-stream": {"x-event-schema": schema}}
    else:
        content = {"application/json": {"schema": schema}}
        if is_generating(route.path) and not short.startswith("/batch"):
            # With "stream": true.
            content["text/event-stream"] = {}
    responses: dict[str, Any] = {"200": {"description": "OK", "content": content}}
    error = by_type[_ERRORS[_error_shape(route.path)]]
    refusal = {"description": "Refused", "content": {"application/json": {"schema": error}}}
    for status in sorted({kind.status for kind in CATALOGUE.values()}):
        responses[str(status)] = refusal
    extra = _EXTRA_STATUSES.get(short)
    if extra is not None:
        responses[str(extra)] = {"description": "Not yet", "content": content}
    return responses


def _error_shape(path: str) -> str:
    if _ANTHROPIC.match(path):
        return "anthropic"
    return "openai" if is_openai_path(path) else "native"


def _tag(path: str) -> str:
    if is_openai_path(path):
        return "openai"
    return "native" if path.startswith("/api/v1") else "server"
