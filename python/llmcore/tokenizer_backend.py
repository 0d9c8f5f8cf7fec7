"""What turns text into ids: the core's own encoder, or the `tokenizers` library's, by kind of vocabulary."""

from __future__ import annotations

import os
from collections.abc import Iterable
from typing import Any, Protocol

import numpy as np

# One thread encodes one text; the library's own pool would compete with the engine's threads.
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")

from tokenizers import AddedToken, Regex, normalizers, pre_tokenizers
from tokenizers import Tokenizer as Library
from tokenizers.models import BPE, WordPiece

from llmcore import _core
from llmcore.errors import ModelError
from llmcore.tokenizer_metadata import BYTE, USER_DEFINED, TokenizerMetadata

_LAST_OF_WORD = 256  # what the core expects
_SPACE_MARK = "\u2581"
_NO_TEXT = " unknown "  # texts are cut at spaces before words are looked up


class Encoder(Protocol):
    """Ids of plain text: no text can produce a control token, and user-defined tokens are split off first.

    `continues`: another text precedes each, so that nothing is put in front of it.

    Encoding does not hold the interpreter's lock. A text with lone surrogates raises TypeError or
    UnicodeEncodeError.
    """

    def encode_batch(self, texts: list[str], continues: bool = False) -> list[list[int]]: ...


class LibraryEncoder:
    """The library's encoder for a model without control tokens."""

    def __init__(self, library: Library, user_defined: Iterable[str]) -> None:
        added = [AddedToken(text, normalized=False) for text in user_defined]
        if added:
            library.add_tokens(added)
        self._library = library

    def encode_batch(self, texts: list[str], continues: bool = False) -> list[list[int]]:
        del continues  # nothing is ever put in front
        # The batch call releases the interpreter's lock; `encode` holds it.
        return [found.ids for found in self._library.encode_batch_fast(texts, add_special_tokens=False)]


class ByteLevelEncoder:
    """Byte pairs of the core's own within words that the library's regular expressions find.

    The library knows no merge, only bytes, and spells a word's last byte otherwise: so its ids tell where
    words end, and a vocabulary need not be handed to it, which takes half a second for large ones.
    """

    def __init__(self, core: _core.ByteLevelEncoder, patterns: Iterable[str]) -> None:
        mark = "</w>"
        words = {char: byte for byte, char in enumerate(core.alphabet)}
        words |= {char + mark: byte + _LAST_OF_WORD for char, byte in words.items()}
        library = Library(BPE(words, [], end_of_word_suffix=mark))
        splits: list[Any] = [pre_tokenizers.Split(Regex(rule), "isolated") for rule in patterns]
        splits.append(pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False))
        library.pre_tokenizer = pre_tokenizers.Sequence(splits)
        self._library = library
        self._core = core

    def encode_batch(self, texts: list[str], continues: bool = False) -> list[list[int]]:
        del continues  # nothing is ever put in front
        if not self._core.has_user_defined:
            return self._encode_plain(texts)
        cuts = [self._core.cut(text) for text in texts]
        encoded = iter(self._encode_plain([part for plain, _ in cuts for part in plain]))
        results = []
        for plain, tokens in cuts:
            ids = next(encoded)
            for token, _ in zip(tokens, plain[1:], strict=True):
                ids.append(token)
                ids.extend(next(encoded))
            results.append(ids)
        return results

    def _encode_plain(self, texts: list[str]) -> list[list[int]]:
        found = self._library.encode_batch_fast(texts, add_special_tokens=False)
        return [self._core.encode(bytes_of.ids) for bytes_of in found]


def build_encoder(file: _core.GGUFFile, vocabulary: _core.Vocabulary, data: TokenizerMetadata) -> Encoder:
    """The encoder for a file's vocabulary; ModelError where its lists are broken."""
    if data.kind in ("llama", "gemma4", "t5"):
        return _core.PieceEncoder(file, vocabulary)
    if data.kind == "gpt2":
        core = _core.ByteLevelEncoder(file, vocabulary, data.pre.ignore_merges)
        return ByteLevelEncoder(core, data.pre.patterns)
    library = _BUILDERS[data.kind](file, vocabulary, data)
    user_defined = np.flatnonzero(vocabulary.token_types == USER_DEFINED).tolist()
    names = [vocabulary.token_bytes(token).decode("utf-8", "ignore") for token in user_defined]
    return LibraryEncoder(library, [name for name in names if name])


def _whitespace(file: _core.GGUFFile, vocabulary: _core.Vocabulary, data: TokenizerMetadata) -> Library:
    """Byte pairs of characters within words; spaces are dropped (jina-embeddings-v2-base-zh)."""
    ids, merges = _core.byte_pair_tables(file, vocabulary)
    unknown = None
    if data.unknown_id is not None:
        unknown = _NO_TEXT
        ids[unknown] = data.unknown_id
    has_bytes = int(np.count_nonzero(vocabulary.token_types == BYTE)) == 256
    library = Library(BPE(ids, merges, unk_token=unknown, byte_fallback=has_bytes))
    if data.lowercase:
        library.normalizer = normalizers.Lowercase()
    library.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    return library


def _wordpiece(file: _core.GGUFFile, vocabulary: _core.Vocabulary, data: TokenizerMetadata) -> Library:
    """GGUF marks the beginning of a word, the library its continuation."""
    if data.unknown_id is None:
        raise ModelError("[tokenizer] a WordPiece vocabulary has no unknown token")
    ids = {_NO_TEXT: data.unknown_id}
    for text, token in _core.byte_pair_tables(file, vocabulary)[0].items():
        # The mark alone goes on with a word; words are not empty.
        piece = text[1:] if len(text) > 1 and text.startswith(_SPACE_MARK) else f"##{text}"
        if ids.setdefault(piece, token) != token:
            raise ModelError(
                f"[tokenizer] two tokens are the same piece; got {ids[piece]} and {token}; expected texts "
                "that differ"
            )
    library = Library(WordPiece(ids, unk_token=_NO_TEXT))
    library.normalizer = normalizers.BertNormalizer(
        lowercase=data.lowercase, strip_accents=data.strip_accents
    )
    library.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    return library


_BUILDERS = {"whitespace": _whitespace, "bert": _wordpiece}
