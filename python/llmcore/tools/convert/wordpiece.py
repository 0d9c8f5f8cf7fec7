"""Reads WordPiece vocabularies, BERT's, in the form that GGUF files have them in.

There a word's beginning is marked, by the sign that SentencePiece writes for a space, and its continuation is
not; in these folders it is the other way round.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from llmcore.tokenizer_metadata import CONTROL, NORMAL
from llmcore.tools.convert.errors import unusable
from llmcore.tools.convert.json_file import read_text
from llmcore.tools.convert.vocabulary import SPACE_MARK, Vocabulary

_CONTINUES = "##"
_SPECIALS = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")


def wordpiece_of_json(tokenizer: Mapping[str, Any], words: list[str]) -> Vocabulary:
    """The vocabulary of a tokenizer.json whose model is WordPiece. Raises ModelError unless it cuts text as
    BERT does."""
    model, normalizer = tokenizer.get("model"), tokenizer.get("normalizer")
    assert isinstance(model, Mapping)
    if model.get("continuing_subword_prefix", _CONTINUES) != _CONTINUES:
        raise unusable(
            "continuing_subword_prefix in tokenizer.json", model["continuing_subword_prefix"], _CONTINUES
        )
    for part, kind in (("normalizer", "BertNormalizer"), ("pre_tokenizer", "BertPreTokenizer")):
        step = tokenizer.get(part)
        if not isinstance(step, Mapping) or step.get("type") != kind:
            raise unusable(f"{part} of a WordPiece tokenizer.json", step, kind)
    assert isinstance(normalizer, Mapping)
    for key in ("clean_text", "handle_chinese_chars"):
        if normalizer.get(key, True) is not True:
            raise unusable(f"{key} in tokenizer.json", normalizer[key], True)
    return _vocabulary(words, normalizer.get("lowercase", True), normalizer.get("strip_accents"))


def wordpiece_of_list(path: Path, settings: Mapping[str, Any]) -> Vocabulary:
    """The vocabulary of a vocab.txt, a token a line; `settings` are tokenizer_config.json's."""
    if settings.get("tokenize_chinese_chars", True) is not True:
        raise unusable("tokenize_chinese_chars in tokenizer_config.json", False, True)
    words = read_text(path).split("\n")
    if words and not words[-1]:
        words.pop()
    found = _vocabulary(
        [word.rstrip("\r") for word in words],
        settings.get("do_lower_case", True),
        settings.get("strip_accents"),
    )
    for token, word in enumerate(words):
        if word.strip() in _SPECIALS:
            found.set_token(token, word.strip(), CONTROL)
    return found


def _vocabulary(words: list[str], lowercase: object, strip_accents: object) -> Vocabulary:
    if not isinstance(lowercase, bool) or not isinstance(strip_accents, bool | None):
        raise unusable(
            "lowercase and strip_accents of the tokenizer", f"{lowercase}, {strip_accents}", "flags"
        )
    marked = [
        word.removeprefix(_CONTINUES)
        if word.startswith(_CONTINUES) and word != _CONTINUES
        else SPACE_MARK + word
        for word in words
    ]
    vocabulary = Vocabulary("bert", "default", marked, [NORMAL] * len(marked))
    vocabulary.lowercase, vocabulary.strip_accents = lowercase, strip_accents
    return vocabulary
