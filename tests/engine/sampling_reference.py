"""The sampler's formulas once more, in NumPy and float64, from the papers and proposals they come from."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
XTC_STREAM = 0x5854435854435854


def softmax(logits: Floats) -> Floats:
    weights = np.exp(logits - logits.max())
    return weights / weights.sum()


def ranked(logits: Floats) -> npt.NDArray[np.int64]:
    """Token ids, the largest logit first, then the lowest id."""
    return np.lexsort((np.arange(len(logits)), -logits))


def smallest_prefix(probabilities: Floats, mass: float) -> int:
    return min(len(probabilities), int(np.searchsorted(np.cumsum(probabilities), mass - 1e-15)) + 1)


def kept_tokens(logits: Floats, options: dict[str, Any], xtc_draw: float) -> npt.NDArray[np.int64]:
    """Tokens that may be drawn, likeliest first."""
    scaled = logits / options.get("temperature", 1.0)
    tokens = ranked(logits)
    if sigma := options.get("top_n_sigma"):
        tokens = tokens[logits[tokens] >= logits.max() - sigma * logits.std()]
    if top_k := options.get("top_k"):
        tokens = tokens[:top_k]
    if (mass := options.get("typical_p", 1.0)) < 1:
        p = softmax(scaled[tokens])
        shift = np.abs(-np.log(p) + (p * np.log(p)).sum())
        order = np.argsort(shift, kind="stable")
        chosen = order[: smallest_prefix(p[order], mass)]
        tokens = tokens[np.sort(chosen)]
    if (mass := options.get("top_p", 1.0)) < 1:
        tokens = tokens[: smallest_prefix(softmax(scaled[tokens]), mass)]
    if ratio := options.get("min_p"):
        p = softmax(scaled[tokens])
        tokens = tokens[p >= ratio * p[0]]
    if xtc_draw < options.get("xtc_probability", 0.0):
        above = int((softmax(scaled[tokens]) >= options.get("xtc_threshold", 0.1)).sum())
        tokens = tokens[max(0, above - 1) :]
    return tokens


def drawn(logits: Floats, tokens: npt.NDArray[np.int64], point: float) -> tuple[int, float]:
    """The token at `point` of the tokens' distribution, and its probability."""
    p = softmax(logits[tokens])
    place = min(int(np.searchsorted(np.cumsum(p), point, side="right")), len(tokens) - 1)
    return int(tokens[place]), float(p[place])


class Mirostat:
    def __init__(self, version: int, tau: float, eta: float) -> None:
        self.version, self.tau, self.eta = version, tau, eta
        self.mu = 2 * tau

    def next(self, logits: Floats, point: float) -> int:
        tokens = ranked(logits)
        p = softmax(logits[tokens])
        if self.version == 1:
            t = np.log(np.arange(2, 101) / np.arange(1, 100))[: len(p) - 1]
            b = np.log(p[:-1] / p[1:])[: len(t)]
            s = (t * b).sum() / (t * t).sum()
            n = len(p)
            k = ((s - 1) * 2**self.mu / (1 - n ** (1 - s))) ** (1 / s)
            tokens = tokens[: max(1, round(min(k, n)))]
        else:
            tokens = tokens[: max(1, int((-np.log2(p) <= self.mu).sum()))]
        token, _ = drawn(logits, tokens, point)
        self.mu -= self.eta * (-np.log2(softmax(logits)[token]) - self.tau)
        return token


def dry_penalties(
    history: Sequence[int], multiplier: float, base: float, allowed: int, breakers: Sequence[int] = ()
) -> dict[int, float]:
    """By token: what its logit loses."""
    longest: dict[int, int] = {}
    last = len(history) - 1
    if history[last] in breakers:
        return {}
    for place in range(last):
        if history[place] != history[last] or history[place + 1] in breakers:
            continue
        length = 1
        while (
            length <= place
            and history[place - length] == history[last - length]
            and history[last - length] not in breakers
        ):
            length += 1
        following = history[place + 1]
        longest[following] = max(longest.get(following, 0), length)
    return {t: multiplier * base ** (n - allowed) for t, n in longest.items() if n >= allowed}
