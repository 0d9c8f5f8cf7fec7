"""Body of ``POST /v1/responses``."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from msgspec import Meta, Struct

from llmcore_server.bodies.chat import FunctionName, TemplateVariables
from llmcore_server.schemas import Count, Probability, Temperature


class Part(Struct, frozen=True, kw_only=True):
    """One part of a message's or a result's content; only text is understood."""

    type: str
    text: str | None = None
    refusal: str | None = None


class InputItem(Struct, frozen=True, kw_only=True):
    """One item of the input: a message, a call, its result, or earlier reasoning."""

    type: str | None = None
    role: Literal["developer", "system", "user", "assistant"] | None = None
    content: str | list[Part] | None = None
    call_id: str | None = None
    name: str | None = None
    arguments: str | None = None
    output: str | list[Part] | None = None


class ResponseTool(Struct, frozen=True, kw_only=True):
    """A function the model may call; other tools are not served."""

    type: str
    name: FunctionName | None = None
    description: str | None = None
    parameters: dict[str, Any] | None = None
    strict: bool | None = None


class Reasoning(Struct, frozen=True, kw_only=True):
    """How hard to think."""

    effort: Literal["none", "minimal", "low", "medium", "high", "xhigh", "max"] | None = None
    summary: str | None = None


class TextOptions(Struct, frozen=True, kw_only=True):
    """The answer's form."""

    format: dict[str, Any] | None = None
    verbosity: str | None = None


class ResponsesRequest(Struct, frozen=True, kw_only=True):
    """Body of ``POST /v1/responses``; nothing is kept from one request to the next."""

    input: str | Annotated[list[InputItem], Meta(min_length=1, max_length=4096)]
    model: str | None = None
    instructions: str | None = None
    max_output_tokens: Count | None = None
    temperature: Temperature | None = None
    top_p: Probability | None = None
    stream: bool | None = None
    tools: Annotated[list[ResponseTool], Meta(max_length=128)] | None = None
    tool_choice: str | dict[str, Any] | None = None
    parallel_tool_calls: bool | None = None
    reasoning: Reasoning | None = None
    text: TextOptions | None = None
    metadata: Annotated[dict[str, Any], Meta(max_length=64)] | None = None
    chat_template_kwargs: TemplateVariables | None = None


# Parameters that would change the answer and are not served, with the values that ask for nothing.
UNSUPPORTED: dict[str, tuple[object, ...]] = {
    "previous_response_id": (),
    "conversation": (),
    "background": (False,),
    "prompt": (),
    "truncation": ("disabled",),
    "top_logprobs": (0,),
}
