"""A vocabulary as a GGUF file holds it, whatever the folder kept it in."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from gguf import GGUFWriter

from llmcore.tokenizer_metadata import CONTROL, UNUSED, USER_DEFINED

Warn = Callable[[str], None]
"""Told, in one line, what the file will have otherwise than the folder asked for."""

SPACE_MARK = "\u2581"
# Roles that the format spells otherwise.
_ROLE_KEYS = {"unk": "unknown", "sep": "seperator", "pad": "padding"}
_ADDED_SCORE = -1000.0
_UNUSED_SCORE = -10000.0


@dataclass
class Vocabulary:
    """Tokens by id. `model` is "llama" (SentencePiece; `scores`), "gpt2" (byte-level BPE; `merges`) or "bert"
    (WordPiece)."""

    model: str
    pre: str
    tokens: list[str]
    types: list[int]
    scores: list[float] = field(default_factory=list)
    merges: list[str] = field(default_factory=list)
    add_space_prefix: bool | None = None
    lowercase: bool | None = None
    """Whether text is made lower case, and by `strip_accents` rid of accents, before it is cut."""
    strip_accents: bool | None = None
    special_ids: dict[str, int] = field(default_factory=dict)
    """Ids by role: bos, eos, unk, sep, pad, cls, mask, eot, eom."""
    adds: dict[str, bool] = field(default_factory=dict)
    """Whether an encoded text gets the token of that role: bos, eos."""

    def set_token(self, token: int, text: str, kind: int) -> None:
        """Names a token that the vocabulary's own model has not; gaps before it stay unused."""
        self.pad(token + 1)
        self.tokens[token], self.types[token] = text, kind
        if self.model == "llama":
            self.scores[token] = _ADDED_SCORE

    def pad(self, size: int) -> None:
        """Fills up to `size` tokens with ones that no text has."""
        first = len(self.tokens)
        self.tokens += [f"[PAD{token}]" for token in range(first, size)]
        self.types += [UNUSED] * (size - first)
        if self.model == "llama":
            self.scores += [_UNUSED_SCORE] * (size - first)

    def fit(self, size: int, warn: Warn) -> None:
        """Gives the vocabulary one token a row of the embedding."""
        if len(self.tokens) > size:
            if any(kind != UNUSED for kind in self.types[size:]):
                warn(f"tokens from id {size} on are left out: the embedding has no rows for them")
            del self.tokens[size:], self.types[size:], self.scores[size:]
            self.special_ids = {role: token for role, token in self.special_ids.items() if token < size}
        self.pad(size)

    def find(self, text: str) -> int | None:
        """The id of a control token by its text, else of any token."""
        found = [token for token, name in enumerate(self.tokens) if name == text]
        return next((token for token in found if self.types[token] == CONTROL), found[0] if found else None)

    def write(self, writer: GGUFWriter) -> None:
        """Adds everything under `tokenizer.`, but the chat template."""
        writer.add_tokenizer_model(self.model)
        writer.add_tokenizer_pre(self.pre)
        writer.add_token_list(self.tokens)
        if self.model == "llama":
            writer.add_token_scores(self.scores)
        writer.add_token_types(self.types)
        if self.merges:
            writer.add_token_merges(self.merges)
        for role, token in self.special_ids.items():
            writer.add_uint32(f"tokenizer.ggml.{_ROLE_KEYS.get(role, role)}_token_id", token)
        for role, wanted in self.adds.items():
            getattr(writer, f"add_add_{role}_token")(wanted)
        if self.add_space_prefix is not None:
            writer.add_add_space_prefix(self.add_space_prefix)
        for key, does in (("lowercase", self.lowercase), ("strip_accents", self.strip_accents)):
            if does is not None:
                writer.add_bool(f"tokenizer.ggml.normalizer.{key}", does)


def added_kind(text: str, special: bool) -> int:
    """Type of an added token. Some folders mark control tokens as ordinary ones; their form betrays them."""
    looks_special = (
        (text.startswith("<|") and text.endswith("|>"))
        or (text.startswith("<\uff5c") and text.endswith("\uff5c>"))
        or (text.startswith("<unused") and text.endswith(">"))
        or text in ("<pad>", "<mask>", "<2mass>", "[@BOS@]")
    )
    return CONTROL if special or looks_special else USER_DEFINED


def added_text(text: str, kind: int) -> str:
    """Text of an added token: ordinary ones are matched in text where spaces are spaces."""
    return text.replace(SPACE_MARK, " ") if kind == USER_DEFINED else text
