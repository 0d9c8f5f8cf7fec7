"""What perplexity and the divergence from a reference are computed from: one number a scored token."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from llmcore.errors import ModelError

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Estimate:
    """A mean, or a function of one, and its standard error.

    Tokens count as independent draws, which text is not quite: the true error is somewhat larger.
    """

    value: float
    error: float

    @classmethod
    def mean(cls, samples: Floats) -> "Estimate":
        """The mean of two or more samples; its error is their standard deviation over √n."""
        return cls(float(samples.mean()), float(samples.std(ddof=1) / np.sqrt(len(samples))))

    @classmethod
    def exp_mean(cls, samples: Floats) -> "Estimate":
        """exp of the mean of two or more samples, with the error to first order: exp(m) · error(m)."""
        mean = cls.mean(samples)
        return cls(exp(mean.value), exp(mean.value) * mean.error)


@dataclass(frozen=True)
class Divergence:
    """How far a model's distributions are from a reference's, p, over the same tokens.

    `kl_*`: the Kullback-Leibler divergence Σ p·ln(p/q) of each position, in nats. `same_top`: the share of
    positions where the model's likeliest token is one of the reference's likeliest. `right_change`: by how
    much the probability of the token that follows differs from the reference's, and its root mean square.
    `perplexity_ratio`: the model's perplexity over the reference's.
    """

    kl_mean: Estimate
    kl_median: float
    kl_p99: float
    kl_max: float
    same_top: Estimate
    right_change: Estimate
    right_change_rms: float
    perplexity_ratio: Estimate
    reference_perplexity: Estimate


class DivergenceSamples:
    """Collects what `Divergence` is made of, block by block."""

    def __init__(self) -> None:
        self._kl: list[Floats] = []
        self._same_top: list[npt.NDArray[np.bool_]] = []
        self._right: list[Floats] = []
        self._reference_right: list[Floats] = []

    def add(self, log_q: Floats, right: Floats, log_p: Floats, reference_right: Floats) -> None:
        """Rows of log-probabilities, both (n, n_vocab), and those of the tokens that follow, both (n,)."""
        self._kl.append(np.einsum("ij,ij->i", np.exp(log_p), log_p - log_q))
        rows = np.arange(len(log_q))
        self._same_top.append(log_p[rows, log_q.argmax(axis=1)] == log_p.max(axis=1))
        self._right.append(right)
        self._reference_right.append(reference_right)

    def result(self) -> Divergence:
        """Over all positions added, two or more."""
        kl, same_top = np.concatenate(self._kl), np.concatenate(self._same_top)
        right, reference_right = np.concatenate(self._right), np.concatenate(self._reference_right)
        change = np.exp(right) - np.exp(reference_right)
        return Divergence(
            kl_mean=Estimate.mean(kl),
            kl_median=float(np.median(kl)),
            kl_p99=float(np.quantile(kl, 0.99)),
            kl_max=float(kl.max()),
            same_top=Estimate.mean(same_top.astype(np.float64)),
            right_change=Estimate.mean(change),
            right_change_rms=float(np.sqrt(np.mean(change**2))),
            perplexity_ratio=Estimate.exp_mean(reference_right - right),
            reference_perplexity=Estimate.exp_mean(-reference_right),
        )


def exp(value: float) -> float:
    """e to the power of `value`; infinity where that is more than a number can be."""
    with np.errstate(over="ignore"):
        return float(np.exp(value))


def log_softmax(logits: npt.NDArray[np.floating]) -> Floats:
    """Natural logarithms of the softmax of each row, (n, n_vocab), computed in float64.

    Raises ModelError if a logit is not finite.
    """
    shifted = logits.astype(np.float64)
    if not np.isfinite(shifted).all():
        raise ModelError("[perplexity] the model's logits; got a value that is not finite; expected numbers")
    shifted -= shifted.max(axis=1, keepdims=True)
    shifted -= np.log(np.exp(shifted).sum(axis=1, keepdims=True))
    return shifted
