"""How to sample and when to stop."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields
from operator import attrgetter
from typing import Any

from llmcore.errors import InvalidArgumentError
from llmcore.structured_output import StructuredOutput
from llmcore.value_checks import is_flag, is_integer, is_number, is_unicode, refusal

_MAX_SEQUENCES = 128
_MAX_LOGPROBS = 1000


@dataclass(frozen=True, slots=True)
class SamplingParams:
    """Sampling and stopping of one request; immutable. Raises InvalidArgumentError that names a value out of
    range.

    Logits are changed in this order: `logit_bias`, penalties, then greedy choice, or temperature,
    `top_n_sigma`, `top_k`, `typical_p`, `top_p`, `min_p`, `xtc_probability` and one draw. The draws depend on
    the seed and the token's place alone; other requests in the same steps change the logits by rounding at
    most (not at all in deterministic mode), so a seed gives the same tokens again unless two are as good as
    equal.
    """

    max_tokens: int | None = 128
    """Tokens to generate at most; None: as many as the context holds."""
    temperature: float = 1.0
    """Divides the logits; 0 takes the likeliest token, the lowest id among equals."""
    top_k: int = 0
    """Only the k likeliest tokens; 0 is off."""
    top_p: float = 1.0
    """Only the fewest tokens whose probabilities reach this sum (Holtzman et al. 2020); 1 is off."""
    min_p: float = 0.0
    """Only tokens at least this times as likely as the likeliest (Nguyen et al. 2024); 0 is off."""
    seed: int | None = None
    """None: a random one."""
    stop: str | Sequence[str] = ()
    """Texts that end the output; they are not part of it."""
    stop_token_ids: Sequence[int] = ()
    """Tokens that end the output like the model's own end tokens."""
    min_tokens: int = 0
    """No end token and no stop text before that many tokens."""
    ignore_eos: bool = False
    """Go on after the model's end tokens."""
    logprobs: int | None = None
    """Report each token's log-probability and that many likeliest tokens; 0: its own alone."""
    prompt_logprobs: int | None = None
    """The same for the prompt's tokens."""
    n: int = 1
    """Completions of the prompt, each with a seed of its own."""
    best_of: int | None = None
    """Generate that many, return the `n` with the highest mean log-probability a token."""
    repetition_penalty: float = 1.0
    """Above 1 makes tokens of prompt and output less likely (Keskar et al. 2019); 1 is off."""
    frequency_penalty: float = 0.0
    """Subtracted from a token's logit for each time it is in the output."""
    presence_penalty: float = 0.0
    """Subtracted once from the logit of a token that is in the output."""
    logit_bias: Mapping[int, float] | None = None
    """Added to the logits of these token ids."""
    typical_p: float = 1.0
    """Only the tokens whose information is nearest to what is expected, until their probabilities reach this
    sum (Meister et al. 2022); 1 is off."""
    top_n_sigma: float = 0.0
    """Only tokens whose logit is within so many standard deviations of the largest (Tang et al. 2024); 0 is
    off."""
    xtc_probability: float = 0.0
    """How often the top choices are excluded (XTC): of the tokens with at least `xtc_threshold`, all but the
    least likely; 0 is off."""
    xtc_threshold: float = 0.1
    mirostat: int = 0
    """1 or 2: that version of Mirostat (Basu et al. 2021) instead of the other filters; 0 is off."""
    mirostat_tau: float = 5.0
    """The surprise to hold, in bits a token."""
    mirostat_eta: float = 0.1
    """How fast it is corrected."""
    dry_multiplier: float = 0.0
    """Penalty of tokens that would lengthen a repetition (DRY): so much, times `dry_base` to the power of the
    repetition's length beyond `dry_allowed_length`; 0 is off."""
    dry_base: float = 1.75
    dry_allowed_length: int = 2
    dry_range: int = 0
    """How many of the last tokens it looks at; 0: all."""
    dry_sequence_breakers: Sequence[str] = ("\n", ":", '"', "*")
    """Repetitions do not reach over tokens with one of these."""
    structured: StructuredOutput | None = None
    """The form the text must have; it has the last word over penalties, `min_tokens` and `ignore_eos`: a text
    that is complete ends."""

    def __post_init__(self) -> None:
        # Most parameters of most requests are the defaults, which are known to be sound.
        for value, (name, default, check) in zip(_VALUES(self), _CHECKS, strict=True):
            if value is not default and (kept := check(name, value)) is not value:
                object.__setattr__(self, name, kept)
        if self.best_of is not None and self.best_of < self.n:
            raise _refuse("best_of", self.best_of, f"an integer from {self.n} to {_MAX_SEQUENCES}")

    @property
    def filters(self) -> dict[str, Any]:
        """Those of the rarer sampling parameters that are on, by name."""
        on = {
            "typical": self.typical_p < 1,
            "top_n_sigma": self.top_n_sigma > 0,
            "xtc": self.xtc_probability > 0,
            "mirostat": self.mirostat > 0,
            "dry": self.dry_multiplier > 0,
        }
        return {
            name: getattr(self, name) for filter_, is_on in on.items() if is_on for name in _FILTERS[filter_]
        }

    @property
    def n_sequences(self) -> int:
        """Completions to generate: `best_of` if given, else `n`."""
        return self.n if self.best_of is None else self.best_of


