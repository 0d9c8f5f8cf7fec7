"""``functions`` and ``function_call``, by which OpenAI's clients of 2023 name tools: one call an answer."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from llmcore_server.assistant.conversation import ToolChoice, function_tool, named_choice
from llmcore_server.bodies.chat import ChatMessage, FunctionDefinition, ToolCall
from llmcore_server.bodies.choices import invalid


def function_tools(functions: Sequence[FunctionDefinition]) -> list[dict[str, Any]]:
    """Return functions as templates take them."""
    return [function_tool(one.name, one.description, one.parameters) for one in functions]


def function_choice(given: str | dict[str, Any] | None, tools: list[dict[str, Any]]) -> ToolChoice:
    """Return what ``function_call`` asks for."""
    if isinstance(given, dict):
        return named_choice(given.get("name"), tools, "function_call")
    if given not in (None, "auto", "none"):
        raise invalid("function_call", "取值无效", "is none, auto or an object that names a function")
    return ToolChoice("none" if given == "none" else "auto")


def with_tool_messages(messages: Sequence[ChatMessage]) -> list[ChatMessage]:
    """Return messages whose calls and results are those of tools."""
    renewed = []
    for number, message in enumerate(messages):
        if message.function_call is not None:
            call = ToolCall(id=f"call_{number}", function=message.function_call)
            renewed.append(ChatMessage(role="assistant", content=message.content, tool_calls=[call]))
        elif message.role == "function":
            renewed.append(
                ChatMessage(
                    role="tool", content=message.content, name=message.name, tool_call_id=f"call_{number - 1}"
                )
            )
        else:
            renewed.append(message)
    return renewed
