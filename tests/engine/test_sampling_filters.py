"""Each filter of the sampler against its formula in NumPy: the same token from the same draw."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import sampling_reference as reference

from llmcore import InvalidArgumentError, SamplingParams, _core

VOCAB = 300
FILTERS = ("typical_p", "top_n_sigma", "xtc_probability", "xtc_threshold")


def rows(count: int, seed: int = 0) -> list[np.ndarray[Any, np.dtype[np.float32]]]:
    """Logits of several shapes: flat ones, peaked ones, and in between."""
    random = np.random.default_rng(seed)
    return [(random.standard_normal(VOCAB) * random.uniform(0.5, 5)).astype(np.float32) for _ in range(count)]


def sampler(seed: int, options: dict[str, Any]) -> _core.Sampler:
    plain = {name: value for name, value in options.items() if name not in FILTERS}
    return _core.Sampler(seed=seed, filters={n: options[n] for n in FILTERS if n in options}, **plain)


@pytest.mark.parametrize(
    "options",
    [
        {"typical_p": 0.3},
        {"typical_p": 0.9, "temperature": 1.7},
        {"top_n_sigma": 0.7},
        {"top_n_sigma": 1.5, "temperature": 3.0},
        {"xtc_probability": 1.0, "xtc_threshold": 0.05},
        {"xtc_probability": 0.5, "xtc_threshold": 0.1},
        {"top_n_sigma": 2.0, "top_k": 40, "typical_p": 0.8, "top_p": 0.9, "min_p": 0.02, "temperature": 0.8},
        {"top_p": 0.8, "xtc_probability": 0.7, "xtc_threshold": 0.02, "temperature": 1.2},
    ],
)
def test_filters(options: dict[str, Any]) -> None:
    different = 0
    for place, logits in enumerate(rows(120)):
        for seed in (place, place + 1000):
            exact = logits.astype(np.float64)
            tokens = reference.kept_tokens(exact, options, _core.uniform_draw(seed ^ reference.XTC_STREAM, 0))
            scaled = exact / options.get("temperature", 1.0)
            expected, _ = reference.drawn(scaled, tokens, _core.uniform_draw(seed, 0))
            got = sampler(seed, options).next(logits)
            assert got in tokens
            different += got != expected
    # A draw on the border of two tokens may fall to either.
    assert different <= 1


@pytest.mark.parametrize("version", [1, 2])
def test_mirostat(version: int) -> None:
    filters = {"mirostat": version, "mirostat_tau": 3.0, "mirostat_eta": 0.2}
    for seed in range(5):
        ours = _core.Sampler(seed=seed, filters=filters)
        theirs = reference.Mirostat(version, 3.0, 0.2)
        for place, logits in enumerate(rows(60, seed)):
            expected = theirs.next(logits.astype(np.float64), _core.uniform_draw(seed, place))
            assert ours.next(logits) == expected


def test_mirostat_holds_the_surprise() -> None:
    logits = rows(1, 7)[0]
    p = reference.softmax(logits.astype(np.float64))
    for tau in (3.0, 4.0):
        ours = _core.Sampler(seed=1, filters={"mirostat": 2, "mirostat_tau": tau})
        surprise = [-np.log2(p[ours.next(logits)]) for _ in range(600)]
        assert abs(float(np.mean(surprise[100:])) - tau) < 0.5


@pytest.mark.parametrize("allowed", [1, 2, 3])
def test_dry(allowed: int) -> None:
    random = np.random.default_rng(allowed)
    for _ in range(60):
        history = random.integers(0, 4, random.integers(2, 60)).tolist()
        penalties = reference.dry_penalties(history, 0.8, 1.75, allowed)
        flat = np.zeros(8, np.float32)
        # Greedy: the lowest token that loses least; raising one at a time finds what each loses.
        for token in range(4):
            loss = penalties.get(token, 0.0)
            for offset, wins in ((loss * 0.999 - 0.001, False), (loss * 1.001 + 0.001, True)):
                logits = flat.copy()
                logits[:4] = -1e6
                logits[token] = offset
                logits[7] = 0.0
                ours = _core.Sampler(
                    seed=0,
                    temperature=0.0,
                    prompt=history,
                    filters={"dry_multiplier": 0.8, "dry_base": 1.75, "dry_allowed_length": allowed},
                )
                assert (ours.next(logits) == token) == wins


def test_dry_sees_only_its_range_and_its_own_output() -> None:
    options = {"dry_multiplier": 100.0, "dry_allowed_length": 2, "dry_range": 5}
    logits = np.zeros(8, np.float32)
    logits[5] = 1.0
    for history, free in (([1, 2, 5, 0, 0, 0, 1, 2], True), ([1, 2, 5, 1, 2], False)):
        ours = _core.Sampler(seed=0, temperature=0.0, prompt=history, filters=options)
        # Within the last four tokens, "1 2 5" is there in the second text only.
        assert (ours.next(logits) == 5) == free
    ours = _core.Sampler(seed=0, temperature=0.0, filters={**options, "dry_range": 0})
    assert [ours.next(logits) for _ in range(4)] == [5, 5, 5, 0]


def test_draws_are_of_seed_and_place_alone() -> None:
    logits = rows(4)
    for filters in ({}, {"typical_p": 0.9}, {"xtc_probability": 0.5}):
        apart = [_core.Sampler(seed=9, filters=filters) for _ in range(2)]
        first = [apart[0].next(row) for row in logits]
        _core.Sampler(seed=3, filters=filters).next(logits[0])
        assert [apart[1].next(row) for row in logits] == first


def test_parameters_are_checked_and_handed_on() -> None:
    for name, bad in [
        ("typical_p", 0.0),
        ("top_n_sigma", -1.0),
        ("xtc_probability", 1.5),
        ("xtc_threshold", -0.1),
        ("mirostat", 3),
        ("mirostat_tau", -1.0),
        ("mirostat_eta", 2.0),
        ("dry_multiplier", -1.0),
        ("dry_base", 0.5),
        ("dry_allowed_length", 0),
        ("dry_range", -1),
    ]:
        with pytest.raises(InvalidArgumentError, match=name):
            SamplingParams(**{name: bad})  # type: ignore[arg-type]
    assert SamplingParams().filters == {}
    assert SamplingParams(typical_p=0.5).filters == {"typical_p": 0.5}
    assert SamplingParams(xtc_probability=0.5).filters == {"xtc_probability": 0.5, "xtc_threshold": 0.1}
    assert SamplingParams(dry_multiplier=1.0).filters["dry_sequence_breakers"] == ("\n", ":", '"', "*")
