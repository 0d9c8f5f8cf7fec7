"""What callers hand in with a request, checked before the engine sees it."""

from __future__ import annotations

import numbers
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from llmcore.errors import InvalidArgumentError
from llmcore.sampling_params import SamplingParams, given_params
from llmcore.value_checks import is_integer, is_number, is_word, refusal

Prompt = str | Sequence[int]
"""A text or token ids."""


def prompt_list(prompts: str | Sequence[Prompt]) -> list[Prompt]:
    """One prompt a request; a text alone is one. Raises InvalidArgumentError for a flat list of token ids."""
    if isinstance(prompts, str):
        return [prompts]
    try:
        if isinstance(prompts, bytes | bytearray | Mapping):
            raise TypeError
        listed = list(prompts)
    except TypeError:
        raise refusal("llm", "prompts", prompts, "a text, or a list of texts or of lists of ids") from None
    if any(isinstance(prompt, numbers.Integral) for prompt in listed):
        raise InvalidArgumentError("[llm] prompts; got a list of token ids; expected a list of such lists")
    return listed


def token_list(ids: Sequence[int]) -> Sequence[int]:
    """Token ids as they are; each is checked where it is used. Raises InvalidArgumentError for no list."""
    if isinstance(ids, list | tuple):
        return ids
    try:
        if isinstance(ids, str | bytes | bytearray | Mapping):
            raise TypeError
        iter(ids)
        len(ids)
    except TypeError:
        raise refusal("llm", "prompt", ids, "a text or a list of token ids") from None
    return ids


def params_list(params: SamplingParams | Sequence[SamplingParams] | None, count: int) -> list[SamplingParams]:
    """Parameters of each of `count` prompts."""
    if isinstance(params, list | tuple):
        return [given_params(one) for one in _one_each("params", params, count)]
    return [given_params(params)] * count


def adapter_list(lora: str | Sequence[str | None] | None, count: int) -> list[str | None]:
    """The adapter of each of `count` prompts."""
    return _one_each("lora", lora, count)


def _one_each(name: str, given: Any, count: int) -> list[Any]:
    """What is given for each prompt, or one thing for all."""
    if not isinstance(given, list | tuple):
        return [given] * count
    if len(given) != count:
        raise InvalidArgumentError(
            f"[llm] {name}; got {len(given)}; expected one, or one for each of {count} prompts"
        )
    return list(given)


def chat_params(params: SamplingParams | None) -> SamplingParams:
    """Parameters of a conversation's one answer."""
    given = given_params(params)
    if given.n != 1:
        raise InvalidArgumentError(f"[llm] n of a chat; got {given.n}; expected 1")
    return given


def adapter_name(lora: str | None) -> str:
    """As the core takes it: none is an empty one."""
    if lora is None:
        return ""
    if not lora or not is_word(lora):
        raise refusal("lora", "no such adapter", lora, "a name, or None")
    return lora


def refused_types(prompt: Sequence[int], rest: Mapping[str, Any]) -> InvalidArgumentError:
    """Why the core could not read a request: called only where it could not, for what is wrong is rare and
    prompts are long."""
    for token in prompt:
        if not is_integer(token, -(1 << 31), (1 << 31) - 1):
            return refusal("engine", "prompt token", token, "token ids of the vocabulary")
    for name, value in rest.items():
        expected = _EXPECTED.get(name)
        if expected is not None and not expected[0](value):
            return refusal("engine", name, value, expected[1])
    return InvalidArgumentError("[engine] a value of the request has a type that the engine does not take")


_EXPECTED: dict[str, tuple[Callable[[object], bool], str]] = {
    "priority": (lambda value: is_integer(value, -(1 << 63), (1 << 63) - 1), "an integer"),
    "tenant": (is_word, "a name, or None"),
    "deadline": (lambda value: value is None or is_number(value), "seconds, or None"),
    "pooling": (lambda value: value is None or is_word(value), "mean, cls, last, or None"),
}
