"""Bodies of Anthropic's ``POST /v1/messages`` and ``/v1/messages/count_tokens``."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from msgspec import Meta, Struct

from llmcore_server.bodies.chat import FunctionName, TemplateVariables
from llmcore_server.schemas import LONGEST, Count, Probability, StopString


class Block(Struct, frozen=True, kw_only=True):
    """One block of a message's content, or of the system prompt."""

    type: str
    text: str | None = None
    thinking: str | None = None
    id: str | None = None
    name: str | None = None
    input: dict[str, Any] | None = None
    tool_use_id: str | None = None
    content: str | list[dict[str, Any]] | None = None
    is_error: bool | None = None


class Message(Struct, frozen=True, kw_only=True):
    """One message of a conversation."""

    role: Literal["user", "assistant"]
    content: str | list[Block]


class MessagesTool(Struct, frozen=True, kw_only=True):
    """A function the model may call; tools that a server would run are not served."""

    name: FunctionName
    type: str | None = None
    description: str | None = None
    input_schema: dict[str, Any] | None = None
    strict: bool | None = None


class MessagesChoice(Struct, frozen=True, kw_only=True):
    """Whether the answer may or must be a call."""

    type: Literal["auto", "any", "tool", "none"]
    name: str | None = None
    disable_parallel_tool_use: bool | None = None


class Thinking(Struct, frozen=True, kw_only=True):
    """Whether to think first; the budget is not kept apart from ``max_tokens``."""

    type: Literal["enabled", "disabled", "adaptive"]
    budget_tokens: int | None = None


class OutputConfig(Struct, frozen=True, kw_only=True):
    """The answer's form, a JSON schema's, and how hard to think."""

    format: dict[str, Any] | None = None
    effort: Literal["low", "medium", "high", "xhigh", "max"] | None = None


class CountTokensRequest(Struct, frozen=True, kw_only=True):
    """Body of ``POST /v1/messages/count_tokens``."""

    messages: Annotated[list[Message], Meta(min_length=1, max_length=4096)]
    model: str | None = None
    system: str | list[Block] | None = None
    tools: Annotated[list[MessagesTool], Meta(max_length=128)] | None = None
    tool_choice: MessagesChoice | None = None
    thinking: Thinking | None = None
    output_config: OutputConfig | None = None
    chat_template_kwargs: TemplateVariables | None = None


class MessagesRequest(CountTokensRequest, frozen=True, kw_only=True):
    """Body of ``POST /v1/messages``."""

    max_tokens: Count
    temperature: Annotated[float, Meta(ge=0, le=1)] | None = None
    top_p: Probability | None = None
    top_k: Annotated[int, Meta(ge=0, le=LONGEST)] | None = None
    stop_sequences: Annotated[list[StopString], Meta(max_length=16)] | None = None
    stream: bool | None = None


# Parameters that would change the answer and are not served, with the values that ask for nothing.
UNSUPPORTED: dict[str, tuple[object, ...]] = {"mcp_servers": ([],), "container": (), "output_format": ()}