# What belongs to each.
_FILTERS = {
    "typical": ("typical_p",),
    "top_n_sigma": ("top_n_sigma",),
    "xtc": ("xtc_probability", "xtc_threshold"),
    "mirostat": ("mirostat", "mirostat_tau", "mirostat_eta"),
    "dry": ("dry_multiplier", "dry_base", "dry_allowed_length", "dry_range", "dry_sequence_breakers"),
}


def _refuse(name: str, got: object, expected: str) -> InvalidArgumentError:
    return refusal("sampling", name, got, expected)


_Check = Callable[[str, Any], Any]
"""Gives the value as it is kept, or raises with the parameter's name."""


def _integer(least: int, most: int, *, optional: bool = False) -> _Check:
    def check(name: str, value: Any) -> int | None:
        if type(value) is int and least <= value <= most:
            return value
        if value is None and optional:
            return None
        if not is_integer(value, least, most):
            raise _refuse(name, value, f"an integer from {least} to {most}")
        return int(value)

    return check


def _number(least: float, most: float, *, above: bool = False) -> _Check:
    excluded = least if above else None

    def check(name: str, value: Any) -> float:
        kind = type(value)
        if (kind is float or kind is int) and least <= value <= most and value != excluded:
            return value  # type: ignore[no-any-return]
        if not is_number(value) or not least <= value <= most or value == excluded:
            bounds = f"above {least} and at most {most}" if above else f"from {least} to {most}"
            raise _refuse(name, value, f"a number {bounds}")
        return float(value)

    return check


def _flag(name: str, value: object) -> bool:
    if not is_flag(value):
        raise _refuse(name, value, "True or False")
    return bool(value)


def _texts(name: str, given: Any) -> tuple[str, ...]:
    try:
        texts = (given,) if isinstance(given, str) else () if given is None else tuple(given)
    except TypeError:
        raise _refuse(name, given, "a string or several") from None
    for text in texts:
        if not isinstance(text, str):
            raise _refuse(name, given, "a string or several")
        if not is_unicode(text):
            raise _refuse(name, text, "text without lone surrogates, which are not Unicode")
    return tuple([text for text in texts if text])


_TOKEN = _integer(0, (1 << 31) - 1)


def _token_ids(name: str, given: Any) -> tuple[int, ...]:
    try:
        tokens = () if given is None else tuple(given)
    except TypeError:
        raise _refuse(name, given, "a list of token ids") from None
    return tuple(_TOKEN(name, token) for token in tokens)


_BIAS = _number(-1e6, 1e6)


def _biases(name: str, given: object) -> dict[int, float] | None:
    if given is None:
        return None
    if not isinstance(given, Mapping):
        raise _refuse(name, given, "a mapping of token ids to numbers")
    checked: dict[int, float] = {}
    for token, bias in given.items():
        # JSON has no integer keys.
        digits = isinstance(token, str) and token.isascii() and token.isdigit() and len(token) < 20
        checked[_TOKEN("logit_bias token", int(token) if digits else token)] = float(_BIAS(name, bias))
    return checked


def _structured(name: str, given: object) -> StructuredOutput | None:
    if given is not None and not isinstance(given, StructuredOutput):
        raise _refuse(name, given, "a StructuredOutput")
    return given


_COUNT = _integer(0, 1 << 40)
_PENALTY = _number(-100.0, 100.0)
_FACTOR = _number(0.0, 100.0)
_PROBABILITY = _number(0.0, 1.0)
_SHARE = _number(0.0, 1.0, above=True)

_RULES: dict[str, _Check] = {
    "max_tokens": _integer(1, 1 << 40, optional=True),
    "temperature": _FACTOR,
    "top_k": _COUNT,
    "top_p": _SHARE,
    "min_p": _PROBABILITY,
    "seed": _integer(-(1 << 63), (1 << 64) - 1, optional=True),
    "stop": _texts,
    "stop_token_ids": _token_ids,
    "min_tokens": _COUNT,
    "ignore_eos": _flag,
    "logprobs": _integer(0, _MAX_LOGPROBS, optional=True),
    "prompt_logprobs": _integer(0, _MAX_LOGPROBS, optional=True),
    "n": _integer(1, _MAX_SEQUENCES),
    "best_of": _integer(1, _MAX_SEQUENCES, optional=True),
    "repetition_penalty": _number(0.0, 100.0, above=True),
    "frequency_penalty": _PENALTY,
    "presence_penalty": _PENALTY,
    "logit_bias": _biases,
    "typical_p": _SHARE,
    "top_n_sigma": _FACTOR,
    "xtc_probability": _PROBABILITY,
    "xtc_threshold": _PROBABILITY,
    "mirostat": _integer(0, 2),
    "mirostat_tau": _FACTOR,
    "mirostat_eta": _PROBABILITY,
    "dry_multiplier": _FACTOR,
    "dry_base": _number(1.0, 100.0),
    "dry_allowed_length": _integer(1, 1 << 40),
    "dry_range": _COUNT,
    "dry_sequence_breakers": _texts,
    "structured": _structured,
}
# Name, default and check of every parameter.
_CHECKS = tuple((field.name, field.default, _RULES[field.name]) for field in fields(SamplingParams))
_VALUES = attrgetter(*[name for name, _, _ in _CHECKS])


def given_params(params: object) -> SamplingParams:
    """What a request was given: its own parameters, or the defaults for None. Raises InvalidArgumentError."""
    if params is None:
        return SamplingParams()
    if not isinstance(params, SamplingParams):
        raise refusal("sampling", "params", params, "SamplingParams, or None")
    return params
