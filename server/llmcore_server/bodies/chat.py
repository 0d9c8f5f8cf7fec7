"""Body of ``POST /v1/chat/completions``."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from msgspec import Meta, Struct

from llmcore_server.bodies.choices import check_choices, invalid
from llmcore_server.schemas import Count, SamplingFields, StreamOptions

FunctionName = Annotated[str, Meta(pattern="^[A-Za-z0-9_.-]{1,64}$")]
TemplateVariables = Annotated[dict[str, Any], Meta(max_length=32)]


class ContentPart(Struct, frozen=True, kw_only=True):
    """One part of a message's content; only text is understood, a refusal's too."""

    type: str
    text: str | None = None
    refusal: str | None = None


class CalledFunction(Struct, frozen=True, kw_only=True):
    """A function and its arguments as JSON text."""

    name: str
    arguments: str | None = None


class ToolCall(Struct, frozen=True, kw_only=True):
    """A call the model made earlier in the conversation."""

    id: str | None = None
    type: Literal["function"] | None = None
    function: CalledFunction


class ChatMessage(Struct, frozen=True, kw_only=True):
    """One message of a conversation."""

    role: Literal["developer", "system", "user", "assistant", "tool", "function"]
    content: str | list[ContentPart] | None = None
    refusal: str | None = None
    audio: dict[str, Any] | None = None
    name: str | None = None
    tool_calls: list[ToolCall] | None = None
    tool_call_id: str | None = None
    function_call: CalledFunction | None = None
    reasoning_content: str | None = None


class FunctionDefinition(Struct, frozen=True, kw_only=True):
    """A function the model may call; ``parameters`` is a JSON schema."""

    name: FunctionName
    description: str | None = None
    parameters: dict[str, Any] | None = None
    strict: bool | None = None


class ToolDefinition(Struct, frozen=True, kw_only=True):
    """A tool the model may use; only functions are understood."""

    type: str
    function: FunctionDefinition | None = None


Tools = Annotated[list[ToolDefinition], Meta(max_length=128)]


class ChatCompletionRequest(SamplingFields, frozen=True, kw_only=True):
    """Body of ``POST /v1/chat/completions``."""

    messages: Annotated[list[ChatMessage], Meta(min_length=1, max_length=4096)]
    max_completion_tokens: Count | None = None
    n: Count | None = None
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    logprobs: bool | None = None
    top_logprobs: Annotated[int, Meta(ge=0, le=20)] | None = None
    tools: Tools | None = None
    tool_choice: str | dict[str, Any] | None = None
    parallel_tool_calls: bool | None = None
    functions: Annotated[list[FunctionDefinition], Meta(max_length=128)] | None = None
    function_call: str | dict[str, Any] | None = None
    response_format: dict[str, Any] | None = None
    reasoning_effort: Literal["none", "minimal", "low", "medium", "high", "xhigh", "max"] | None = None
    chat_template_kwargs: TemplateVariables | None = None

    def check(self, max_choices: int) -> None:
        """Raise `ApiError` for values that contradict one another."""
        check_choices(self.n, max_choices)
        if not self.functions and self.function_call not in (None, "none", "auto"):
            raise invalid("function_call", "需要 functions", "needs 'functions'")
        if self.functions and self.tools:
            raise invalid("functions", "不能与 tools 同用", "cannot go with 'tools'")
        if self.top_logprobs and not self.logprobs:
            raise invalid("top_logprobs", "需要 logprobs 为 true", "needs 'logprobs' to be true")
