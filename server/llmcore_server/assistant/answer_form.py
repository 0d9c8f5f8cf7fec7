"""The form an answer must have: OpenAI's ``response_format``, and what a forced call looks like."""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from llmcore_server.assistant import tagged_calls
from llmcore_server.bodies.choices import invalid, unsupported
from llmcore_server.errors import ApiError, Text

_NAME = re.compile(r"[A-Za-z0-9_-]{1,64}")
# Levels of a schema that are looked into; deeper ones the grammar refuses itself.
_MAX_DEPTH = 64
# Of schemas within a grammar: nothing is left out of account, and white space between parts is short.
_STRICTLY = {"x-guidance": {"lenient": False, "whitespace_pattern": r"[\x20\x0A\x0D\x09]{1,20}"}}
_COMPACTLY = {"x-guidance": {"whitespace_flexible": False, "whitespace_pattern": None}}
# What a schema holds that is data, though it may look like a reference.
_DATA = frozenset(("const", "enum", "default", "examples"))


@dataclass(frozen=True)
class AnswerForm:
    """``param`` is the parameter that asks for it; ``value`` is a JSON schema, a grammar, or empty for any
    object."""

    kind: Literal["json_schema", "json_object", "lark"]
    param: str
    value: dict[str, Any] | str = ""

    @property
    def schema(self) -> dict[str, Any]:
        """As a JSON schema."""
        return self.value if isinstance(self.value, dict) else {"type": "object"}


def read_format(given: Mapping[str, Any] | None, param: str) -> AnswerForm | None:
    """Return the form of ``response_format``, or of ``text.format``, which has the same parts in one object.

    ``compact``, an extension, leaves no white space between JSON's parts, in which small models may wander.
    Raises `ApiError` for one that cannot be served; nothing is left out of account.
    """
    kind = None if given is None else given.get("type")
    if given is None or kind == "text":
        return None
    if kind == "json_object":
        # llama.cpp's server takes a schema here too.
        schema = given.get("schema")
        form = AnswerForm("json_object", param)
        if schema is not None:
            form = AnswerForm("json_schema", param, _checked(schema, f"{param}.schema", strict=False))
    elif kind == "json_schema":
        form = _schema_form(given, param)
    else:
        raise unsupported(f"{param}.type", str(kind)[:40])
    compact = given.get("compact")
    if compact is not None and not isinstance(compact, bool):
        raise invalid(f"{param}.compact", "应为布尔值", "must be true, false or null")
    return AnswerForm("json_schema", param, {**form.schema, **_COMPACTLY}) if compact else form


def forced_call_form(tools: Sequence[dict[str, Any]], name: str | None) -> AnswerForm:
    """Return the form of a call of one of the tools, or of the one of that name."""
    functions = [tool["function"] for tool in tools if name in (None, tool["function"]["name"])]
    definitions: dict[str, Any] = {}
    calls = []
    for number, function in enumerate(functions):
        place = f"#/$defs/tool{number}"
        parameters = {"type": "object", **function["parameters"]}
        definitions[f"tool{number}"] = _moved(parameters, place)
        calls.append(
            {
                "type": "object",
                "properties": {"name": {"const": function["name"]}, "arguments": {"$ref": place}},
                "required": ["name", "arguments"],
                "additionalProperties": False,
            }
        )
    schema = calls[0] if len(calls) == 1 else {"anyOf": calls}
    return AnswerForm("json_schema", "tools", {**schema, "$defs": definitions})


def form_or_call(form: AnswerForm, tools: Sequence[dict[str, Any]], *, tagged: bool) -> AnswerForm:
    """Return the form of an answer that is a call of one of the tools instead, if the model would rather.

    tagged: the model writes calls between tags; others write the bare object.
    """
    call = forced_call_form(tools, None).schema
    if not tagged:
        definitions = {**call.pop("$defs"), "answer": _moved(form.schema, "#/$defs/answer")}
        calls = call.get("anyOf", [call])
        either = [*calls, {"$ref": "#/$defs/answer"}]
        return AnswerForm("json_schema", form.param, {"anyOf": either, "$defs": definitions})
    grammar = f"""start: answer | call
call: {json.dumps(tagged_calls.OPEN)} "\\n" object "\\n" {json.dumps(tagged_calls.CLOSE)}
object: %json {json.dumps({**call, **_STRICTLY})}
answer: %json {json.dumps({**form.schema, **_STRICTLY})}
"""
    return AnswerForm("lark", form.param, grammar)


