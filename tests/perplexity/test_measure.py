"""Perplexity and divergence against their formulas, written out."""

from __future__ import annotations

import math

import numpy as np
import pytest

from llmcore import LLM
from llmcore.errors import InvalidArgumentError, ModelError
from llmcore.tools import perplexity
from llmcore.tools.perplexity_reference import ReferenceReader, ReferenceWriter
from llmcore.tools.perplexity_statistics import DivergenceSamples, Estimate, log_softmax
from llmcore.tools.perplexity_windows import WindowPlan


def direct_losses(llm: LLM, plan: WindowPlan, tokens: list[int]) -> list[float]:
    """-ln p of each scored token, from sums of exponentials one by one."""
    losses = []
    for window in plan.windows(tokens):
        logits = llm.logits(window.ids).astype(np.float64)
        for row in range(window.first, len(window.ids) - 1):
            top = float(logits[row].max())
            total = math.fsum(math.exp(value - top) for value in logits[row].tolist())
            losses.append(top + math.log(total) - float(logits[row, window.ids[row + 1]]))
    return losses


@pytest.mark.parametrize("plan", [WindowPlan(16), WindowPlan(12, 5), WindowPlan(12, 11, bos=1)])
def test_perplexity_is_its_formula(llm: LLM, text: str, plan: WindowPlan) -> None:
    tokens = llm.tokenize(text)[:50]
    losses = direct_losses(llm, plan, tokens)
    found = perplexity.measure(llm, tokens, plan)
    mean = math.fsum(losses) / len(losses)
    variance = math.fsum((loss - mean) ** 2 for loss in losses) / (len(losses) - 1)
    error = math.sqrt(variance / len(losses))
    assert found.n_scored == len(losses)
    assert found.log_loss.value == pytest.approx(mean, rel=1e-12)
    assert found.log_loss.error == pytest.approx(error, rel=1e-9)
    assert found.perplexity.value == pytest.approx(math.exp(mean), rel=1e-12)
    assert found.perplexity.error == pytest.approx(math.exp(mean) * error, rel=1e-9)
    assert found.tokens_per_second > 0


