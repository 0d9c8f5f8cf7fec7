"""A conversation as every route family understands it, and how chat completions' messages become one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from llmcore_server.assistant.answer_form import AnswerForm
from llmcore_server.bodies.chat import ChatMessage, ToolDefinition
from llmcore_server.bodies.choices import invalid, unsupported

Mode = Literal["none", "auto", "required"]
# What a rendering is told by other ways than variables.
_RESERVED = frozenset(("messages", "tools", "add_generation_prompt", "bos_token", "eos_token"))


@dataclass(frozen=True)
class ToolChoice:
    """Whether the answer may or must be a call; ``name`` is the function that must be called."""

    mode: Mode
    name: str | None = None

    @property
    def forced(self) -> bool:
        return self.mode == "required"


@dataclass(frozen=True)
class Conversation:
    """Messages and tools in the form that chat templates take; ``variables`` are for the template too.
    ``strict_names``: functions whose arguments must have their schema. ``begun``: what the answer begins
    with, which is not said again."""

    messages: list[dict[str, Any]]
    tools: list[dict[str, Any]] = field(default_factory=list)
    choice: ToolChoice = ToolChoice("auto")
    parallel_calls: bool = True
    form: AnswerForm | None = None
    variables: dict[str, Any] = field(default_factory=dict)
    strict_names: frozenset[str] = frozenset()
    begun: str = ""

    @property
    def callable_names(self) -> list[str]:
        return [tool["function"]["name"] for tool in self.tools]


def template_messages(messages: Sequence[ChatMessage]) -> list[dict[str, Any]]:
    """Return messages as templates take them; raise `ApiError` that names what cannot be served."""
    return [_template_message(f"messages[{index}]", message) for index, message in enumerate(messages)]


def template_tools(tools: Sequence[ToolDefinition] | None) -> list[dict[str, Any]]:
    """Return tools as templates take them."""
    return [_template_tool(f"tools[{index}]", tool) for index, tool in enumerate(tools or ())]


def loose_tools(tools: Sequence[ToolDefinition] | None) -> list[str]:
    """Return the parameters that ask for strict arguments."""
    return [
        f"tools[{index}].function.strict"
        for index, tool in enumerate(tools or ())
        if tool.function is not None and tool.function.strict
    ]


def template_variables(given: dict[str, Any] | None) -> dict[str, Any]:
    """Return a client's variables for the template."""
    variables = given or {}
    for name in variables:
        if name in _RESERVED or not name.isidentifier():
            raise invalid("chat_template_kwargs", f"不能含 {name[:40]}", f"must not hold '{name[:40]}'")
    return variables


def read_choice(
    given: str | dict[str, Any] | None, tools: list[dict[str, Any]]
) -> tuple[ToolChoice, list[dict[str, Any]]]:
    """Return the choice and the tools it leaves."""
    if given is None:
        return ToolChoice("auto"), tools
    if isinstance(given, dict):
        return _object_choice(given, tools)
    if given == "none":
        return ToolChoice("none"), tools
    if given == "auto":
        return ToolChoice("auto"), tools
    if given == "required":
        return ToolChoice("required"), _some(tools)
    raise invalid("tool_choice", "取值无效", "is none, auto, required or an object that names a function")


def named_choice(name: Any, tools: list[dict[str, Any]], param: str = "tool_choice") -> ToolChoice:
    """Return the choice of one function, which must be among the tools."""
    if name not in [tool["function"]["name"] for tool in tools]:
        raise invalid(param, "所指的函数不存在", "names a function that there is not")
    return ToolChoice("required", name)


def _object_choice(
    given: dict[str, Any], tools: list[dict[str, Any]]
) -> tuple[ToolChoice, list[dict[str, Any]]]:
    kind = given.get("type")
    if kind == "function":
        function = given.get("function")
        name = function.get("name") if isinstance(function, dict) else given.get("name")
        return named_choice(name, tools), tools
    allowed = given.get("allowed_tools", given)
    if kind == "allowed_tools" and isinstance(allowed, dict) and isinstance(allowed.get("tools"), list):
        mode = allowed.get("mode", "auto")
        if mode not in ("auto", "required"):
            raise invalid("tool_choice.mode", "应为 auto 或 required", "must be auto or required")
        names = [named_choice(_allowed_name(item), tools).name for item in allowed["tools"]]
        left = [tool for tool in tools if tool["function"]["name"] in names]
        return ToolChoice(mode), _some(left) if mode == "required" else left
    raise unsupported("tool_choice.type", str(kind)[:40])


def _allowed_name(item: Any) -> Any:
    if not isinstance(item, dict):
        return None
    function = item.get("function")
    return function.get("name") if isinstance(function, dict) else item.get("name")


def _some(tools: list[dict[str, Any]]) -> list[dict[str, Any]]:
    if not tools:
        raise invalid("tool_choice", "需要 tools", "needs 'tools'")
    return tools


def _template_tool(where: str, tool: ToolDefinition) -> dict[str, Any]:
    if tool.type != "function":
        raise unsupported(f"{where}.type", tool.type[:40])
    if tool.function is None:
        raise invalid(f"{where}.function", "缺少", "is missing")
    return function_tool(tool.function.name, tool.function.description, tool.function.parameters)


def function_tool(name: str, description: str | None, parameters: dict[str, Any] | None) -> dict[str, Any]:
    """Return a function as templates take it."""
    schema = parameters if parameters is not None else {"type": "object", "properties": {}}
    function = {"name": name, "description": description or "", "parameters": schema}
    return {"type": "function", "function": function}


def _template_message(where: str, message: ChatMessage) -> dict[str, Any]:
    if message.content is None and message.role != "assistant":
        raise invalid(f"{where}.content", "不能为空", "must not be null")
    if message.audio is not None:
        raise unsupported(where, "audio")
    rendered: dict[str, Any] = {"role": message.role, "content": _text_content(where, message)}
    if message.name is not None:
        rendered["name"] = message.name
    if message.tool_calls:
        rendered["tool_calls"] = [
            call_message(call.id or f"call_{number}", call.function.name, call.function.arguments or "{}")
            for number, call in enumerate(message.tool_calls)
        ]
    if message.tool_call_id is not None:
        rendered["tool_call_id"] = message.tool_call_id
    if message.reasoning_content:
        rendered["reasoning_content"] = message.reasoning_content
    return rendered


def call_message(call_id: str, name: str, arguments: str) -> dict[str, Any]:
    """Return a call as templates take it; ``arguments`` is JSON text."""
    return {"id": call_id, "type": "function", "function": {"name": name, "arguments": arguments}}


def _text_content(where: str, message: ChatMessage) -> str:
    if message.content is None or isinstance(message.content, str):
        return message.content or message.refusal or ""
    texts: list[str] = []
    for number, part in enumerate(message.content):
        place = f"{where}.content[{number}]"
        if part.type not in ("text", "refusal"):
            raise unsupported(f"{place}.type", part.type[:40])
        text = part.text if part.type == "text" else part.refusal
        if text is None:
            raise invalid(f"{place}.{part.type}", "缺少", "is missing")
        texts.append(text)
    return "".join(texts)
