"""The input of ``/v1/responses`` as a conversation."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from llmcore_server.assistant.answer_form import read_format
from llmcore_server.assistant.conversation import (
    Conversation,
    call_message,
    function_tool,
    read_choice,
    template_variables,
)
from llmcore_server.assistant.effort import effort_variables
from llmcore_server.bodies.choices import invalid, unsupported
from llmcore_server.bodies.responses import InputItem, Part, ResponsesRequest, ResponseTool

_TEXT_PARTS = ("input_text", "output_text", "text", "reasoning_text")


def response_conversation(request: ResponsesRequest) -> Conversation:
    """Return what a request says as a conversation; raise `ApiError` for what cannot be served."""
    tools = [_tool(f"tools[{index}]", tool) for index, tool in enumerate(request.tools or ())]
    choice, tools = read_choice(request.tool_choice, tools)
    messages = [{"role": "system", "content": request.instructions}] if request.instructions else []
    if isinstance(request.input, str):
        messages.append({"role": "user", "content": request.input})
    else:
        messages += _messages(request.input)
    effort = request.reasoning.effort if request.reasoning else None
    return Conversation(
        messages=messages,
        tools=tools,
        choice=choice,
        parallel_calls=request.parallel_tool_calls is not False,
        form=read_format(request.text.format, "text.format") if request.text else None,
        strict_names=frozenset(tool.name for tool in request.tools or () if tool.strict and tool.name),
        variables={**effort_variables(effort), **template_variables(request.chat_template_kwargs)},
    )


def _tool(where: str, tool: ResponseTool) -> dict[str, Any]:
    if tool.type != "function":
        raise unsupported(f"{where}.type", tool.type[:40])
    if tool.name is None:
        raise invalid(f"{where}.name", "缺少", "is missing")
    return function_tool(tool.name, tool.description, tool.parameters)


class _History:
    """Messages made of input items; what the assistant thought, said and called in one go is one of them."""

    def __init__(self) -> None:
        self.messages: list[dict[str, Any]] = []

    def add(self, where: str, item: InputItem) -> None:
        kind = item.type or "message"
        if kind == "message":
            self._add_message(where, item)
        elif kind == "function_call":
            if item.name is None or item.call_id is None:
                raise invalid(where, "缺少 name 或 call_id", "needs 'name' and 'call_id'")
            call = call_message(item.call_id, item.name, item.arguments or "{}")
            self._assistant().setdefault("tool_calls", []).append(call)
        elif kind == "function_call_output":
            result = _text(f"{where}.output", item.output)
            self.messages.append({"role": "tool", "content": result, "tool_call_id": item.call_id or ""})
        elif kind == "reasoning":
            if thought := _text(f"{where}.content", item.content or ""):
                self.messages.append({"role": "assistant", "content": "", "reasoning_content": thought})
        else:
            raise unsupported(f"{where}.type", kind[:40])

    def _add_message(self, where: str, item: InputItem) -> None:
        text = _text(f"{where}.content", item.content)
        if item.role is None:
            raise invalid(f"{where}.role", "缺少", "is missing")
        if item.role != "assistant":
            self.messages.append({"role": item.role, "content": text})
            return
        message = self._assistant()
        if message["content"] or "tool_calls" in message:
            self.messages.append({"role": "assistant", "content": text})
        else:
            message["content"] = text

    def _assistant(self) -> dict[str, Any]:
        if not self.messages or self.messages[-1]["role"] != "assistant":
            self.messages.append({"role": "assistant", "content": ""})
        return self.messages[-1]


def _messages(items: Sequence[InputItem]) -> list[dict[str, Any]]:
    history = _History()
    for index, item in enumerate(items):
        history.add(f"input[{index}]", item)
    return history.messages


def _text(where: str, content: str | Sequence[Part] | None) -> str:
    if content is None:
        raise invalid(where, "缺少", "is missing")
    if isinstance(content, str):
        return content
    texts: list[str] = []
    for number, part in enumerate(content):
        text = part.refusal if part.type == "refusal" else part.text
        if part.type not in (*_TEXT_PARTS, "refusal"):
            raise unsupported(f"{where}[{number}].type", part.type[:40])
        if text is None:
            raise invalid(f"{where}[{number}].text", "缺少", "is missing")
        texts.append(text)
    return "".join(texts)
