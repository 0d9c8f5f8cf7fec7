"""Answers of ``/tokenize``, ``/detokenize`` and ``/apply-template``."""

from __future__ import annotations

from msgspec import UNSET, UnsetType

from llmcore_server.v1_answers.strict import Strict, Whole


class TokenPiece(Strict, frozen=True):
    """A token and its text, or its bytes where they are no text."""

    id: Whole
    piece: str | list[Whole]


class TokenList(Strict, frozen=True, kw_only=True):
    """Tokens, with their pieces where those were asked for; ``max_model_len`` is the model's context."""

    tokens: list[Whole | TokenPiece]
    count: Whole
    max_model_len: Whole
    token_strs: list[str] | UnsetType = UNSET


class TokenText(Strict, frozen=True):
    """The text of tokens, under the two names by which clients of other servers look for it."""

    content: str
    prompt: str


class RenderedPrompt(Strict, frozen=True):
    """A conversation as the model reads it."""

    prompt: str
