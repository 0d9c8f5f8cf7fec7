"""A Jinja environment for chat templates that nobody has checked: no side effects, bounded time and size."""

from __future__ import annotations

import functools
import json
import re
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, MappingView, Sequence
from contextvars import ContextVar
from dataclasses import dataclass
from datetime import datetime
from typing import Any, NoReturn

import jinja2
from jinja2 import nodes
from jinja2.compiler import CodeGenerator, Frame
from jinja2.ext import Extension
from jinja2.filters import FILTERS
from jinja2.parser import Parser
from jinja2.sandbox import ImmutableSandboxedEnvironment
from jinja2.visitor import NodeTransformer

MAX_SECONDS = 5.0
MAX_TEXT = 1 << 20  # characters, on top of what the messages bring
MAX_INTEGER_BITS = 256

_FILTERS = (
    "abs", "batch", "capitalize", "d", "default", "dictsort", "e", "escape", "first", "float", "groupby",
    "indent", "int", "items", "join", "last", "length", "count", "list", "lower", "map", "max", "min",
    "reject", "rejectattr", "replace", "reverse", "round", "safe", "select", "selectattr", "slice", "sort",
    "string", "sum", "title", "trim", "truncate", "unique", "upper", "wordcount",
)  # fmt: skip
# Their results, or those of bytes' methods, can be far larger than what they are given.
_GROWING_METHODS = frozenset(
    ("center", "ljust", "rjust", "zfill", "expandtabs", "translate", "encode", "to_bytes")
)
_MAX_FIELD = 999  # characters; see _WIDE_FIELD
_SIZED = (str, bytes, list, tuple, dict, MappingView)
_WIDE_FIELD = re.compile(r"\d{4}|\*|:[^}]*\{")


class TemplateRefusal(jinja2.TemplateError):
    """The template called raise_exception."""


class TemplateLimitError(jinja2.TemplateError):
    """The template asks for more time or memory than it may have."""


@dataclass
class _Budget:
    """`earliest_end` by the wall's clock, `end` by this thread's own."""

    earliest_end: float
    end: float
    max_text: int


_budget: ContextVar[_Budget] = ContextVar("template_budget")


def _tick() -> None:
    budget = _budget.get()
    # The thread's clock counts, as a busy machine makes no template a hostile one; the wall's is read faster.
    if time.monotonic() > budget.earliest_end and time.thread_time() > budget.end:
        raise TemplateLimitError(f"it runs for more than {MAX_SECONDS:g} seconds")


def _check_size(size: int) -> None:
    if size > _budget.get().max_text:
        raise TemplateLimitError(f"it makes a value of {size} elements")


def _bounded(value: Any) -> Any:
    """Lets a value pass that is not too large."""
    _weigh(value)
    return value


def _weigh(value: Any) -> int:
    """Characters and elements of a value as it would be printed, what it holds twice counted twice."""
    # Each object is weighed once, so that nesting that doubles the size does not double the work. Items of
    # views are made as they are asked for: `kept` lets no address be used a second time.
    weights: dict[int, int] = {}
    kept: list[Any] = []
    pending: list[tuple[Any, list[Any] | None]] = [(value, None)]
    while pending:
        part, parts = pending.pop()
        if id(part) in weights:
            continue
        if parts is None:
            parts = _parts(part)
            kept.append(part)
            if any(id(inner) not in weights for inner in parts):
                pending.append((part, parts))
                pending.extend((inner, None) for inner in parts)
                continue
        size = (len(part) if isinstance(part, _SIZED) else 0) + sum(weights[id(inner)] for inner in parts)
        _check_size(size)
        weights[id(part)] = size
    return weights[id(value)]


def _parts(value: Any) -> list[Any]:
    if isinstance(value, dict):
        return [*value, *value.values()]
    return list(value) if isinstance(value, (list, tuple, MappingView)) else []  # type: ignore[arg-type]


def _check_format(pattern: str, mark: str, arguments: Any) -> None:
    if _WIDE_FIELD.search(pattern):
        raise TemplateLimitError("a format string with a wide field")
    _check_size(len(pattern) + pattern.count(mark) * (_MAX_FIELD + _weigh(arguments)))


