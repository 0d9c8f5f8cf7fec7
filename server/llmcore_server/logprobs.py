"""The engine's log-probabilities in OpenAI's shape."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

from llmcore_server.engine_protocol import Delta, Tokenizer

# JSON has no infinities; OpenAI itself writes this for impossible tokens.
IMPOSSIBLE = -9999.0


def chat_logprobs(deltas: Iterable[Delta], tokenizer: Tokenizer) -> dict[str, Any] | None:
    """Return chat's ``logprobs`` object for these deltas, None if none was asked for."""
    tokens = [token for delta in deltas if delta.logprobs is not None for token in delta.logprobs]
    if not tokens:
        return None
    content = [
        {
            **_candidate(token.token_id, token.logprob, tokenizer),
            "top_logprobs": [_candidate(token_id, logprob, tokenizer) for token_id, logprob in token.top],
        }
        for token in tokens
    ]
    return {"content": content, "refusal": None}


def _candidate(token_id: int, logprob: float, tokenizer: Tokenizer) -> dict[str, Any]:
    raw = tokenizer.token_bytes(token_id)
    return {
        "token": raw.decode("utf-8", errors="replace"),
        "logprob": logprob if math.isfinite(logprob) else IMPOSSIBLE,
        "bytes": list(raw),
    }
