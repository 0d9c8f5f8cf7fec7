"""Text to token ids and back, for the vocabulary of a GGUF file."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from llmcore import _core
from llmcore.chat_template import ChatTemplate
from llmcore.control_tokens import ControlTokens, swallowed_space
from llmcore.errors import InvalidArgumentError
from llmcore.tokenizer_backend import build_encoder
from llmcore.tokenizer_metadata import read_metadata


class Tokenizer:
    """Encodes and decodes with a model's vocabulary. Immutable; safe to share between threads.

    Control tokens ("<|im_end|>") can only come from `parse_special=True` and from a chat template's own text;
    any other text that spells one is encoded as ordinary text.
    """

    def __init__(self, file: _core.GGUFFile) -> None:
        """Use `from_gguf` or `from_file`."""
        self.vocabulary = _core.Vocabulary(file)
        data = read_metadata(file, self.vocabulary)
        self._encoder = build_encoder(file, self.vocabulary, data)
        self._controls = ControlTokens(data.controls, swallowed_space(file, data.controls))
        self._prefix = [data.bos_id] if data.add_bos and data.bos_id is not None else []
        suffix = data.eos_id if data.add_eos else None
        if data.kind == "bert":
            separator = data.separator_id if data.separator_id is not None else data.eos_id
            suffix = separator if data.add_sep else None
        self._suffix = [suffix] if suffix is not None else []
        self.bos_id: int | None = data.bos_id
        self.eos_id: int | None = data.eos_id
        self.add_bos: bool = bool(self._prefix)
        self.chat_template: str | None = data.chat_template

    @classmethod
    def from_gguf(cls, path: str | Path) -> Tokenizer:
        """Reads the vocabulary of a model or vocabulary-only file.

        Raises GGUFError for a damaged file, ModelError for a vocabulary that is missing or not supported.
        """
        return cls(_core.GGUFFile(path))

    @classmethod
    def from_file(cls, file: _core.GGUFFile) -> Tokenizer:
        """The same from a file that is open already."""
        return cls(file)

    @property
    def vocab_size(self) -> int:
        return self.vocabulary.size

    @property
    def end_token_ids(self) -> list[int]:
        """Ids that end a turn, ascending."""
        return self.vocabulary.end_tokens

    def encode(self, text: str, add_special: bool = True, parse_special: bool = False) -> list[int]:
        """Token ids of `text`.

        `add_special` adds what the model wants around a text (BOS, EOS, [CLS] and [SEP]); `parse_special`
        turns control tokens' names into the tokens: never for text from outside. A BOS that is there already
        is not added again. Raises InvalidArgumentError for text with lone surrogates.
        """
        if parse_special:
            ids = self._encode_fragments(self._controls.split(text))
            prefix = [] if ids[:1] == self._prefix else self._prefix
        else:
            ids = self._encode_texts([text])[0]
            prefix = self._prefix
        return [*prefix, *ids, *self._suffix] if add_special else ids

    def encode_continuation(self, text: str) -> list[int]:
        """Token ids of `text` as it continues another: without special tokens, nor the space that some
        vocabularies want in front of a text."""
        return self._encode_texts([text], continues=True)[0]

    def encode_batch(
        self, texts: Sequence[str], add_special: bool = True, parse_special: bool = False
    ) -> list[list[int]]:
        """As `encode`, for each of `texts`."""
        if parse_special:
            return [self.encode(text, add_special, parse_special=True) for text in texts]
        encoded = self._encode_texts(list(texts))
        if not add_special or not (self._prefix or self._suffix):
            return encoded
        return [[*self._prefix, *ids, *self._suffix] for ids in encoded]

    def encode_chat(
        self,
        template: ChatTemplate,
        messages: Sequence[Mapping[str, Any]],
        *,
        add_generation_prompt: bool = True,
        tools: Sequence[Mapping[str, Any]] | None = None,
        **variables: Any,
    ) -> list[int]:
        """Token ids of a conversation in the model's chat format, with BOS if the model wants one.

        Control tokens come from the template alone: what messages and tools say stays text, whatever it
        spells. Raises InvalidArgumentError if the template refuses the messages.
        """
        rendered, mark = template.render_marked(
            self._controls, messages, add_generation_prompt=add_generation_prompt, tools=tools, **variables
        )
        ids = self._encode_fragments(self._controls.split(rendered, mark))
        return ids if ids[:1] == self._prefix else [*self._prefix, *ids]

    def decode(self, ids: Sequence[int], skip_special: bool = True) -> str:
        """The text of `ids`; bytes that are not UTF-8 become U+FFFD. Control tokens are left out, or named.

        Raises InvalidArgumentError for an id outside the vocabulary.
        """
        return self.vocabulary.decode(ids, not skip_special).decode("utf-8", "replace")

    def token_bytes(self, token: int) -> bytes:
        """What one token stands for; a control token's name."""
        return self.vocabulary.token_bytes(token)

    def _encode_texts(self, texts: list[str], *, continues: bool = False) -> list[list[int]]:
        try:
            return self._encoder.encode_batch(texts, continues)
        except (TypeError, UnicodeEncodeError) as error:
            if all(isinstance(text, str) for text in texts):
                raise InvalidArgumentError("[tokenizer] text with lone surrogates is not Unicode") from error
            raise TypeError("text must be str") from error

    def _encode_fragments(self, fragments: Iterable[tuple[str, int | None]]) -> list[int]:
        parts = list(fragments)
        encoded = iter(self._encode_texts([text for text, _ in parts if text]))
        ids: list[int] = []
        for text, token in parts:
            if text:
                ids.extend(next(encoded))
            if token is not None:
                ids.append(token)
        return ids