def _guarded(function: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(function)
    def guarded(*args: Any, **kwargs: Any) -> Any:
        _tick()
        return _bounded(function(*args, **kwargs))

    return guarded


def _counted(iterable: Iterable[Any]) -> Iterator[Any]:
    for item in iterable:
        _tick()
        yield item


def _concat(*parts: Any) -> str:
    _tick()
    return str(_bounded("".join(map(str, parts))))


def _join(value: Iterable[Any], d: str = "", attribute: str | int | None = None) -> str:
    items = list(value)
    if attribute is not None:
        items = [item.get(attribute, "") if isinstance(item, Mapping) else item[attribute] for item in items]
    texts = [str(item) for item in items]
    _check_size(sum(map(len, texts)) + len(d) * len(texts))
    return d.join(texts)


def _replace(text: Any, old: Any, new: Any, count: int | None = None) -> str:
    text, old, new = str(text), str(old), str(new)
    _check_size(len(text) + len(new) * text.count(old))
    return str(text.replace(old, new, -1 if count is None else count))


def _indent(text: str, width: int | str = 4, first: bool = False, blank: bool = False) -> str:
    size = len(width) if isinstance(width, str) else int(width)
    _check_size(len(text) + size * (text.count("\n") + 1))
    prefix = width if isinstance(width, str) else " " * size
    lines = text.splitlines(keepends=True)
    return "".join(
        prefix + line if (first or index) and (blank or line.strip()) else line
        for index, line in enumerate(lines)
    )


def _batch(value: Iterable[Any], linecount: int, fill_with: Any = None) -> list[list[Any]]:
    _check_size(linecount)
    items = list(value)
    rows = [items[start : start + linecount] for start in range(0, len(items), max(linecount, 1))]
    if rows and fill_with is not None:
        rows[-1] += [fill_with] * (linecount - len(rows[-1]))
    return rows


def _slice(value: Iterable[Any], slices: int, fill_with: Any = None) -> list[list[Any]]:
    _check_size(slices)
    items = list(value)
    each, longer = divmod(len(items), max(slices, 1))
    rows, start = [], 0
    for index in range(slices):
        end = start + each + (index < longer)
        row = items[start:end]
        if fill_with is not None and index >= longer:
            row.append(fill_with)
        rows.append(row)
        start = end
    return rows


def _to_json(
    value: Any,
    ensure_ascii: bool = False,
    indent: int | None = None,
    separators: tuple[str, str] | None = None,
    sort_keys: bool = False,
) -> str:
    """As templates expect it: characters as they are, no HTML escapes."""
    if indent is not None and not 0 <= indent <= 16:
        raise TemplateLimitError(f"tojson(indent={indent})")
    return json.dumps(
        value, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys
    )


def _round(value: float, precision: int = 0, method: str = "common") -> float:
    if not -_MAX_FIELD <= precision <= _MAX_FIELD:
        raise TemplateLimitError(f"round(precision={precision})")
    return float(FILTERS["round"](value, precision, method))


def _range(*args: int) -> range:
    result = range(*args)
    if len(result) > 1 << 16:
        raise TemplateLimitError(f"it asks for a range of {len(result)} numbers")
    return result


def _raise_exception(message: str) -> NoReturn:
    raise TemplateRefusal(message)


def _strftime_now(pattern: str) -> str:
    return datetime.now().strftime(pattern)


class _Namespace(jinja2.utils.Namespace):
    def __repr__(self) -> str:
        return "<Namespace>"  # Its values, which may be namespaces in turn, have no bound in sum.


class _Generation(Extension):
    """`{% generation %}` marks what the assistant says, for training; here its body alone counts."""

    tags = {"generation"}  # noqa: RUF012 (the base class's own form)

    def parse(self, parser: Parser) -> list[nodes.Node]:
        next(parser.stream)
        return parser.parse_statements(("name:endgeneration",), drop_needle=True)


def _call(name: str, arguments: Sequence[nodes.Node], line: int) -> nodes.Call:
    return nodes.Call(nodes.EnvironmentAttribute(name), list(arguments), [], None, None, lineno=line)


def _tick_statement(line: int) -> nodes.Node:
    return nodes.ExprStmt(_call("budget_tick", [], line), lineno=line)


class _Limiter(NodeTransformer):
    """Makes a template's loops, macros, concatenations, literals and captured blocks pass by the budget."""

    def visit_For(self, node: nodes.For) -> nodes.Node:
        self.generic_visit(node)
        node.iter = _call("budget_counted", [node.iter], node.lineno)
        if node.recursive:
            node.body.insert(0, _tick_statement(node.lineno))
        return node

    def visit_Macro(self, node: nodes.Macro) -> nodes.Node:
        self.generic_visit(node)
        node.body.insert(0, _tick_statement(node.lineno))
        return node

    def visit_Concat(self, node: nodes.Concat) -> nodes.Node:
        self.generic_visit(node)
        return _call("bounded_concat", node.nodes, node.lineno)

    def visit_List(self, node: nodes.List | nodes.Dict | nodes.Tuple) -> nodes.Node:
        self.generic_visit(node)
        return _call("budget_literal", [node], node.lineno)

    visit_Dict = visit_List

    def visit_Tuple(self, node: nodes.Tuple) -> nodes.Node:
        # The names that a loop or an assignment unpacks into are a tuple, too.
        return self.visit_List(node) if node.ctx == "load" else node

    def visit_AssignBlock(self, node: nodes.AssignBlock) -> nodes.Node:
        self.generic_visit(node)
        node.filter = nodes.Filter(node.filter, "bounded", [], [], None, None, lineno=node.lineno)
        return node


class _LimitedCode(CodeGenerator):
    def visit_Template(self, node: nodes.Template, frame: Frame | None = None) -> None:
        super().visit_Template(_Limiter().visit(node), frame)


class TemplateEnvironment(ImmutableSandboxedEnvironment):
    """The names chat templates use, and no others."""

    code_generator_class = _LimitedCode
    intercepted_binops = frozenset(("+", "*", "**", "%"))

    def __init__(self) -> None:
        super().__init__(
            trim_blocks=True,
            lstrip_blocks=True,
            extensions=["jinja2.ext.loopcontrols", _Generation],
            cache_size=0,
        )
        own = {
            "join": _join, "replace": _replace, "indent": _indent, "batch": _batch, "slice": _slice,
            "round": _round, "tojson": _to_json, "bounded": lambda value: value,
        }  # fmt: skip
        chosen = {name: FILTERS[name] for name in _FILTERS} | own
        self.filters = {name: _guarded(function) for name, function in chosen.items()}
        self.globals.pop("lipsum")
        self.globals["namespace"] = _Namespace
        self.globals["range"] = _range
        self.globals["raise_exception"] = _raise_exception
        self.globals["strftime_now"] = _strftime_now
        self.budget_tick = _tick
        self.budget_literal = lambda value: value
        self.budget_counted = _counted
        self.bounded_concat = _concat

    def is_safe_attribute(self, obj: Any, attr: str, value: Any) -> bool:
        if isinstance(obj, (str, int)) and attr in _GROWING_METHODS:
            return False
        return super().is_safe_attribute(obj, attr, value)

    def wrap_str_format(self, value: Any) -> Callable[..., str] | None:
        wrapped = super().wrap_str_format(value)
        if wrapped is None:
            return None

        def bounded(*args: Any, **kwargs: Any) -> str:
            _check_format(value.__self__, "{", [args, kwargs])
            return wrapped(*args, **kwargs)

        return bounded

    def call(self, context: jinja2.runtime.Context, obj: Any, *args: Any, **kwargs: Any) -> Any:
        _tick()
        owner = getattr(obj, "__self__", None)
        name = getattr(obj, "__name__", "")
        if isinstance(owner, str):
            if name == "join" and args:
                return _join(args[0], owner)
            if name == "replace":
                return _replace(owner, *args)
        return _bounded(super().call(context, obj, *args, **kwargs))

    def call_binop(self, context: jinja2.runtime.Context, operator: str, left: Any, right: Any) -> Any:
        _tick()
        if operator == "*":
            for sequence, times in ((left, right), (right, left)):
                if isinstance(sequence, Sequence) and isinstance(times, int):
                    _check_size(max(len(sequence), _weigh(sequence)) * times)
        if isinstance(left, int) and isinstance(right, int):
            _check_integers(operator, left, right)
        if operator == "%" and isinstance(left, str):
            _check_format(left, "%", right)
        return _bounded(super().call_binop(context, operator, left, right))


def _check_integers(operator: str, left: int, right: int) -> None:
    bits = left.bit_length() + right.bit_length()
    if operator == "**":
        bits = left.bit_length() * abs(right)
    if bits > MAX_INTEGER_BITS:
        raise TemplateLimitError("it computes with very large numbers")


def render_within_limits(template: jinja2.Template, variables: Mapping[str, Any], input_size: int) -> str:
    """Renders; TemplateLimitError past MAX_SECONDS of the processor's time, or MAX_TEXT characters beyond
    four times `input_size`."""
    budget = _Budget(
        time.monotonic() + MAX_SECONDS, time.thread_time() + MAX_SECONDS, MAX_TEXT + 4 * input_size
    )
    token = _budget.set(budget)
    try:
        size = 0
        parts: list[str] = []
        for part in template.generate(variables):
            size += len(part)
            _check_size(size)
            parts.append(part)
        return "".join(parts)
    finally:
        _budget.reset(token)