def free_text_or_calls(
    tools: Sequence[dict[str, Any]], strict: Collection[str], *, parallel: bool
) -> AnswerForm:
    """Return the form of a text with calls between tags in it, or without: what is between tags is a call of
    one of the tools, and the arguments of the ``strict`` ones have their schema."""
    loose = [tool if tool["function"]["name"] in strict else _of_any_arguments(tool) for tool in tools]
    call = forced_call_form(loose, None).schema
    opened, closed = tagged_calls.OPEN, tagged_calls.CLOSE
    grammar = f"""start: (before call){"*" if parallel else "?"} LAST
before[lazy]: /(?s:.*){opened}/
call: GAP? object GAP? {json.dumps(closed)}
GAP: /[ \\t\\r\\n]{{1,8}}/
object: %json {json.dumps({**call, **_STRICTLY})}
LAST: /(?s:.*)/ & ~/(?s:.*){opened}(?s:.*)/
"""
    return AnswerForm("lark", "tools", grammar)


def _of_any_arguments(tool: dict[str, Any]) -> dict[str, Any]:
    return {**tool, "function": {**tool["function"], "parameters": {}}}


def _schema_form(given: Mapping[str, Any], param: str) -> AnswerForm:
    inner = "" if "schema" in given else ".json_schema"
    part = given if "schema" in given else given.get("json_schema")
    if not isinstance(part, Mapping):
        raise invalid(f"{param}.json_schema", "缺少", "is missing")
    name, strict = part.get("name"), part.get("strict")
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        raise invalid(
            f"{param}{inner}.name",
            "应为 1 至 64 个字母、数字、_ 或 -",
            "must be 1 to 64 letters, digits, _ or -",
        )
    if strict is not None and not isinstance(strict, bool):
        raise invalid(f"{param}{inner}.strict", "应为布尔值", "must be true, false or null")
    schema = _checked(part.get("schema"), f"{param}{inner}.schema", strict=bool(strict))
    return AnswerForm("json_schema", param, schema)


def _checked(schema: Any, param: str, *, strict: bool) -> dict[str, Any]:
    if not isinstance(schema, dict):
        raise invalid(param, "应为对象", "must be an object")
    if strict:
        _check_strict(schema, param, "", 0)
    return schema


def _check_strict(schema: Any, param: str, where: str, depth: int) -> None:
    """Hold a schema to what OpenAI asks of strict ones: objects closed, every property required."""
    if not isinstance(schema, dict) or depth > _MAX_DEPTH:
        return
    properties = schema.get("properties")
    if schema.get("type") == "object" or isinstance(properties, dict):
        names = set(properties) if isinstance(properties, dict) else set()
        required = schema.get("required")
        listed = {name for name in required if isinstance(name, str)} if isinstance(required, list) else set()
        if schema.get("additionalProperties") is not False:
            raise _not_strict(param, where, "'additionalProperties' must be false")
        if missing := sorted(names - listed):
            raise _not_strict(
                param, where, f"'required' must list every property; it lacks '{missing[0][:60]}'"
            )
    for key in ("properties", "$defs", "definitions"):
        part = schema.get(key)
        for name, inner in part.items() if isinstance(part, dict) else ():
            _check_strict(inner, param, f"{where}/{key}/{name}", depth + 1)
    for key in ("anyOf", "oneOf", "allOf", "prefixItems"):
        part = schema.get(key)
        for number, inner in enumerate(part if isinstance(part, list) else ()):
            _check_strict(inner, param, f"{where}/{key}/{number}", depth + 1)
    _check_strict(schema.get("items"), param, f"{where}/items", depth + 1)


def _not_strict(param: str, where: str, complaint: str) -> ApiError:
    said = f"at '{where[:200] or '/'}' of a strict schema, {complaint}"
    return ApiError("INVALID_SCHEMA", Text(said, said), param=param)


def _moved(value: Any, place: str, depth: int = 0) -> Any:
    """Return a schema whose references to its own root lead to its new place in another."""
    if depth > _MAX_DEPTH:
        raise invalid("tools", "嵌套过深", "hold a schema that is nested too deeply")
    if isinstance(value, list):
        return [_moved(item, place, depth + 1) for item in value]
    if not isinstance(value, dict):
        return value
    moved = {name: item if name in _DATA else _moved(item, place, depth + 1) for name, item in value.items()}
    reference = value.get("$ref")
    if isinstance(reference, str) and reference.startswith("#"):
        moved["$ref"] = place + reference[1:]
    return moved
