"""``POST /tokenize``, ``/detokenize`` and ``/apply-template``."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

import falcon.asgi
from msgspec import UNSET, UnsetType

from llmcore_server.assistant.conversation import template_messages, template_tools, template_variables
from llmcore_server.assistant.described_tools import describe_tools
from llmcore_server.bodies.chat import ChatMessage, ToolDefinition
from llmcore_server.bodies.choices import invalid
from llmcore_server.bodies.tokenization import DetokenizeRequest, TemplateRequest, TokenizeRequest
from llmcore_server.config import ServerConfig
from llmcore_server.engine_protocol import Engine, Tokenizer
from llmcore_server.registry import EngineRegistry
from llmcore_server.request_body import read_request
from llmcore_server.schemas import BodyDecoder
from llmcore_server.v1_answers.tokenization import RenderedPrompt, TokenList, TokenPiece, TokenText


class TokenizationResource:
    """What a model's tokenizer and chat template make of things."""

    def __init__(self, registry: EngineRegistry, config: ServerConfig) -> None:
        self._registry = registry
        self._config = config
        self._tokenize = BodyDecoder(TokenizeRequest, {})
        self._detokenize = BodyDecoder(DetokenizeRequest, {})
        self._template = BodyDecoder(TemplateRequest, {})

    async def on_post_tokenize(self, req: falcon.asgi.Request, resp: falcon.asgi.Response) -> None:
        request = await read_request(req, resp, self._tokenize, self._config)
        engine = await self._engine(request.model)
        ids = await asyncio.to_thread(_tokens, engine.tokenizer, request)
        shown: list[int | TokenPiece] = list(ids)
        if request.with_pieces:
            shown = [TokenPiece(token, _piece(engine.tokenizer, token)) for token in ids]
        strings: list[str] | UnsetType = UNSET
        if request.return_token_strs:
            strings = [engine.tokenizer.token_bytes(token).decode("utf-8", "replace") for token in ids]
        resp.media = TokenList(
            tokens=shown, count=len(ids), max_model_len=engine.model_info.n_ctx, token_strs=strings
        )

    async def on_post_detokenize(self, req: falcon.asgi.Request, resp: falcon.asgi.Response) -> None:
        request = await read_request(req, resp, self._detokenize, self._config)
        engine = await self._engine(request.model)
        text = await asyncio.to_thread(engine.tokenizer.decode, request.tokens)
        resp.media = TokenText(content=text, prompt=text)

    async def on_post_template(self, req: falcon.asgi.Request, resp: falcon.asgi.Response) -> None:
        request = await read_request(req, resp, self._template, self._config)
        engine = await self._engine(request.model)
        messages, tools, variables = _conversation(engine.tokenizer, request, request.messages)
        generation = request.add_generation_prompt is not False
        text = await asyncio.to_thread(
            engine.tokenizer.render_chat, messages, generation, tools or None, **variables
        )
        resp.media = RenderedPrompt(text)

    async def _engine(self, name: str | None) -> Engine:
        return await self._registry.engine(await self._registry.choose(name))


def _conversation(
    tokenizer: Tokenizer, request: TemplateRequest | TokenizeRequest, messages: Sequence[ChatMessage]
) -> tuple[list[dict[str, Any]], list[dict[str, Any]], dict[str, Any]]:
    """Return messages, tools and variables as the model's template takes them."""
    given: Sequence[ToolDefinition] | None = request.tools
    rendered, tools = template_messages(messages), template_tools(given)
    if not tokenizer.takes_tools:
        rendered, tools = describe_tools(rendered, tools), []
    return rendered, tools, template_variables(request.chat_template_kwargs)


def _tokens(tokenizer: Tokenizer, request: TokenizeRequest) -> list[int]:
    given = [request.content, request.prompt, request.messages]
    if sum(one is not None for one in given) != 1:
        raise invalid(
            "content", "与 prompt、messages 须恰有其一", "or 'prompt' or 'messages' must be given, one"
        )
    if request.messages is not None:
        messages, tools, variables = _conversation(tokenizer, request, request.messages)
        generation = request.add_generation_prompt is not False
        return tokenizer.encode_chat(messages, generation, tools or None, **variables)
    # Of the two servers whose clients call this, one adds nothing to `content`, one does to `prompt`.
    chosen = (request.add_special, request.add_special_tokens, request.prompt is not None)
    add_special = next(one for one in chosen if one is not None)
    text = request.content if request.content is not None else request.prompt
    assert text is not None
    return tokenizer.encode(text, add_special, bool(request.parse_special))


def _piece(tokenizer: Tokenizer, token: int) -> str | list[int]:
    raw = tokenizer.token_bytes(token)
    try:
        return raw.decode()
    except UnicodeDecodeError:
        return list(raw)
