"""Reads tokenizer.json, the `tokenizers` library's format, as a GGUF vocabulary."""

from __future__ import annotations

from typing import Any

from llmcore.tokenizer_metadata import BYTE, NORMAL, UNKNOWN
from llmcore.tools.convert.errors import unusable
from llmcore.tools.convert.pretokenizer_names import pretokenizer_name
from llmcore.tools.convert.vocabulary import SPACE_MARK, Vocabulary, Warn, added_kind, added_text
from llmcore.tools.convert.wordpiece import wordpiece_of_json

_MAX_TOKENS = 1 << 21  # eight times the largest vocabulary in use
_KINDS = "BPE over bytes or with byte_fallback, or WordPiece"


def vocabulary_of_json(tokenizer: dict[str, Any], model_type: str, warn: Warn) -> Vocabulary:
    """The vocabulary with its added tokens. Raises ModelError for a kind that GGUF readers do not run."""
    model = _object(tokenizer, "model")
    kind = model.get("type", "BPE")
    if kind not in ("BPE", "WordPiece") or not isinstance(model.get("vocab"), dict):
        raise unusable("model of tokenizer.json", kind, _KINDS)
    words = _words(model["vocab"])
    if kind == "WordPiece":
        vocabulary = wordpiece_of_json(tokenizer, words)
        add_tokens(vocabulary, tokenizer.get("added_tokens"))
        return vocabulary
    merges = _merges(model.get("merges"))
    if model.get("byte_fallback") is True:
        vocabulary = _sentencepiece(tokenizer, model, words, merges)
    elif _uses(tokenizer, "ByteLevel"):
        name = pretokenizer_name(tokenizer, model_type)
        if name is None:
            warn("the tokenizer's pre-tokenizer is not known; the file says `default`, maybe less well")
        vocabulary = Vocabulary("gpt2", name or "default", words, [NORMAL] * len(words))
        vocabulary.merges = [" ".join(part.replace(" ", "\u0120") for part in pair) for pair in merges]
    else:
        raise unusable("tokenizer.json is of an unsupported kind", expected=_KINDS)
    add_tokens(vocabulary, tokenizer.get("added_tokens"))
    return vocabulary


def add_tokens(vocabulary: Vocabulary, added: object) -> None:
    """Adds or renames tokens as a list of {id, content, special} says."""
    for entry in added if isinstance(added, list) else []:
        if not isinstance(entry, dict):
            raise unusable("entry of added_tokens in tokenizer.json", entry, "an object")
        token, text = entry.get("id"), entry.get("content")
        add_token(vocabulary, token, text, entry.get("special") is True)


def add_token(vocabulary: Vocabulary, token: object, text: object, special: bool) -> None:
    """Adds or renames one token. Raises ModelError for an id or a text that cannot be."""
    if isinstance(token, bool) or not isinstance(token, int) or not 0 <= token < _MAX_TOKENS:
        raise unusable("id of an added token", token, f"0 to {_MAX_TOKENS - 1}")
    if not isinstance(text, str) or not _is_unicode(text):
        raise unusable("text of an added token", repr(text), "Unicode text")
    known = token < len(vocabulary.tokens) and vocabulary.tokens[token] == text
    if known and vocabulary.types[token] in (UNKNOWN, BYTE):
        return  # listed among the added tokens as well, but it keeps its part in the model
    kind = added_kind(text, special)
    vocabulary.set_token(token, added_text(text, kind), kind)


def _object(parent: dict[str, Any], key: str) -> dict[str, Any]:
    value = parent.get(key)
    if not isinstance(value, dict):
        raise unusable(f"{key} in tokenizer.json", type(value).__name__, "an object")
    return value


def _is_unicode(text: str) -> bool:
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        return False
    return True


def _words(vocab: dict[str, Any]) -> list[str]:
    """Texts by id. Ids may leave gaps for added tokens."""
    ids = vocab.values()
    if not all(isinstance(token, int) and not isinstance(token, bool) for token in ids):
        raise unusable("ids of tokenizer.json", expected="whole numbers")
    size = max(ids, default=-1) + 1
    if min(ids, default=0) < 0 or size > _MAX_TOKENS:
        raise unusable("ids of tokenizer.json", size, f"0 to {_MAX_TOKENS - 1}")
    words = [f"[PAD{token}]" for token in range(size)]
    for text, token in vocab.items():
        words[token] = text
    if not _is_unicode("".join(words)):
        raise unusable("vocabulary of tokenizer.json is not Unicode text")
    return words


def _merges(merges: object) -> list[tuple[str, str]]:
    """Pairs in order of rank; older files join them with a space."""
    if not isinstance(merges, list):
        raise unusable("merges in tokenizer.json", type(merges).__name__, "a list")
    pairs = []
    for merge in merges:
        parts = merge.split(" ") if isinstance(merge, str) else merge
        if not isinstance(parts, list) or len(parts) != 2 or not all(isinstance(part, str) for part in parts):
            raise unusable("merge in tokenizer.json", repr(merge), "two texts")
        pairs.append((parts[0], parts[1]))
    return pairs


def _sentencepiece(
    tokenizer: dict[str, Any], model: dict[str, Any], words: list[str], merges: list[tuple[str, str]]
) -> Vocabulary:
    """A SentencePiece vocabulary in this format's clothes: scores that rank pieces as the merges do."""
    rank = {left + right: number for number, (left, right) in reversed(list(enumerate(merges)))}
    unreached = len(merges)
    types = [NORMAL] * len(words)
    for byte in range(256):
        if (text := f"<0x{byte:02X}>") in model["vocab"]:
            types[model["vocab"][text]] = BYTE
    unknown = model.get("unk_token")
    if isinstance(unknown, str) and unknown in model["vocab"]:
        types[model["vocab"][unknown]] = UNKNOWN
    scores = [
        -float(rank.get(word, unreached)) if kind == NORMAL else 0.0
        for word, kind in zip(words, types, strict=True)
    ]
    return Vocabulary("llama", "default", words, types, scores, add_space_prefix=_prepends_space(tokenizer))


def _prepends_space(tokenizer: dict[str, Any]) -> bool:
    for step in _steps(tokenizer.get("normalizer"), "normalizers"):
        if step.get("type") == "Prepend" and step.get("prepend") == SPACE_MARK:
            return True
    for step in _steps(tokenizer.get("pre_tokenizer"), "pretokenizers"):
        if step.get("type") == "Metaspace":
            scheme = step.get("prepend_scheme", "always" if step.get("add_prefix_space", True) else "never")
            return bool(scheme != "never")
    return False


def _uses(tokenizer: dict[str, Any], kind: str) -> bool:
    parts = (("pre_tokenizer", "pretokenizers"), ("decoder", "decoders"))
    return any(
        step.get("type") == kind for part, inner in parts for step in _steps(tokenizer.get(part), inner)
    )


def _steps(step: object, inner: str) -> list[dict[str, Any]]:
    """A step, or those of a sequence of them."""
    if not isinstance(step, dict):
        return []
    if step.get("type") == "Sequence" and isinstance(step.get(inner), list):
        return [found for part in step[inner] for found in _steps(part, inner)]
    return [step]
