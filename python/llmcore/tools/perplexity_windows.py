"""How a text is cut into windows of a model's context, and which tokens of each are scored."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from llmcore.errors import InvalidArgumentError

SMALLEST_WINDOW = 3


@dataclass(frozen=True)
class Window:
    """Tokens that the model sees at once. Row i of its logits, from `first` to the last but one, is scored
    against `ids[i + 1]`.
    """

    ids: list[int]
    first: int

    @property
    def targets(self) -> list[int]:
        """The tokens that are scored."""
        return self.ids[self.first + 1 :]


@dataclass(frozen=True)
class WindowPlan:
    """Windows of `n_ctx` tokens, `bos` in front of each if the model wants one.

    Without a `stride`, windows follow each other, the second half of each is scored, a last one that is not
    full is left out, and `bos` takes the place of a window's first token: the way of llama.cpp's
    llama-perplexity, so that its figures compare. Every scored token has at least n_ctx / 2 tokens before it.

    With a `stride`, a window begins every `stride` tokens and scores those that no window before it did, so
    that each token of the text is scored once; without `bos`, all but the first. Smaller strides give every
    token a longer past, and cost more. See "Perplexity of fixed-length models" in the Transformers
    documentation.
    """

    n_ctx: int
    stride: int | None = None
    bos: int | None = None

    def __post_init__(self) -> None:
        if self.n_ctx < SMALLEST_WINDOW:
            raise InvalidArgumentError(
                f"[perplexity] tokens a window; got {self.n_ctx}; expected {SMALLEST_WINDOW} or more"
            )
        if self.stride is not None and not 1 <= self.stride < self.n_ctx:
            raise InvalidArgumentError(
                f"[perplexity] stride; got {self.stride}; expected 1 to {self.n_ctx - 1} with windows of "
                f"{self.n_ctx} tokens"
            )

    @property
    def body(self) -> int:
        """Tokens of the text that a window holds when it has a stride."""
        return self.n_ctx - (self.bos is not None)

    def n_windows(self, n_tokens: int) -> int:
        """Windows of a text of so many tokens."""
        if self.stride is None:
            return n_tokens // self.n_ctx
        return 1 + max(0, -((self.body - n_tokens) // self.stride)) if n_tokens > 0 else 0

    def n_scored(self, n_tokens: int) -> int:
        """Tokens of such a text that are scored."""
        if self.stride is None:
            return self.n_windows(n_tokens) * (self.n_ctx - self.n_ctx // 2 - 1)
        return max(0, n_tokens - (self.bos is None))

    def n_used(self, n_tokens: int, most_windows: int | None = None) -> int:
        """Tokens of such a text that the first `most_windows` windows hold, or all of them."""
        n_windows = self.n_windows(n_tokens)
        if most_windows is not None:
            n_windows = min(n_windows, most_windows)
        if self.stride is None:
            return n_windows * self.n_ctx
        return min(n_tokens, self.body + (n_windows - 1) * self.stride) if n_windows else 0

    def windows(self, tokens: Sequence[int]) -> Iterator[Window]:
        """The windows in order. Raises InvalidArgumentError if fewer than two tokens would be scored."""
        if self.n_scored(len(tokens)) < 2:
            wanted = f"{self.n_ctx}, or fewer with a stride" if self.stride is None else "3"
            raise InvalidArgumentError(
                f"[perplexity] the text is too short; got {len(tokens)} tokens; expected at least {wanted}"
            )
        if self.stride is None:
            return self._halves(tokens)
        return self._strides(tokens, self.stride)

    def _halves(self, tokens: Sequence[int]) -> Iterator[Window]:
        for start in range(0, self.n_windows(len(tokens)) * self.n_ctx, self.n_ctx):
            ids = list(tokens[start : start + self.n_ctx])
            if self.bos is not None:
                ids[0] = self.bos
            yield Window(ids, self.n_ctx // 2)

    def _strides(self, tokens: Sequence[int], stride: int) -> Iterator[Window]:
        prefix = [] if self.bos is None else [self.bos]
        scored = 0 if prefix else 1
        for start in range(0, self.n_windows(len(tokens)) * stride, stride):
            ids = [*prefix, *tokens[start : start + self.body]]
            yield Window(ids, scored - start + len(prefix) - 1)
            scored = start + self.body
