"""What it costs to draw a token from a row of logits, by the settings of the sampler.

    python -m benchmarks.sampling [--vocab 151936] [--json FILE]

A time is printed only for right tokens: each draw of a setting is compared first with the token that the
same random number gives in NumPy and float64. Rows of two kinds are sampled, several in turn, so that they
come from the caches as behind a model: `language` has the shape of a language model's (a Zipf distribution
with noise, a few tokens hold most of the mass), `flat` is plain normal noise, the worst case of a filter
that counts mass.
"""

import argparse
import json
import sys
import time
from collections import Counter
from collections.abc import Mapping
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from llmcore import _core

Row = NDArray[np.float32]

_ROWS = 4  # of a kind, in turn
_PROMPT = 1000  # tokens that the penalties know
_CHECKED = 40  # draws of a setting and a kind of rows
_BORDER = 2e-6  # of the mass: a draw so near to the border of two tokens may fall to either
_REPEATS = 400

SETTINGS: Mapping[str, Mapping[str, float]] = {
    "greedy": {"temperature": 0},
    "temperature 0.7": {"temperature": 0.7},
    "top_k 40": {"temperature": 0.7, "top_k": 40},
    "top_k 40, top_p 0.9": {"temperature": 0.7, "top_k": 40, "top_p": 0.9},
    "the same, repetition_penalty 1.1": {
        "temperature": 0.7, "top_k": 40, "top_p": 0.9, "repetition_penalty": 1.1,
    },
    "top_p 0.9": {"temperature": 0.7, "top_p": 0.9},
    "top_p 0.95, temperature 1": {"temperature": 1, "top_p": 0.95},
    "top_p 0.9, repetition_penalty 1.1": {"temperature": 0.7, "top_p": 0.9, "repetition_penalty": 1.1},
    "min_p 0.05": {"temperature": 0.7, "min_p": 0.05},
    "min_p 0.05, repetition_penalty 1.1": {"temperature": 0.7, "min_p": 0.05, "repetition_penalty": 1.1},
    "all penalties, greedy": {
        "temperature": 0, "repetition_penalty": 1.1, "frequency_penalty": 0.2, "presence_penalty": 0.1,
    },
}  # fmt: skip


class Result(msgspec.Struct, frozen=True):
    """One setting on one kind of rows; microseconds a token."""

    setting: str
    rows: str
    median_us: float
    tenth_us: float
    ninetieth_us: float


class WrongResultError(Exception):
    """A token is not what it should be, so its time means nothing."""


def language_rows(vocab: int, seed: int = 1) -> list[Row]:
    """Logits of ranks spread over the vocabulary: -1.2 ln(rank + 1) with noise, some tokens far below."""
    random = np.random.default_rng(seed)
    rows = []
    for _ in range(_ROWS):
        logits = 20 - 1.2 * np.log(np.arange(vocab) + 1.0) + 0.5 * random.standard_normal(vocab)
        rows.append(random.permutation(logits).astype(np.float32))
    return rows


def flat_rows(vocab: int, seed: int = 2) -> list[Row]:
    """Normal noise: thousands of tokens share the mass."""
    random = np.random.default_rng(seed)
    return [(2 * random.standard_normal(vocab)).astype(np.float32) for _ in range(_ROWS)]


def penalized(
    row: Row, setting: Mapping[str, float], prompt: list[int], output: list[int]
) -> NDArray[np.float64]:
    """The row after the penalties."""
    logits = row.astype(np.float64)
    counts = Counter(output)
    penalty = setting.get("repetition_penalty", 1.0)
    seen = np.array(sorted({*(prompt if penalty != 1 else []), *output}), np.int64)
    if len(seen):
        logits[seen] = np.where(logits[seen] > 0, logits[seen] / penalty, logits[seen] * penalty)
    for token, count in counts.items():
        logits[token] -= setting.get("frequency_penalty", 0.0) * count + setting.get("presence_penalty", 0.0)
    return logits


