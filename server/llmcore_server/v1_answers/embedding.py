"""Answer of ``POST /v1/embeddings``."""

from __future__ import annotations

from llmcore_server.v1_answers.strict import Strict, Whole


class EmbeddedText(Strict, frozen=True, tag_field="object", tag="embedding"):
    """One text's vector: numbers, or the base64 of float32, little-endian."""

    index: Whole
    embedding: list[float] | str


class EmbeddingUsage(Strict, frozen=True):
    """Tokens of all texts."""

    prompt_tokens: Whole
    total_tokens: Whole


class EmbeddingList(Strict, frozen=True, tag_field="object", tag="list"):
    """A vector a text, in their order."""

    data: list[EmbeddedText]
    model: str
    usage: EmbeddingUsage
