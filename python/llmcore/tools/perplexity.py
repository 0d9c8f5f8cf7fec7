"""Perplexity of a model over a text, and its divergence from another model over the same text.

The perplexity of N scored tokens is exp(-1/N · Σ ln p(token | the window's tokens before it)); see
Jelinek et al., "Perplexity - a measure of the difficulty of speech recognition tasks" (1977). How the text is
cut into windows is told in `perplexity_windows`.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter

import numpy as np
import numpy.typing as npt

from llmcore import LLM, _core
from llmcore.errors import InvalidArgumentError
from llmcore.tools.model_context import trained_context
from llmcore.tools.perplexity_reference import ReferenceReader, ReferenceWriter
from llmcore.tools.perplexity_statistics import (
    Divergence,
    DivergenceSamples,
    Estimate,
    Floats,
    exp,
    log_softmax,
)
from llmcore.tools.perplexity_windows import WindowPlan

Progress = Callable[[int, int, float], None]
"""Called after each window with the windows done, all of them, and the perplexity so far."""

_USUAL_WINDOW = 512
_BLOCK_ELEMENTS = 1 << 22


@dataclass(frozen=True)
class Measurement:
    """What was found. `tokens_per_second` counts every token the model read and only the time it took."""

    perplexity: Estimate
    log_loss: Estimate
    """-ln p of a scored token, the perplexity's logarithm."""
    n_tokens: int
    """Tokens of the text that windows hold."""
    n_scored: int
    n_windows: int
    tokens_per_second: float
    divergence: Divergence | None = None


def default_window(model: Path) -> int:
    """512 tokens a window, or the context of a GGUF model that was trained for less.

    Raises GGUFError for a damaged file.
    """
    return min(_USUAL_WINDOW, trained_context(_core.GGUFFile(model)) or _USUAL_WINDOW)


def plan_for(llm: LLM, n_ctx: int, stride: int | None = None) -> WindowPlan:
    """Windows for this model: with BOS if its vocabulary asks for it.

    Raises InvalidArgumentError for sizes that do not fit each other.
    """
    tokenizer = llm.tokenizer.tokenizer
    return WindowPlan(n_ctx, stride, tokenizer.bos_id if tokenizer.add_bos else None)


def encode_text(llm: LLM, plan: WindowPlan, text: str, *, parse_special: bool = False) -> list[int]:
    """The text's tokens, for `measure`: one BOS in front where windows without a stride replace it."""
    tokens = llm.tokenize(text, add_special=False, parse_special=parse_special)
    if plan.bos is None or plan.stride is not None or tokens[:1] == [plan.bos]:
        return tokens
    return [plan.bos, *tokens]


def check_reference(llm: LLM, reference: ReferenceReader, tokens: Sequence[int]) -> list[int]:
    """The tokens that the reference scored, if `tokens` begins with them.

    Raises InvalidArgumentError if text, vocabulary or BOS differ.
    """
    n_vocab, plan = llm.model_info.n_vocab, plan_for(llm, reference.plan.n_ctx, reference.plan.stride)
    for what, got, expected in (
        ("vocabulary", n_vocab, reference.n_vocab),
        ("BOS token", plan.bos, reference.plan.bos),
    ):
        if got != expected:
            raise InvalidArgumentError(
                f"[perplexity] the reference is of another {what}; got {got}; expected {expected}"
            )
    wanted: list[int] = reference.tokens.tolist()
    if list(tokens[: len(wanted)]) != wanted:
        raise InvalidArgumentError(
            "[perplexity] the text's tokens; got others than the reference's; expected the same text and "
            "vocabulary"
        )
    return wanted


def measure(
    llm: LLM,
    tokens: Sequence[int],
    plan: WindowPlan,
    *,
    save: ReferenceWriter | None = None,
    reference: ReferenceReader | None = None,
    progress: Progress | None = None,
) -> Measurement:
    """Scores the text's tokens; the model's context must hold `plan.n_ctx` of them.

    `save` gets the log-probabilities; with a `reference`, of these tokens (`check_reference`), the divergence
    from it is computed. Beyond the tokens, memory holds one window's logits, float32 (n_ctx, n_vocab), and a
    few blocks of 32 MB. Raises InvalidArgumentError for a text that is too short or a damaged reference,
    ModelError for logits that are not finite.
    """
    windows = plan.windows(tokens)
    n_windows = plan.n_windows(len(tokens))
    losses: list[Floats] = []
    total_loss, n_scored, n_read, seconds = 0.0, 0, 0, 0.0
    divergence = None if reference is None else DivergenceSamples()
    for number, window in enumerate(windows, 1):
        started = perf_counter()
        logits = llm.logits(window.ids)
        seconds += perf_counter() - started
        n_read += len(window.ids)
        for log_probs, right in _blocks(logits[window.first : -1], window.targets):
            if save is not None:
                save.add(log_probs, right)
            if reference is not None and divergence is not None:
                divergence.add(log_probs, right, *reference.read(len(right)))
            losses.append(-right)
            total_loss -= float(right.sum())
            n_scored += len(right)
        if progress is not None:
            progress(number, n_windows, exp(total_loss / n_scored))
    loss = np.concatenate(losses)
    return Measurement(
        perplexity=Estimate.exp_mean(loss),
        log_loss=Estimate.mean(loss),
        n_tokens=plan.n_used(len(tokens)),
        n_scored=n_scored,
        n_windows=n_windows,
        tokens_per_second=n_read / seconds,
        divergence=None if divergence is None else divergence.result(),
    )


def _blocks(logits: npt.NDArray[np.float32], targets: Sequence[int]) -> Iterator[tuple[Floats, Floats]]:
    """Log-probabilities of some rows at a time, (n, n_vocab), and of the tokens that follow, (n,)."""
    rows = max(1, _BLOCK_ELEMENTS // logits.shape[1])
    following = np.asarray(targets)
    for start in range(0, len(following), rows):
        log_probs = log_softmax(logits[start : start + rows])
        yield log_probs, log_probs[np.arange(len(log_probs)), following[start : start + rows]]