def check(sampler: _core.Sampler, seed: int, setting: Mapping[str, float], rows: list[Row]) -> None:
    """Draws from the rows in turn; WrongResultError for a token other than the one drawn."""
    prompt = prompt_tokens(len(rows[0]))
    output: list[int] = []
    for place in range(_CHECKED):
        row = rows[place % len(rows)]
        got = sampler.next(row)
        logits = penalized(row, setting, prompt, output)
        order = np.lexsort((np.arange(len(logits)), -logits))
        output.append(got)
        if setting["temperature"] == 0:
            if logits[got] < logits[order[0]] - 1e-5:
                raise WrongResultError(f"token {got} instead of {order[0]}")
            continue
        weights = np.exp((logits - logits.max()) / setting["temperature"])
        kept = order[: int(setting.get("top_k", len(order)))]
        if (top_p := setting.get("top_p", 1.0)) < 1:
            mass = np.cumsum(weights[kept]) / weights[kept].sum()
            kept = kept[: int(np.searchsorted(mass, top_p)) + 1]
        kept = np.sort(kept[weights[kept] >= setting.get("min_p", 0.0)])
        mass = np.cumsum(weights[kept]) / weights[kept].sum()
        point = _core.uniform_draw(seed, place)
        found = int(np.searchsorted(kept, got))
        if found == len(kept) or kept[found] != got:
            raise WrongResultError(f"token {got} should have been filtered out")
        before = mass[found - 1] if found else 0.0
        if not before - _BORDER <= point <= mass[found] + _BORDER:
            raise WrongResultError(f"token {got} covers {before} to {mass[found]}, the draw was {point}")


def prompt_tokens(vocab: int) -> list[int]:
    """Distinct tokens of a prompt."""
    tokens: list[int] = np.random.default_rng(3).choice(vocab, min(_PROMPT, vocab), replace=False).tolist()
    return tokens


def make_sampler(seed: int, setting: Mapping[str, float], vocab: int) -> _core.Sampler:
    options: dict[str, Any] = dict(setting)
    if "top_k" in options:
        options["top_k"] = int(options["top_k"])
    return _core.Sampler(seed=seed, prompt=prompt_tokens(vocab), **options)


def bench(name: str, kind: str, rows: list[Row]) -> Result:
    """Checks one setting on rows of a kind, then times it."""
    setting = SETTINGS[name]
    vocab = len(rows[0])
    check(make_sampler(11, setting, vocab), 11, setting, rows)
    took = []
    for place in range(_REPEATS):
        # The rows come again and again: with all of their likely tokens penalized they would become flat.
        if place % _CHECKED == 0:
            sampler = make_sampler(12 + place, setting, vocab)
        row = rows[place % len(rows)]
        began = time.perf_counter_ns()
        sampler.next(row)
        took.append((time.perf_counter_ns() - began) / 1000)
    tenth, median, ninetieth = np.percentile(took, (10, 50, 90))
    return Result(name, kind, float(median), float(tenth), float(ninetieth))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--vocab", type=int, default=151936, help="tokens of a row")
    parser.add_argument("-k", "--setting", default="", help="only settings whose name holds this")
    parser.add_argument("--json", type=Path, help="write the results here")
    arguments = parser.parse_args()
    kinds = {"language": language_rows(arguments.vocab), "flat": flat_rows(arguments.vocab)}
    print(f"{'setting':36} {'rows':9} {'median us':>9} {'10 %':>7} {'90 %':>7}")
    results = []
    failed = False
    for name in SETTINGS:
        if arguments.setting not in name:
            continue
        for kind, rows in kinds.items():
            try:
                result = bench(name, kind, rows)
            except WrongResultError as error:
                print(f"WRONG TOKEN, not timed: {name} on {kind}: {error}")
                failed = True
                continue
            results.append(result)
            print(
                f"{name:36} {kind:9} {result.median_us:9.1f} {result.tenth_us:7.1f} "
                f"{result.ninetieth_us:7.1f}"
            )
    if arguments.json:
        report = {
            "machine": _core.machine(), "date": datetime.now(timezone.utc).date().isoformat(),
            "vocab": arguments.vocab, "results": msgspec.to_builtins(results),
        }  # fmt: skip
        arguments.json.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
