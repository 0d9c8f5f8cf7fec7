"""Adds the documented routes under ``/api/v1``, and those for the people who run the server."""

from __future__ import annotations

from llmcore_server.adapter_service import AdapterService
from llmcore_server.config import ServerConfig
from llmcore_server.documented_app import DocumentedApp
from llmcore_server.metrics import Metrics
from llmcore_server.native_generation import NativeGenerations
from llmcore_server.registry import EngineRegistry
from llmcore_server.resources.adapters import AdaptersResource
from llmcore_server.resources.batch import BatchGenerateResource
from llmcore_server.resources.documentation import DocsResource, OpenApiResource
from llmcore_server.resources.generate import GenerateResource
from llmcore_server.resources.health import HealthResource
from llmcore_server.resources.metrics import MetricsResource
from llmcore_server.resources.models import ModelResource, ModelsResource
from llmcore_server.version import VERSION


def add_native_routes(
    app: DocumentedApp, registry: EngineRegistry, metrics: Metrics, config: ServerConfig
) -> None:
    """Add the specification's routes; health and metrics at the root too, and the documentation."""
    health, scrape = HealthResource(registry, metrics, config.memory_limit), MetricsResource(metrics)
    for prefix in ("", "/api/v1"):
        app.add_route(f"{prefix}/health", health)
        app.add_route(f"{prefix}/health/live", health, suffix="live")
        app.add_route(f"{prefix}/health/ready", health, suffix="ready")
        app.add_route(f"{prefix}/metrics", scrape)

    generations = NativeGenerations(registry, metrics, config)
    generate = GenerateResource(generations, config)
    app.add_route("/api/v1/generate", generate)
    app.add_route("/api/v1/generate/stream", generate, suffix="stream")
    app.add_route("/api/v1/batch/generate", BatchGenerateResource(generations, config))

    model = ModelResource(registry, config)
    app.add_route("/api/v1/models", ModelsResource(registry))
    app.add_route("/api/v1/models/{name}", model)
    app.add_route("/api/v1/models/{name}/load", model, suffix="load")
    app.add_route("/api/v1/models/{name}/unload", model, suffix="unload")
    adapters = AdaptersResource(AdapterService(registry, config.adapters_dir), config)
    app.add_route("/api/v1/models/{name}/adapters", adapters)
    app.add_route("/api/v1/models/{name}/adapters/{adapter}", adapters, suffix="one")

    app.add_route("/openapi.json", OpenApiResource(app, VERSION, config.authenticator.required))
    app.add_route("/docs", DocsResource())
