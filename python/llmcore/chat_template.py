"""A model's chat template: conversations into prompts."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import jinja2
from jinja2.exceptions import SecurityError

from llmcore.control_tokens import ControlTokens
from llmcore.errors import InvalidArgumentError, ModelError
from llmcore.template_sandbox import (
    TemplateEnvironment,
    TemplateLimitError,
    TemplateRefusal,
    render_within_limits,
)

MAX_SOURCE = 1 << 20  # characters

# Words of the format, not of its users: templates compare them with literals.
_KNOWN_WORDS = {
    "role": frozenset(
        ("system", "developer", "user", "assistant", "tool", "function", "ipython", "model", "tools")
    ),
    "type": frozenset(
        ("function", "text", "object", "array", "string", "number", "integer", "boolean", "null")
    ),
}
# Noncharacters: Unicode reserves them for uses inside a program.
_MARKS = [chr(code) for code in range(0xFDD0, 0xFDF0)]


class ChatTemplate:
    """A Jinja chat template in a sandbox. Immutable; safe to share between threads."""

    def __init__(self, source: str, bos_token: str = "", eos_token: str = "") -> None:
        """`bos_token` and `eos_token` are the texts templates know by these names.

        Raises ModelError for a template that does not compile.
        """
        if len(source) > MAX_SOURCE:
            raise ModelError(
                f"[chat_template] length; got {len(source)}; expected at most {MAX_SOURCE} characters"
            )
        self.source = source
        self._specials = {"bos_token": bos_token, "eos_token": eos_token}
        try:
            self._template = TemplateEnvironment().from_string(source)
        except (jinja2.TemplateError, RecursionError, SyntaxError, ValueError, MemoryError) as error:
            raise ModelError(f"[chat_template] the model's chat template is broken: {error}") from error

    def render(
        self,
        messages: Sequence[Mapping[str, Any]],
        add_generation_prompt: bool = True,
        tools: Sequence[Mapping[str, Any]] | None = None,
        **variables: Any,
    ) -> str:
        """The conversation as one text.

        The text may spell control tokens that came from the messages: to encode it safely, use
        `Tokenizer.encode_chat`. Raises InvalidArgumentError if the template refuses the messages, ModelError
        if it breaks a limit of the sandbox.
        """
        return self._render(_normalize(messages), add_generation_prompt, tools, variables)

    def render_marked(
        self,
        controls: ControlTokens,
        messages: Sequence[Mapping[str, Any]],
        add_generation_prompt: bool = True,
        tools: Sequence[Mapping[str, Any]] | None = None,
        **variables: Any,
    ) -> tuple[str, str]:
        """(text, mark): the conversation, with marks in control tokens' names that messages or tools spell.

        Templates see contents as they are but for marks inside such names, so their tests for other markup
        work. If that ends in other control tokens than a second rendering, in which nothing from outside can
        contribute to one, then the second one counts.
        """
        plain = _normalize(messages)
        tool_list = None if tools is None else list(tools)
        mark = _unused_mark([plain, tool_list, variables])

        def marked(change: Callable[[str, str], str]) -> tuple[Any, ...]:
            return tuple(
                _map_texts(value, lambda text: change(text, mark)) for value in (plain, tool_list, variables)
            )

        light, strict = marked(controls.mark_names), marked(controls.mark_all)
        text = self._render(light[0], add_generation_prompt, light[1], light[2])
        if strict == light:
            return text, mark
        strict_text = self._render(strict[0], add_generation_prompt, strict[1], strict[2])
        if controls.sequence(text, mark) == controls.sequence(strict_text, mark):
            return text, mark
        return strict_text, mark

    def _render(
        self,
        messages: list[dict[str, Any]],
        add_generation_prompt: bool,
        tools: Sequence[Mapping[str, Any]] | None,
        variables: Mapping[str, Any],
    ) -> str:
        scope = {
            **self._specials,
            **variables,
            "messages": messages,
            "tools": tools,
            "add_generation_prompt": add_generation_prompt,
        }
        size = sum(map(len, _texts([messages, tools, variables])))
        try:
            return render_within_limits(self._template, scope, size)
        except TemplateRefusal as error:
            raise InvalidArgumentError(f"[chat_template] the model's chat template says: {error}") from error
        except (TemplateLimitError, SecurityError, RecursionError, MemoryError) as error:
            raise ModelError(f"[chat_template] the model's chat template breaks a limit: {error}") from error
        except Exception as error:  # whatever a template's expressions can raise
            raise InvalidArgumentError(
                f"[chat_template] the model's chat template cannot render these messages: {error}"
            ) from error


def _normalize(messages: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    return [_normalize_message(index, message) for index, message in enumerate(messages)]


def _normalize_message(index: int, message: Mapping[str, Any]) -> dict[str, Any]:
    if not isinstance(message, Mapping) or not isinstance(message.get("role"), str):
        raise InvalidArgumentError(f"[chat_template] messages[{index}]; expected an object with a role")
    result = dict(message)
    result["content"] = _flat_content(index, message.get("content"))
    calls = message.get("tool_calls")
    if calls:
        result["tool_calls"] = [_parsed_call(call) for call in calls]
    return result


def _flat_content(index: int, content: Any) -> str:
    if content is None:
        return ""
    if isinstance(content, str):
        return content
    texts = []
    for part in content if isinstance(content, (list, tuple)) else [content]:
        kind = part.get("type", "text") if isinstance(part, Mapping) else type(part).__name__
        text = part.get("text") if isinstance(part, Mapping) else None
        if kind != "text" or not isinstance(text, str):
            raise InvalidArgumentError(
                f"[chat_template] messages[{index}].content; got a part of type {kind!r}; expected text"
            )
        texts.append(text)
    return "\n".join(texts)


def _parsed_call(call: Any) -> Any:
    """Templates expect the arguments of a call as an object; clients send them as JSON text."""
    if not isinstance(call, Mapping) or not isinstance(call.get("function"), Mapping):
        return call
    function = dict(call["function"])
    if isinstance(function.get("arguments"), str):
        try:
            arguments = json.loads(function["arguments"])
        except (ValueError, RecursionError):
            return call
        if isinstance(arguments, dict):
            function["arguments"] = arguments
    return {**call, "function": function}


def _map_texts(value: Any, change: Callable[[str], str], key: str = "") -> Any:
    """A copy of nested lists and objects with every text changed, but for the format's own words and keys."""
    if isinstance(value, str):
        return value if value in _KNOWN_WORDS.get(key, ()) else change(value)
    if isinstance(value, Mapping):
        return {
            (name if not isinstance(name, str) or name.isidentifier() else change(name)): _map_texts(
                item, change, name if isinstance(name, str) else ""
            )
            for name, item in value.items()
        }
    if isinstance(value, (list, tuple)):
        return [_map_texts(item, change) for item in value]
    return value


def _texts(value: Any) -> Iterable[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        for name, item in value.items():
            yield from _texts(name)
            yield from _texts(item)
    elif isinstance(value, (list, tuple)):
        for item in value:
            yield from _texts(item)


def _unused_mark(values: Any) -> str:
    used = {mark for text in _texts(values) if not text.isascii() for mark in _MARKS if mark in text}
    for mark in _MARKS:
        if mark not in used:
            return mark
    raise InvalidArgumentError("[chat_template] the messages hold every noncharacter from U+FDD0 to U+FDEF")
