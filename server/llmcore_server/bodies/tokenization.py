"""Bodies of ``/tokenize``, ``/detokenize`` and ``/apply-template``."""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta, Struct

from llmcore_server.bodies.chat import ChatMessage, TemplateVariables, ToolDefinition
from llmcore_server.schemas import TokenId


class TemplateRequest(Struct, frozen=True, kw_only=True):
    """Body of ``/apply-template``: a conversation."""

    messages: Annotated[list[ChatMessage], Meta(min_length=1, max_length=4096)]
    model: str | None = None
    tools: list[ToolDefinition] | None = None
    add_generation_prompt: bool | None = None
    chat_template_kwargs: TemplateVariables | None = None


class TokenizeRequest(Struct, frozen=True, kw_only=True):
    """Body of ``/tokenize``: a text, as ``content`` or ``prompt``, or a conversation.

    add_special: add what the model wants around a text. parse_special: turn control tokens' names into the
    tokens. with_pieces: tell each token's text.
    """

    model: str | None = None
    content: str | None = None
    prompt: str | None = None
    messages: Annotated[list[ChatMessage], Meta(min_length=1, max_length=4096)] | None = None
    tools: list[ToolDefinition] | None = None
    add_generation_prompt: bool | None = None
    chat_template_kwargs: TemplateVariables | None = None
    add_special: bool | None = None
    add_special_tokens: bool | None = None
    parse_special: bool | None = None
    with_pieces: bool | None = None
    return_token_strs: bool | None = None


class DetokenizeRequest(Struct, frozen=True, kw_only=True):
    """Body of ``/detokenize``: token ids."""

    tokens: list[TokenId]
    model: str | None = None
