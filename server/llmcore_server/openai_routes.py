"""Adds the routes under ``/v1`` to the application."""

from __future__ import annotations

from typing import Any

import falcon.asgi

from llmcore_server.config import ServerConfig
from llmcore_server.metrics import Metrics
from llmcore_server.registry import EngineRegistry
from llmcore_server.resources.chat import ChatCompletionsResource
from llmcore_server.resources.completions import CompletionsResource
from llmcore_server.resources.embeddings import EmbeddingsResource
from llmcore_server.resources.engines import EnginesResource, PostResource
from llmcore_server.resources.messages import MessagesResource
from llmcore_server.resources.models import OpenAIModelsResource
from llmcore_server.resources.responses import ResponsesResource
from llmcore_server.resources.tokenization import TokenizationResource


def add_openai_routes(
    app: falcon.asgi.App[Any, Any], registry: EngineRegistry, metrics: Metrics, config: ServerConfig
) -> None:
    """Add OpenAI's routes, those of its older clients, Anthropic's messages, and the tokenizer's."""
    models = OpenAIModelsResource(registry)
    app.add_route("/v1/models", models)
    app.add_route("/v1/models/{name:path}", models, suffix="one")

    chat = ChatCompletionsResource(registry, metrics, config)
    completions = CompletionsResource(registry, metrics, config)
    embeddings = EmbeddingsResource(registry, metrics, config)
    app.add_route("/v1/chat/completions", chat)
    app.add_route("/v1/completions", completions)
    app.add_route("/v1/embeddings", embeddings)

    app.add_route("/v1/responses", ResponsesResource(registry, metrics, config))
    messages = MessagesResource(registry, metrics, config)
    app.add_route("/v1/messages", messages)
    app.add_route("/v1/messages/count_tokens", messages, suffix="count")

    # The longer name first: the shorter one ends it.
    routes: dict[str, PostResource] = {
        "chat/completions": chat,
        "completions": completions,
        "embeddings": embeddings,
    }
    engines = EnginesResource(registry, routes)
    app.add_route("/v1/engines", engines)
    app.add_route("/v1/engines/{path:path}", engines, suffix="one")

    tokenization = TokenizationResource(registry, config)
    for prefix in ("", "/v1"):
        app.add_route(f"{prefix}/tokenize", tokenization, suffix="tokenize")
        app.add_route(f"{prefix}/detokenize", tokenization, suffix="detokenize")
        app.add_route(f"{prefix}/apply-template", tokenization, suffix="template")
