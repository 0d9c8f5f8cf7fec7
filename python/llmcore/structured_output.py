"""What form a generated text must have."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, get_args

from llmcore.errors import GrammarError, InvalidArgumentError

Kind = Literal["json_schema", "json_object", "regex", "lark", "gbnf"]

# In characters; far above what people write, and it bounds the time that compiling takes.
_LONGEST = 64 * 1024


@dataclass(frozen=True, slots=True)
class StructuredOutput:
    """A form that the whole text must have; immutable.

    kind: "json_schema" (value: the schema, a mapping or JSON text), "json_object" (any object; no value),
    "regex" (the Rust regex syntax, the whole text must match), "lark" (llguidance's dialect of Lark) or
    "gbnf" (llama.cpp's). `value` is kept as text.

    Every token is chosen among those that can still lead to such a text, so a text that ends by itself
    (finish_reason "stop" without a stop string or stop token of the request's) has the form; one that
    `max_tokens` cuts off is the beginning of one. Raises InvalidArgumentError for an unknown kind,
    GrammarError for a value that cannot be read.
    """

    kind: Kind
    value: str | Mapping[str, Any] | bool = ""

    def __post_init__(self) -> None:
        if self.kind not in get_args(Kind):
            expected = ", ".join(get_args(Kind))
            raise InvalidArgumentError(f"[grammar] kind; got {self.kind!r}; expected one of {expected}")
        if self.kind == "json_schema":
            text = _schema_text(self.value)
        elif self.kind == "json_object":
            if self.value not in ("", True):
                raise InvalidArgumentError("[grammar] value of json_object; got one; expected none")
            text = ""
        elif isinstance(self.value, str) and self.value:
            text = self.value
        else:
            raise GrammarError(f"[grammar] value of {self.kind}; got {self.value!r}; expected a text")
        if len(text) > _LONGEST:
            raise GrammarError(
                f"[grammar] {self.kind} is too long; got {len(text)} characters; expected at most {_LONGEST}"
            )
        object.__setattr__(self, "value", text)

    @property
    def text(self) -> str:
        """The value; for "json_schema" as JSON."""
        assert isinstance(self.value, str)
        return self.value


def _schema_text(schema: object) -> str:
    try:
        if isinstance(schema, str):
            schema = json.loads(schema)
        text = json.dumps(schema, ensure_ascii=False, allow_nan=False)
    except (ValueError, TypeError, RecursionError) as error:
        raise GrammarError(f"[grammar] the JSON schema cannot be read: {error}") from error
    if not isinstance(schema, Mapping | bool):
        raise GrammarError(f"[grammar] JSON schema; got {text[:40]}; expected an object")
    return text
