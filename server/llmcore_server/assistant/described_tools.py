"""Tools for models whose chat template has no place for them: told in the system message."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from llmcore_server.assistant.tagged_calls import CLOSE, OPEN

# In few words: models that need to be told often have short contexts.
_INSTRUCTIONS = f"""Functions you may call:
%s
To call one, write {OPEN}{{"name": <its name>, "arguments": <object>}}{CLOSE}"""


def describe_tools(
    messages: Sequence[dict[str, Any]], tools: Sequence[dict[str, Any]], *, to_user: bool = False
) -> list[dict[str, Any]]:
    """Return the conversation with tools, calls and their results as plain text.

    to_user: where no system message is, the user is the one who tells, for templates that have no system.
    """
    plain = [_plain_message(message) for message in messages]
    if not tools:
        return plain
    said = _INSTRUCTIONS % "\n".join(_signature(tool["function"]) for tool in tools)
    first = plain[0]
    if first["role"] in ("system", "developer"):
        return [{**first, "content": f"{first['content']}\n\n{said}"}, *plain[1:]]
    if to_user and first["role"] == "user":
        return [{**first, "content": f"{said}\n\n{first['content']}"}, *plain[1:]]
    return [{"role": "system", "content": said}, *plain]


def _signature(function: dict[str, Any]) -> str:
    told = {name: value for name, value in function.items() if value}
    return json.dumps(told, ensure_ascii=False, separators=(",", ":"))


def _plain_message(message: dict[str, Any]) -> dict[str, Any]:
    if message["role"] == "tool":
        return {"role": "user", "content": f"<tool_response>\n{message['content']}\n</tool_response>"}
    calls = message.get("tool_calls")
    if not calls:
        return message
    written = [_written_call(call["function"]) for call in calls]
    content = "\n".join(filter(None, [message["content"], *written]))
    return {"role": message["role"], "content": content}


def _written_call(function: dict[str, Any]) -> str:
    name = json.dumps(function["name"], ensure_ascii=False)
    return f'{OPEN}\n{{"name": {name}, "arguments": {function["arguments"]}}}\n{CLOSE}'
