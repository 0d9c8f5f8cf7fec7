"""How to sample and when to stop."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from llmcore.errors import InvalidArgumentError
from llmcore.structured_output import StructuredOutput

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
        if self.max_tokens is not None:
            _check_int("max_tokens", self.max_tokens, 1, 1 << 40)
        _check_float("temperature", self.temperature, 0.0, 100.0)
        _check_int("top_k", self.top_k, 0, 1 << 40)
        _check_float("top_p", self.top_p, 0.0, 1.0, above=True)
        _check_float("min_p", self.min_p, 0.0, 1.0)
        if self.seed is not None:
            _check_int("seed", self.seed, -(1 << 63), (1 << 64) - 1)
        _check_int("min_tokens", self.min_tokens, 0, 1 << 40)
        for name in ("logprobs", "prompt_logprobs"):
            count = getattr(self, name)
            if count is not None:
                _check_int(name, count, 0, _MAX_LOGPROBS)
        _check_int("n", self.n, 1, _MAX_SEQUENCES)
        if self.best_of is not None:
            _check_int("best_of", self.best_of, self.n, _MAX_SEQUENCES)
        _check_float("repetition_penalty", self.repetition_penalty, 0.0, 100.0, above=True)
        _check_float("frequency_penalty", self.frequency_penalty, -100.0, 100.0)
        _check_float("presence_penalty", self.presence_penalty, -100.0, 100.0)
        _check_filters(self)
        object.__setattr__(self, "dry_sequence_breakers", _stop_texts(self.dry_sequence_breakers))
        object.__setattr__(self, "stop", _stop_texts(self.stop))
        object.__setattr__(self, "stop_token_ids", _token_ids(self.stop_token_ids))
        if self.logit_bias is not None:
            object.__setattr__(self, "logit_bias", _biases(self.logit_bias))
        if self.structured is not None and not isinstance(self.structured, StructuredOutput):
            raise _refuse("structured", self.structured, "a StructuredOutput")

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


def _check_filters(params: SamplingParams) -> None:
    _check_float("typical_p", params.typical_p, 0.0, 1.0, above=True)
    _check_float("top_n_sigma", params.top_n_sigma, 0.0, 100.0)
    _check_float("xtc_probability", params.xtc_probability, 0.0, 1.0)
    _check_float("xtc_threshold", params.xtc_threshold, 0.0, 1.0)
    _check_int("mirostat", params.mirostat, 0, 2)
    _check_float("mirostat_tau", params.mirostat_tau, 0.0, 100.0)
    _check_float("mirostat_eta", params.mirostat_eta, 0.0, 1.0)
    _check_float("dry_multiplier", params.dry_multiplier, 0.0, 100.0)
    _check_float("dry_base", params.dry_base, 1.0, 100.0)
    _check_int("dry_allowed_length", params.dry_allowed_length, 1, 1 << 40)
    _check_int("dry_range", params.dry_range, 0, 1 << 40)


def _refuse(name: str, got: object, expected: str) -> InvalidArgumentError:
    return InvalidArgumentError(f"[sampling] {name}; got {got!r}; expected {expected}")


def _check_int(name: str, value: object, least: int, most: int) -> None:
    if not isinstance(value, int) or isinstance(value, bool) or not least <= value <= most:
        raise _refuse(name, value, f"an integer from {least} to {most}")


def _check_float(name: str, value: object, least: float, most: float, *, above: bool = False) -> None:
    number = isinstance(value, int | float) and not isinstance(value, bool)
    if not number or not least <= value <= most or (above and value == least):  # type: ignore[operator]
        bounds = f"above {least} and at most {most}" if above else f"from {least} to {most}"
        raise _refuse(name, value, f"a number {bounds}")


def _stop_texts(stop: str | Sequence[str] | None) -> tuple[str, ...]:
    texts = (stop,) if isinstance(stop, str) else tuple(stop or ())
    if not all(isinstance(text, str) for text in texts):
        raise _refuse("stop", stop, "a string or several")
    return tuple(text for text in texts if text)


def _token_ids(ids: Sequence[int] | None) -> tuple[int, ...]:
    tokens = tuple(ids or ())
    for token in tokens:
        _check_int("stop_token_ids", token, 0, (1 << 31) - 1)
    return tokens


def _biases(biases: Mapping[int, float]) -> dict[int, float]:
    checked = {}
    for token, bias in biases.items():
        _check_float("logit_bias", bias, -1e6, 1e6)
        # JSON has no integer keys.
        key = int(token) if isinstance(token, str) and token.isascii() and token.isdigit() else token
        _check_int("logit_bias token", key, 0, (1 << 31) - 1)
        checked[key] = float(bias)
    return checked
