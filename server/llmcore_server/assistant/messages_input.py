"""Anthropic's messages as a conversation."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from llmcore_server.assistant.answer_form import read_format
from llmcore_server.assistant.conversation import (
    Conversation,
    ToolChoice,
    call_message,
    function_tool,
    named_choice,
    template_variables,
)
from llmcore_server.assistant.effort import effort_variables
from llmcore_server.bodies.choices import invalid, unsupported
from llmcore_server.bodies.messages import (
    Block,
    CountTokensRequest,
    Message,
    MessagesChoice,
    MessagesTool,
    OutputConfig,
)


def messages_conversation(request: CountTokensRequest) -> Conversation:
    """Return what a request says as a conversation; raise `ApiError` for what cannot be served."""
    tools = [_tool(f"tools[{index}]", tool) for index, tool in enumerate(request.tools or ())]
    messages: list[dict[str, Any]] = []
    if request.system:
        messages.append({"role": "system", "content": _plain_text("system", request.system)})
    for index, message in enumerate(request.messages):
        messages += _messages(f"messages[{index}]", message)
    begun = _begun(messages)
    if begun:
        messages.pop()
    thinking = {} if request.thinking is None else {"enable_thinking": request.thinking.type != "disabled"}
    choice = request.tool_choice
    output = request.output_config or OutputConfig()
    # A name is OpenAI's affair.
    form = None if output.format is None else {"name": "answer", **output.format}
    if begun and (form is not None or (choice is not None and choice.type in ("any", "tool"))):
        raise invalid(
            "messages",
            "规定答案形式时，最后一条不能是 assistant 的文本",
            "must not end with the assistant's text where the answer must have a form",
        )
    return Conversation(
        messages=messages,
        tools=tools,
        choice=_choice(choice, tools),
        parallel_calls=not (choice and choice.disable_parallel_tool_use),
        form=read_format(form, "output_config.format"),
        strict_names=frozenset(tool.name for tool in request.tools or () if tool.strict),
        variables={
            **effort_variables(output.effort),
            **thinking,
            **template_variables(request.chat_template_kwargs),
        },
        begun=begun,
    )


def _begun(messages: Sequence[dict[str, Any]]) -> str:
    """What the answer begins with: a last message of the assistant's that is text alone."""
    last = messages[-1] if messages else {}
    return str(last["content"]) if last.keys() == {"role", "content"} and last["role"] == "assistant" else ""


def _tool(where: str, tool: MessagesTool) -> dict[str, Any]:
    if tool.type not in (None, "custom"):
        raise unsupported(f"{where}.type", str(tool.type)[:40])
    return function_tool(tool.name, tool.description, tool.input_schema)


def _choice(given: MessagesChoice | None, tools: list[dict[str, Any]]) -> ToolChoice:
    if given is None or given.type == "auto":
        return ToolChoice("auto")
    if given.type == "none":
        return ToolChoice("none")
    if not tools:
        raise invalid("tool_choice", "需要 tools", "needs 'tools'")
    return named_choice(given.name, tools) if given.type == "tool" else ToolChoice("required")


def _messages(where: str, message: Message) -> list[dict[str, Any]]:
    """Return one message as templates take it; results of calls become messages of their own."""
    if isinstance(message.content, str):
        return [{"role": message.role, "content": message.content}]
    rendered: dict[str, Any] = {"role": message.role, "content": ""}
    results: list[dict[str, Any]] = []
    for number, block in enumerate(message.content):
        place = f"{where}.content[{number}]"
        if block.type == "text":
            rendered["content"] += _said(f"{place}.text", block.text)
        elif block.type == "tool_result" and message.role == "user":
            results.append(_result(place, block))
        elif block.type == "tool_use" and message.role == "assistant":
            rendered.setdefault("tool_calls", []).append(_call(place, block))
        elif block.type == "thinking" and message.role == "assistant":
            thought = rendered.get("reasoning_content", "") + _said(f"{place}.thinking", block.thinking)
            rendered["reasoning_content"] = thought
        elif block.type != "redacted_thinking":
            raise unsupported(f"{place}.type", block.type[:40])
    return results if results and not rendered["content"] else [*results, rendered]


def _call(where: str, block: Block) -> dict[str, Any]:
    name, call_id = _said(f"{where}.name", block.name), _said(f"{where}.id", block.id)
    return call_message(call_id, name, json.dumps(block.input or {}, ensure_ascii=False))


def _result(where: str, block: Block) -> dict[str, Any]:
    content = block.content or ""
    if not isinstance(content, str):
        content = _dict_texts(f"{where}.content", content)
    text = f"Error: {content}" if block.is_error else content
    return {"role": "tool", "content": text, "tool_call_id": _said(f"{where}.tool_use_id", block.tool_use_id)}


def _dict_texts(where: str, parts: Sequence[dict[str, Any]]) -> str:
    texts: list[str] = []
    for number, part in enumerate(parts):
        text = part.get("text")
        if part.get("type") != "text" or not isinstance(text, str):
            raise unsupported(f"{where}[{number}].type", str(part.get("type"))[:40])
        texts.append(text)
    return "".join(texts)


def _plain_text(where: str, content: str | Sequence[Block]) -> str:
    if isinstance(content, str):
        return content
    for number, block in enumerate(content):
        if block.type != "text":
            raise unsupported(f"{where}[{number}].type", block.type[:40])
    return "\n".join(block.text or "" for block in content)


def _said(where: str, text: str | None) -> str:
    if text is None:
        raise invalid(where, "缺少", "is missing")
    return text
