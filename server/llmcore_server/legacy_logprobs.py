"""Log-probabilities as ``/v1/completions`` answers them: parallel lists, with offsets into the text."""

from __future__ import annotations

import codecs
import math
from collections.abc import Iterable, Sequence
from typing import Any

from llmcore_server.engine_protocol import Tokenizer, TokenLogprob
from llmcore_server.logprobs import IMPOSSIBLE


class LegacyLogprobs:
    """Builds the ``logprobs`` object of one choice piece by piece; offsets are in characters."""

    def __init__(self, tokenizer: Tokenizer, count: int) -> None:
        self._tokenizer = tokenizer
        self._count = count
        self._characters = codecs.getincrementaldecoder("utf-8")("replace")
        self._offset = 0

    def listed(self, entries: Sequence[tuple[int, TokenLogprob | None]], text: str = "") -> dict[str, Any]:
        """Return the object for these tokens; an entry without a log-probability becomes null.

        text: what the tokens stand for, if they begin a text whose first token has a space that the text
        itself has not.
        """
        tokens, offsets = [], []
        for place, (token_id, _) in enumerate(entries):
            raw = self._tokenizer.token_bytes(token_id)
            if place == 0 and text and not text.startswith(" "):
                raw = raw.removeprefix(b" ")
            tokens.append(token_text(raw))
            offsets.append(self._offset)
            self._offset += len(self._characters.decode(raw))
        top = [None if entry is None else self._likeliest(entry) for _, entry in entries]
        return {
            "tokens": tokens,
            "token_logprobs": [None if entry is None else finite(entry.logprob) for _, entry in entries],
            "top_logprobs": top if self._count else None,
            "text_offset": offsets,
        }

    def _likeliest(self, entry: TokenLogprob) -> dict[str, float]:
        # The sampled token is always among them, as OpenAI has it.
        pairs: Iterable[tuple[int, float]] = [*entry.top[: self._count], (entry.token_id, entry.logprob)]
        return {token_text(self._tokenizer.token_bytes(token)): finite(logprob) for token, logprob in pairs}


def token_text(raw: bytes) -> str:
    """Return a token's text; one that is part of a character is written as its bytes."""
    try:
        return raw.decode()
    except UnicodeDecodeError:
        return "bytes:" + "".join(f"\\x{byte:02x}" for byte in raw)


def finite(logprob: float) -> float:
    """Return a log-probability that JSON can write."""
    return logprob if math.isfinite(logprob) else IMPOSSIBLE
