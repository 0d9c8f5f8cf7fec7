"""Body of ``POST /v1/embeddings``."""

from __future__ import annotations

from typing import Any, Literal

from msgspec import Struct

from llmcore_server.schemas import Count


class EmbeddingRequest(Struct, frozen=True, kw_only=True):
    """``input`` is a text or token ids, or a list of either; ``dimensions`` keeps the first ones alone.

    ``pooling`` and ``normalize`` are this server's own: what is made of the tokens' states, the model's way
    where it is absent, and whether vectors get length 1, as OpenAI's have.
    """

    input: str | list[Any]
    model: str | None = None
    encoding_format: Literal["float", "base64"] | None = None
    dimensions: Count | None = None
    pooling: Literal["mean", "cls", "last"] | None = None
    normalize: bool | None = None
