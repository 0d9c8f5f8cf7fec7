"""Windows: which tokens are seen, which are scored, and against what."""

from __future__ import annotations

import math
from collections import Counter
from itertools import product

import pytest

from llmcore.errors import InvalidArgumentError
from llmcore.tools.perplexity_windows import WindowPlan

BOS = 7_000


def scored_with_past(plan: WindowPlan, tokens: list[int]) -> list[tuple[int, int]]:
    """Scored tokens, each with how many tokens stand before it in its window."""
    found = []
    for window in plan.windows(tokens):
        assert len(window.ids) <= plan.n_ctx
        assert window.targets == window.ids[window.first + 1 :]
        found += [(target, window.first + 1 + i) for i, target in enumerate(window.targets)]
    return found


@pytest.mark.parametrize("bos", [None, BOS])
def test_second_halves(bos: int | None) -> None:
    windows = list(WindowPlan(8, bos=bos).windows(range(30)))
    first = [0, 8, 16] if bos is None else [BOS] * 3
    assert [window.ids for window in windows] == [[first[i], *range(8 * i + 1, 8 * i + 8)] for i in range(3)]
    assert [window.targets for window in windows] == [[5, 6, 7], [13, 14, 15], [21, 22, 23]]


def test_strides_of_a_known_text() -> None:
    windows = list(WindowPlan(5, 2).windows(range(8)))
    assert [window.ids for window in windows] == [[0, 1, 2, 3, 4], [2, 3, 4, 5, 6], [4, 5, 6, 7]]
    assert [window.targets for window in windows] == [[1, 2, 3, 4], [5, 6], [7]]
    windows = list(WindowPlan(5, 4, BOS).windows(range(6)))
    assert [window.ids for window in windows] == [[BOS, 0, 1, 2, 3], [BOS, 4, 5]]
    assert [window.targets for window in windows] == [[0, 1, 2, 3], [4, 5]]


def test_with_a_stride_every_token_is_scored_once() -> None:
    for n_ctx, stride, n_tokens, bos in product(range(3, 9), range(1, 8), range(3, 40), (None, BOS)):
        if stride >= n_ctx:
            continue
        plan = WindowPlan(n_ctx, stride, bos)
        tokens = list(range(100, 100 + n_tokens))
        scored = scored_with_past(plan, tokens)
        assert Counter(target for target, _ in scored) == Counter(tokens[bos is None :])
        assert len(scored) == plan.n_scored(n_tokens)
        assert len(list(plan.windows(tokens))) == plan.n_windows(n_tokens)
        # From the second window on, a scored token sees at least all that the stride leaves.
        assert all(past >= min(i + (bos is None), n_ctx - stride) for i, (_, past) in enumerate(scored))


def test_without_a_stride_half_a_window_comes_before() -> None:
    for n_ctx, n_tokens in product(range(3, 12), range(24, 60)):
        plan = WindowPlan(n_ctx)
        scored = scored_with_past(plan, list(range(n_tokens)))
        assert len(scored) == plan.n_scored(n_tokens)
        assert all(past > n_ctx / 2 for _, past in scored)
        assert plan.n_used(n_tokens) == math.floor(n_tokens / n_ctx) * n_ctx


@pytest.mark.parametrize("plan", [WindowPlan(8), WindowPlan(8, 3), WindowPlan(8, 3, BOS), WindowPlan(8, 7)])
@pytest.mark.parametrize("most", [1, 2, 3, 100])
def test_a_text_cut_to_its_first_windows_has_these_windows(plan: WindowPlan, most: int) -> None:
    tokens = list(range(29))
    cut = tokens[: plan.n_used(len(tokens), most)]
    assert list(plan.windows(cut)) == list(plan.windows(tokens))[:most]


@pytest.mark.parametrize(("n_ctx", "stride"), [(2, None), (0, 1), (8, 8), (8, 0), (8, -1)])
def test_impossible_sizes(n_ctx: int, stride: int | None) -> None:
    with pytest.raises(InvalidArgumentError, match="perplexity"):
        WindowPlan(n_ctx, stride)


@pytest.mark.parametrize(
    ("plan", "n_tokens"), [(WindowPlan(8), 7), (WindowPlan(8), 0), (WindowPlan(8, 2), 2), (WindowPlan(3), 3)]
)
def test_a_text_that_is_too_short(plan: WindowPlan, n_tokens: int) -> None:
    with pytest.raises(InvalidArgumentError, match="too short"):
        plan.windows(range(n_tokens))
