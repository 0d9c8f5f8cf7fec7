"""A model's chat template: conversations into prompts."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from typing import Any

import jinja2
from jinja2.exceptions import SecurityError

from llmcore.control_tokens import ControlTokens, escaped
from llmcore.errors import InvalidArgumentError, ModelError
from llmcore.template_features import check_features
from llmcore.template_sandbox import (
    TemplateEnvironment,
    TemplateLimitError,
    TemplateRefusal,
    render_within_limits,
)

MAX_SOURCE = 1 << 18  # characters; published ones stay below a tenth of it
MAX_DEPTH = 64  # of lists and objects within messages and tools
_MAX_WORDS = 400  # characters of a template's complaint

# Words of the format, not of its users: templates compare them with literals.
_KNOWN_WORDS = {
    "role": frozenset(
        (
            *("system", "developer", "user", "assistant", "tool", "function"),
            *("ipython", "model", "tools", "observation"),
        )
    ),
    "type": frozenset(
        ("function", "text", "object", "array", "string", "number", "integer", "boolean", "null")
    ),
}
_ARGUMENTS = ("messages", "tools", "add_generation_prompt")
# Noncharacters: Unicode reserves them for uses inside a program.
_MARKS = [chr(code) for code in range(0xFDD0, 0xFDF0)]


class ChatTemplate:
    """A Jinja chat template in a sandbox. Immutable; safe to share between threads."""

    def __init__(
        self,
        source: str,
        bos_token: str = "",
        eos_token: str = "",
        variables: Mapping[str, object] | None = None,
    ) -> None:
        """`bos_token` and `eos_token` are the texts templates know by these names; `variables` are others.

        Raises ModelError, with the line, for a template that does not compile or asks for what there is not.
        """
        if len(source) > MAX_SOURCE:
            raise ModelError(
                f"[chat_template] length; got {len(source)}; expected at most {MAX_SOURCE} characters"
            )
        if not _is_unicode(source):
            raise ModelError("[chat_template] the model's chat template is broken: it is not UTF-8")
        self.source = source
        self._specials = {**(variables or {}), "bos_token": bos_token, "eos_token": eos_token}
        self._knows_developers = "developer" in source
        environment = TemplateEnvironment()
        try:
            tree = environment.parse(source)
            names = check_features(environment, tree, {*self._specials, *_ARGUMENTS})
            self.knows_tools = "tools" in names
            self._template = environment.from_string(tree)
        except jinja2.TemplateSyntaxError as error:
            where = f"line {error.lineno}: {_brief(error.message)}"
            raise ModelError(f"[chat_template] the model's chat template is broken: {where}") from error
        except (jinja2.TemplateError, RecursionError, SyntaxError, ValueError, MemoryError) as error:
            raise ModelError(
                f"[chat_template] the model's chat template is broken: {_brief(error)}"
            ) from error

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
        self._check(messages, tools, variables)
        return self._render(self._normalize(messages), add_generation_prompt, tools, variables)

    def try_out(self) -> None:
        """Renders one short question. Raises ModelError if that breaks a limit of the sandbox.

        A template may refuse or fail for other reasons: it may want other messages.
        """
        with suppress(InvalidArgumentError):
            self.render([{"role": "user", "content": "?"}])

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
        self._check(messages, tools, variables)
        plain = self._normalize(messages)
        tool_list = list(tools) if tools else None
        mark = _unused_mark([plain, tool_list, variables])

        def marked(change: Callable[[str, str], str]) -> tuple[Any, ...]:
            return tuple(
                _map_texts(
                    value, lambda text: change(text, mark), lambda name: controls.mark_names(name, mark)
                )
                for value in (plain, tool_list, variables)
            )

        light, strict = marked(controls.mark_names), marked(controls.mark_all)
        text = self._render(light[0], add_generation_prompt, light[1], light[2])
        if strict == light:
            return text, mark
        strict_text = self._render(strict[0], add_generation_prompt, strict[1], strict[2])
        if controls.sequence(text, mark) == controls.sequence(strict_text, mark):
            return text, mark
        return strict_text, mark

    def _check(
        self,
        messages: Sequence[Mapping[str, Any]],
        tools: Sequence[Mapping[str, Any]] | None,
        variables: Mapping[str, Any],
    ) -> None:
        if tools and not self.knows_tools:
            raise InvalidArgumentError("[chat_template] the model's chat template has no place for tools")
        if _deeper_than(MAX_DEPTH, [messages, tools, variables]):
            raise InvalidArgumentError(
                f"[chat_template] messages or tools hold more than {MAX_DEPTH} levels of lists and objects"
            )

    def _normalize(self, messages: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
        normal = [_normalize_message(index, message) for index, message in enumerate(messages)]
        for message in normal:
            if message["role"] == "developer" and not self._knows_developers:
                message["role"] = "system"  # the role's older name
        return normal

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
            "tools": tools or None,
            "add_generation_prompt": add_generation_prompt,
        }
        size = sum(map(len, _texts([messages, tools, variables])))
        try:
            return render_within_limits(self._template, scope, size)
        except TemplateRefusal as error:
            raise InvalidArgumentError(
                f"[chat_template] the model's chat template says: {_brief(error)}"
            ) from error
        except (TemplateLimitError, SecurityError, RecursionError, MemoryError) as error:
            raise ModelError(
                f"[chat_template] the model's chat template breaks a limit: {_brief(error)}"
            ) from error
        except Exception as error:  # whatever a template's expressions can raise
            raise InvalidArgumentError(
                f"[chat_template] the model's chat template cannot render these messages: {_brief(error)}"
            ) from error


def _normalize_message(index: int, message: Mapping[str, Any]) -> dict[str, Any]:
    if not isinstance(message, Mapping) or not isinstance(message.get("role"), str):
        raise InvalidArgumentError(f"[chat_template] messages[{index}]; expected an object with a role")
    result = dict(message)
    result["content"] = _flat_content(index, message.get("content"))
    calls = result.pop("tool_calls", None)
    if calls:  # Templates ask whether there is a list, not whether it is empty.
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
            too_deep = _deeper_than(MAX_DEPTH, arguments)
        except ValueError:
            return call
        except RecursionError:
            too_deep = True
        if too_deep:
            raise InvalidArgumentError(
                f"[chat_template] a call's arguments hold more than {MAX_DEPTH} levels of lists and objects"
            )
        if isinstance(arguments, dict) and all(map(_is_unicode, _texts(arguments))):
            function["arguments"] = arguments
    return {**call, "function": function}


def _map_texts(
    value: Any, change: Callable[[str], str], change_key: Callable[[str], str], key: str = ""
) -> Any:
    """A copy of nested lists and objects with every text changed, but for the format's own words.

    Keys that templates may know by name are changed by `change_key`.
    """
    if isinstance(value, str):
        return value if value in _KNOWN_WORDS.get(key, ()) else change(value)
    if isinstance(value, Mapping):
        changed = {}
        for name, item in value.items():
            text = name if isinstance(name, str) else ""
            if text:
                name = change_key(text) if text.isidentifier() else change(text)  # noqa: PLW2901
            changed[name] = _map_texts(item, change, change_key, text)
        return changed
    if isinstance(value, (list, tuple)):
        return [_map_texts(item, change, change_key) for item in value]
    return value


def _is_unicode(text: str) -> bool:
    """Whether the file's bytes were UTF-8: others arrive as lone surrogates."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _deeper_than(limit: int, value: Any) -> bool:
    """Whether lists and objects lie in one another more than `limit` times."""
    level = [value]
    for _ in range(limit + 2):
        level = [
            item
            for part in level
            if isinstance(part, (Mapping, list, tuple))
            for item in (part.values() if isinstance(part, Mapping) else part)
        ]
        if not level:
            return False
    return True


def _brief(error: object) -> str:
    """An error's words, which a template may have chosen, fit for one line of a message."""
    text = " ".join(str(error).split())
    text = "".join(char if char.isprintable() else "?" for char in text[:_MAX_WORDS])
    return text + "…" if len(text) == _MAX_WORDS else text


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
    used: set[str] = set()
    for text in _texts(values):
        if not text.isascii() or "\\ufd" in text:
            used.update(mark for mark in _MARKS if mark in text or escaped(mark) in text)
    for mark in _MARKS:
        if mark not in used:
            return mark
    raise InvalidArgumentError("[chat_template] the messages hold every noncharacter from U+FDD0 to U+FDEF")
