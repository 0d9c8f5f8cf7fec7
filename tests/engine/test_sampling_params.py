"""SamplingParams refuses what makes no sense, and names it."""

from __future__ import annotations

import dataclasses
import math

import pytest

from llmcore import InvalidArgumentError, SamplingParams


@pytest.mark.parametrize(
    ("name", "value"),
    [
        *[("max_tokens", value) for value in (0, -1, 1.5, True, "3", [10**5000])],
        *[("temperature", value) for value in (-0.1, 101, 10**400, math.nan, math.inf, "1", True)],
        ("top_k", -1),
        *[("top_p", value) for value in (0, 1.01, math.nan)],
        *[("min_p", value) for value in (-0.1, 1.1)],
        *[("seed", value) for value in (1 << 64, 0.5)],
        ("min_tokens", -1),
        *[("logprobs", value) for value in (-1, 1001, True)],
        ("prompt_logprobs", -1),
        *[("n", value) for value in (0, 129)],
        ("best_of", 0),
        *[("repetition_penalty", value) for value in (0, -1, math.inf)],
        ("frequency_penalty", 101),
        ("presence_penalty", math.nan),
        *[("logit_bias", value) for value in ({-1: 1.0}, {1: math.nan}, {"x": 1.0}, {1: None})],
        *[("logit_bias", value) for value in ([(1, 1.0)], 5)],
        *[("stop", value) for value in ((1,), 5, "\ud800", ["a", "\ud800"], b"a")],
        *[("dry_sequence_breakers", value) for value in (["\ud800"], 5, (1,))],
        *[("stop_token_ids", value) for value in ((-1,), 5, "12", (1.5,), (True,))],
        *[("ignore_eos", value) for value in ("no", None, 1.5)],
        ("structured", {"type": "object"}),
    ],
)
def test_out_of_range_names_the_parameter(name: str, value: object) -> None:
    with pytest.raises(InvalidArgumentError, match=name) as caught:
        SamplingParams(**{name: value})
    assert isinstance(caught.value, ValueError)
    assert "\n" not in str(caught.value)


def test_values_are_normalized_and_frozen() -> None:
    params = SamplingParams(stop="end", stop_token_ids=[3, 4], logit_bias={"7": 1, 8: -2.5}, max_tokens=None)
    assert params.stop == ("end",)
    assert params.stop_token_ids == (3, 4)
    assert params.logit_bias == {7: 1.0, 8: -2.5}
    assert SamplingParams(stop=["", "a"]).stop == ("a",)
    assert SamplingParams(n=2, best_of=5).n_sequences == 5
    with pytest.raises(dataclasses.FrozenInstanceError):
        params.temperature = 0.5  # type: ignore[misc]


def test_best_of_is_at_least_n() -> None:
    with pytest.raises(InvalidArgumentError, match=r"best_of; got 2; expected an integer from 3"):
        SamplingParams(n=3, best_of=2)
