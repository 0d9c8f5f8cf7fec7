"""Builds the `tokenizers` library's encoder from a GGUF file's vocabulary."""

from __future__ import annotations

import os
from typing import Any

import numpy as np

# One thread encodes one text; the library's own pool would compete with the engine's threads.
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")

from tokenizers import AddedToken, Regex, normalizers, pre_tokenizers
from tokenizers import Tokenizer as Backend
from tokenizers.models import BPE, WordPiece

from llmcore import _core
from llmcore.errors import ModelError
from llmcore.tokenizer_metadata import BYTE, CONTROL, UNUSED, USER_DEFINED, TokenizerMetadata

_SPACE_MARK = "\u2581"


def build_backend(data: TokenizerMetadata) -> Backend:
    """An encoder without control tokens: no text can produce one. User-defined ones are always split off."""
    backend: Backend = _BUILDERS[data.model](data)
    user_defined = np.flatnonzero(data.types == USER_DEFINED).tolist()
    added = [AddedToken(data.pieces[token], normalized=False) for token in user_defined]
    if added:
        backend.add_tokens(added)
    return backend


def _ids(data: TokenizerMetadata) -> dict[str, int]:
    return dict(zip(data.pieces, range(len(data.pieces)), strict=True))


def _listed_merges(data: TokenizerMetadata) -> list[tuple[str, str]]:
    return _core.bpe_merges(data.pieces, data.merges)


def _has_byte_fallback(data: TokenizerMetadata) -> bool:
    return int(np.count_nonzero(data.types == BYTE)) == 256


def _byte_level(data: TokenizerMetadata) -> Backend:
    model = BPE(_ids(data), _listed_merges(data), ignore_merges=data.pre.ignore_merges)
    backend = Backend(model)
    splits: list[Any] = [pre_tokenizers.Split(Regex(rule), "isolated") for rule in data.pre.patterns]
    splits.append(pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False))
    backend.pre_tokenizer = pre_tokenizers.Sequence(splits)
    return backend


def _sentencepiece(data: TokenizerMetadata) -> Backend:
    if data.unknown_id is None:
        raise ModelError("[tokenizer] a SentencePiece vocabulary has no unknown token")
    types = np.where(np.isin(data.types, (CONTROL, UNUSED)), UNUSED, data.types).astype(np.uint8)
    model = BPE(
        _ids(data),
        _core.spm_merges(data.pieces, data.scores, types),
        byte_fallback=_has_byte_fallback(data),
        unk_token=data.pieces[data.unknown_id],
        fuse_unk=True,
    )
    backend = Backend(model)
    steps: list[Any] = [normalizers.Prepend(_SPACE_MARK)] if data.add_space_prefix else []
    backend.normalizer = normalizers.Sequence([*steps, normalizers.Replace(" ", _SPACE_MARK)])
    return backend


def _gemma4(data: TokenizerMetadata) -> Backend:
    unknown = None if data.unknown_id is None else data.pieces[data.unknown_id]
    model = BPE(
        _ids(data),
        _listed_merges(data),
        byte_fallback=_has_byte_fallback(data),
        unk_token=unknown,
        fuse_unk=True,
    )
    backend = Backend(model)
    backend.normalizer = normalizers.Replace(" ", _SPACE_MARK)
    backend.pre_tokenizer = pre_tokenizers.Split(Regex(r"[^\n]+|\n+"), "isolated")
    return backend


def _wordpiece(data: TokenizerMetadata) -> Backend:
    # GGUF marks the beginning of a word, the library its continuation.
    def piece(text: str) -> str:
        if text.startswith(_SPACE_MARK):
            return text[len(_SPACE_MARK) :]
        return text if text.startswith(("[", " ")) else f"##{text}"

    if data.unknown_id is None:
        raise ModelError("[tokenizer] a WordPiece vocabulary has no unknown token")
    pieces = [piece(text) for text in data.pieces]
    unknown = pieces[data.unknown_id]
    model = WordPiece(dict(zip(pieces, range(len(pieces)), strict=True)), unk_token=unknown)
    backend = Backend(model)
    backend.normalizer = normalizers.BertNormalizer(lowercase=data.lowercase)
    backend.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    return backend


_BUILDERS = {"gpt2": _byte_level, "llama": _sentencepiece, "gemma4": _gemma4, "bert": _wordpiece}