def test_blocks_do_not_change_the_result(llm: LLM, text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    tokens = llm.tokenize(text)[:200]
    whole = perplexity.measure(llm, tokens, WindowPlan(64))
    monkeypatch.setattr(perplexity, "_BLOCK_ELEMENTS", 3 * llm.model_info.n_vocab)
    assert perplexity.measure(llm, tokens, WindowPlan(64)).log_loss == whole.log_loss


def test_progress_ends_with_the_result(llm: LLM, text: str) -> None:
    told: list[tuple[int, int, float]] = []
    tokens = llm.tokenize(text)[:64]
    found = perplexity.measure(llm, tokens, WindowPlan(16), progress=lambda *now: told.append(now))
    assert [now[:2] for now in told] == [(1, 4), (2, 4), (3, 4), (4, 4)]
    assert told[-1][2] == pytest.approx(found.perplexity.value, rel=1e-12)


def test_log_softmax_of_far_and_equal_values() -> None:
    rows = np.array([[0, 0, 0, 0], [1e4, 0, -1e4, -3e38], [-1e30, -1e30, -1e30, -1e30]], np.float32)
    expected = [[-math.log(4)] * 4, [0.0, -1e4, -2e4, -3e38], [-math.log(4)] * 4]
    np.testing.assert_allclose(log_softmax(rows), expected, rtol=1e-7)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_logits_that_are_no_numbers(value: float) -> None:
    with pytest.raises(ModelError, match="logits"):
        log_softmax(np.array([[0.0, value]], np.float32))


def test_estimates() -> None:
    samples = np.array([1.0, 2.0, 4.0, 9.0])
    mean = Estimate.mean(samples)
    assert mean.value == 4.0
    assert mean.error == pytest.approx(math.sqrt((9 + 4 + 0 + 25) / 3 / 4))
    ratio = Estimate.exp_mean(samples)
    assert (ratio.value, ratio.error) == pytest.approx((math.exp(4), math.exp(4) * mean.error))
    assert Estimate.exp_mean(np.array([1e9, 1e9])).value == math.inf


def test_divergence_is_its_formula() -> None:
    rng = np.random.default_rng(5)
    n, n_vocab = 400, 30
    log_p, log_q = (log_softmax(rng.normal(0, 2, (n, n_vocab))) for _ in range(2))
    log_p[7], log_q[7] = log_p[8], log_p[8]
    targets = rng.integers(0, n_vocab, n)
    rows = np.arange(n)
    samples = DivergenceSamples()
    for start, end in ((0, 100), (100, 101), (101, n)):
        at = rows[start:end], targets[start:end]
        samples.add(log_q[start:end], log_q[at], log_p[start:end], log_p[at])
    found = samples.result()
    kl = [
        math.fsum(math.exp(p) * (p - q) for p, q in zip(log_p[i].tolist(), log_q[i].tolist(), strict=True))
        for i in range(n)
    ]
    assert min(kl) == kl[7] == 0
    ordered = sorted(kl)
    assert found.kl_mean.value == pytest.approx(math.fsum(kl) / n)
    assert found.kl_mean.error == pytest.approx(np.std(kl) / math.sqrt(n - 1))
    assert found.kl_median == pytest.approx((ordered[n // 2 - 1] + ordered[n // 2]) / 2)
    assert ordered[n - 6] < found.kl_p99 < ordered[n - 3]
    assert found.kl_max == pytest.approx(max(kl))
    same = sum(log_p[i].argmax() == log_q[i].argmax() for i in range(n)) / n
    assert 0 < same < 1
    assert found.same_top.value == pytest.approx(same)
    change = [math.exp(log_q[i, targets[i]]) - math.exp(log_p[i, targets[i]]) for i in range(n)]
    assert found.right_change.value == pytest.approx(math.fsum(change) / n)
    assert found.right_change_rms == pytest.approx(math.sqrt(math.fsum(c * c for c in change) / n))
    loss_p, loss_q = (-float(log[rows, targets].mean()) for log in (log_p, log_q))
    assert found.perplexity_ratio.value == pytest.approx(math.exp(loss_q) / math.exp(loss_p))
    assert found.reference_perplexity.value == pytest.approx(math.exp(loss_p))


def test_a_model_does_not_diverge_from_itself(llm: LLM, text: str, tmp_path) -> None:
    plan, tokens = WindowPlan(64), llm.tokenize(text)[:320]
    path = tmp_path / "reference"
    with ReferenceWriter(path, model="m", n_vocab=llm.model_info.n_vocab, plan=plan, tokens=tokens) as writer:
        saved = perplexity.measure(llm, tokens, plan, save=writer)
    with ReferenceReader(path) as reader:
        assert perplexity.check_reference(llm, reader, llm.tokenize(text)) == tokens
        divergence = perplexity.measure(llm, tokens, plan, reference=reader).divergence
    assert divergence is not None
    assert 0 <= divergence.kl_mean.value < 1e-6
    assert divergence.kl_max < 1e-4
    assert divergence.same_top.value == 1
    assert divergence.reference_perplexity.value == pytest.approx(saved.perplexity.value, rel=1e-6)
    assert divergence.perplexity_ratio.value == pytest.approx(1, abs=1e-6)


def test_a_reference_of_another_text_or_vocabulary(llm: LLM, text: str, tmp_path) -> None:
    plan, tokens = WindowPlan(3), llm.tokenize(text)[:6]
    path = tmp_path / "reference"
    for n_vocab, bos, named in ((4096, None, "text"), (4100, None, "vocabulary"), (4096, 1, "BOS")):
        plan = WindowPlan(3, bos=bos)
        with ReferenceWriter(path, model="m", n_vocab=n_vocab, plan=plan, tokens=tokens) as writer:
            writer.add(np.full((2, n_vocab), -1.0), np.full(2, -1.0))
        with ReferenceReader(path) as reader, pytest.raises(InvalidArgumentError, match=named):
            perplexity.check_reference(llm, reader, [*tokens[:3], 5, *tokens[4:]])
