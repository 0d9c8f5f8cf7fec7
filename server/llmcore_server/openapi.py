"""The OpenAPI 3.1 document, made of the structs that check requests and of those that are answered."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from itertools import chain
from typing import Any

import msgspec
from msgspec import Struct

from llmcore_server.answered_headers import header_components, limit_headers, retry_header
from llmcore_server.documented_answers import all_answers, described_answer, described_events, error_answer
from llmcore_server.documented_app import Route
from llmcore_server.errors import CATALOGUE, is_openai_path
from llmcore_server.route_kinds import is_generating, is_health
from llmcore_server.schemas import BodyDecoder, GenerateRequest

_PARAMETER = re.compile(r"\{(\w+)(?::[^}]*)?\}")
_ENGINES = "/v1/engines/{path}"
_REFERENCE = "#/components/schemas/{name}"
_TEXTS = {"/metrics": "text/plain", "/docs": "text/html"}
_EXTRA_STATUSES = {"/models/{name}/load": 202, "/health/ready": 503}
_PASSING = (429, 503)


def openapi_document(routes: Iterable[Route], version: str, keys_required: bool) -> dict[str, Any]:
    """Return the document of these routes. A request body's schema is that of the decoder that the resource
    checks it with: ``_decoder``, or ``_<suffix>_decoder`` or ``_<suffix>`` of a route with a suffix. A
    resource that hands requests on to others, its ``_routes``, takes the bodies that they take."""
    listed = list(routes)
    bodies = {route: _body_types(route.resource, route.suffix) for route in listed if route.method == "post"}
    types = [GenerateRequest, *chain.from_iterable(bodies.values()), *all_answers()]
    schemas, components = msgspec.json.schema_components(types, ref_template=_REFERENCE)
    by_type = dict(zip(types, schemas, strict=True))
    if "BatchRequest" in components:
        # Its items are decoded one by one, so that a bad one is its own error.
        components["BatchRequest"]["properties"]["requests"]["items"] = by_type[GenerateRequest]
    paths: dict[str, dict[str, Any]] = {}
    for route in listed:
        path = _PARAMETER.sub(r"{\1}", route.path)
        operation = _operation(route, path, bodies.get(route, ()), by_type)
        paths.setdefault(path, {})[route.method] = operation
    document: dict[str, Any] = {
        "openapi": "3.1.0",
        "info": {"title": "llmcore", "version": version},
        "paths": paths,
        "components": {"schemas": components, "headers": header_components()},
    }
    if keys_required:
        document["components"]["securitySchemes"] = {
            "bearer": {"type": "http", "scheme": "bearer"},
            "key": {"type": "apiKey", "in": "header", "name": "X-API-Key"},
        }
        document["security"] = [{"bearer": []}, {"key": []}]
    return document


def _body_types(resource: object, suffix: str | None) -> Sequence[type[Struct]]:
    names = [f"_{suffix}_decoder", f"_{suffix}"] if suffix else []
    for name in [*names, "_decoder"]:
        decoder = getattr(resource, name, None)
        if isinstance(decoder, BodyDecoder):
            return [decoder.body_type]
    handed_on: Mapping[str, object] = getattr(resource, "_routes", {})
    return [body for other in handed_on.values() for body in _body_types(other, None)]


def _operation(
    route: Route, path: str, bodies: Sequence[type[Struct]], by_type: Mapping[Any, Any]
) -> dict[str, Any]:
    described = described_answer(route.method, path)
    summary, answer = described or (route.resource.__doc__ or "", None)
    operation: dict[str, Any] = {
        "operationId": re.sub(r"\W+", "_", f"{route.method}{route.path}").strip("_"),
        "tags": [_tag(route.path)],
        "summary": " ".join(summary.split("\n\n")[0].split()),
        "responses": _responses(route.method, path, answer, by_type),
    }
    parameters = _PARAMETER.findall(route.path)
    if parameters:
        operation["parameters"] = [
            {"name": name, "in": "path", "required": True, "schema": {"type": "string"}}
            for name in parameters
        ]
    if route.method == "post":
        schema = _any_of(bodies, by_type) if bodies else {"type": "object"}
        optional = route.path.endswith(("/load", "/unload"))
        operation["requestBody"] = {
            "required": not optional,
            "content": {"application/json": {"schema": schema}},
        }
    if is_health(route.path):
        operation["security"] = []
    return operation


def _responses(method: str, path: str, answer: Any, by_type: Mapping[Any, Any]) -> dict[str, Any]:
    # The routes under an engine's name are those that generate.
    generates = is_generating(path) or (method, path) == ("post", _ENGINES)
    short = path.removeprefix("/api/v1")
    events = described_events(method, path)
    content: dict[str, Any] = {}
    if short in _TEXTS:
        content[_TEXTS[short]] = {"schema": {"type": "string"}}
    elif answer is not None or not events:
        content["application/json"] = {"schema": by_type.get(answer, {})}
    if events:
        # OpenAPI 3.1 has no name for the schema of one event.
        content["text/event-stream"] = {"x-event-schema": _any_of(events, by_type)}
    headers = limit_headers(path) if generates else {}
    responses: dict[str, Any] = {"200": _response("OK", content, headers)}
    refusal = {"application/json": {"schema": by_type[error_answer(path)]}}
    for status in sorted({kind.status for kind in CATALOGUE.values()}):
        passing = retry_header() if status in _PASSING else {}
        responses[str(status)] = _response("Refused", refusal, {**headers, **passing})
    extra = _EXTRA_STATUSES.get(short)
    if extra is not None:
        responses[str(extra)] = _response("Not yet", content, headers)
    return responses


def _any_of(types: Sequence[Any], by_type: Mapping[Any, Any]) -> Any:
    schemas = [by_type[one] for one in types]
    return schemas[0] if len(schemas) == 1 else {"anyOf": schemas}


def _response(description: str, content: dict[str, Any], headers: dict[str, Any]) -> dict[str, Any]:
    told = {"headers": headers} if headers else {}
    return {"description": description, **told, "content": content}


def _tag(path: str) -> str:
    if is_openai_path(path):
        return "openai"
    return "native" if path.startswith("/api/v1") else "server"
