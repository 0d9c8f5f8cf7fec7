"""A model's tokenizer together with its chat template."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from llmcore import _core
from llmcore.errors import InvalidArgumentError
from llmcore.model_templates import ModelTemplates
from llmcore.tokenizer import Tokenizer


class ModelTokenizer:
    """Text, conversations and token ids of one model. Immutable; safe to share between threads."""

    def __init__(self, tokenizer: Tokenizer, templates: ModelTemplates) -> None:
        self.tokenizer = tokenizer
        self._templates = templates

    @classmethod
    def from_gguf(cls, path: str | Path) -> ModelTokenizer:
        """Raises GGUFError for a damaged file, ModelError for a vocabulary that is missing or not
        supported, and for a chat template that cannot be used."""
        file = _core.GGUFFile(path)
        tokenizer = Tokenizer.from_file(file)
        return cls(tokenizer, ModelTemplates.from_file(file, tokenizer, path))

    @property
    def chat_template(self) -> str | None:
        """The model's chat template: its file's own, or the published format that its vocabulary shows."""
        template = self._templates.default
        return None if template is None else template.source

    def encode(self, text: str, add_special: bool = True, parse_special: bool = False) -> list[int]:
        """Token ids of a text; see `Tokenizer.encode`."""
        return self.tokenizer.encode(text, add_special, parse_special)

    def encode_chat(
        self,
        messages: Sequence[Mapping[str, Any]],
        add_generation_prompt: bool = True,
        tools: Sequence[Mapping[str, Any]] | None = None,
        **variables: Any,
    ) -> list[int]:
        """Token ids of a conversation in the model's chat format; see `Tokenizer.encode_chat`.

        Raises InvalidArgumentError if the model has no chat template or the template refuses the messages.
        """
        template = self._templates.choose(tools)
        if template is None:
            raise InvalidArgumentError("[chat_template] the model has no chat template; use a plain prompt")
        return self.tokenizer.encode_chat(
            template, messages, add_generation_prompt=add_generation_prompt, tools=tools, **variables
        )

    def decode(self, ids: Sequence[int], skip_special: bool = True) -> str:
        """The text of token ids; see `Tokenizer.decode`."""
        return self.tokenizer.decode(ids, skip_special)

    def token_bytes(self, token: int) -> bytes:
        """What one token stands for; a control token's name."""
        return self.tokenizer.token_bytes(token)
