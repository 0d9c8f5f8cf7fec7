"""A model's tokenizer together with its chat template."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

from llmcore import _core
from llmcore.chat_template import ChatTemplate
from llmcore.errors import InvalidArgumentError, ModelError
from llmcore.infill import find_infill_tokens
from llmcore.marked_text import MarkedText
from llmcore.model_templates import ModelTemplates
from llmcore.tokenizer import Tokenizer
from llmcore.tokenizer_metadata import CONTROL, USER_DEFINED

# Shown to a template to see what it makes of tools.
_QUESTION = [{"role": "user", "content": "?"}]
_PROBE: dict[str, Any] = {
    "type": "function",
    "function": {
        "name": "probe_of_tools",
        "description": "",
        "parameters": {"type": "object", "properties": {}},
    },
}


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
        kind = file.get("general.type")
        if isinstance(kind, str) and kind == "adapter":
            raise ModelError(
                "[model] general.type; got an adapter; expected a model, the adapter as its lora"
            )
        tokenizer = Tokenizer.from_file(file)
        return cls(tokenizer, ModelTemplates.from_file(file, tokenizer, path))

    @property
    def chat_template(self) -> str | None:
        """The model's chat template: its file's own, or the published format that its vocabulary shows."""
        template = self._templates.default
        return None if template is None else template.source

    @cached_property
    def takes_tools(self) -> bool:
        """Whether the model's chat template tells the model of tools; some that know the word refuse them."""
        template = self._templates.choose([_PROBE])
        if template is None or not template.knows_tools:
            return False
        try:
            return _PROBE["function"]["name"] in template.render(_QUESTION, tools=[_PROBE])
        except (InvalidArgumentError, ModelError):
            return False

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
        return self.tokenizer.encode_chat(
            self._template(tools),
            messages,
            add_generation_prompt=add_generation_prompt,
            tools=tools,
            **variables,
        )

    def render_chat(
        self,
        messages: Sequence[Mapping[str, Any]],
        add_generation_prompt: bool = True,
        tools: Sequence[Mapping[str, Any]] | None = None,
        **variables: Any,
    ) -> str:
        """The conversation as text, to look at: it may spell control tokens that came from the messages.

        Raises as `encode_chat`.
        """
        return self._template(tools).render(messages, add_generation_prompt, tools, **variables)

    def encode_infill(self, before: str, behind: str) -> list[int] | None:
        """Token ids of a prompt to complete between two texts; None if the vocabulary has no such tokens."""
        tokens = find_infill_tokens(self.special_token)
        if tokens is None:
            return None
        texts = self.tokenizer.encode_batch([before, behind], add_special=False)
        return [*self.tokenizer.encode(""), tokens[0], *texts[0], tokens[1], *texts[1], tokens[2]]

    def special_token(self, name: str) -> int | None:
        """The id of a control or user-defined token of that name, None if there is none."""
        ids = self.tokenizer.encode(name, add_special=False, parse_special=True)
        if len(ids) != 1 or self.tokenizer.vocabulary.token_type(ids[0]) not in (CONTROL, USER_DEFINED):
            return None
        return ids[0]

    def marked_text(
        self, names: Sequence[str], prompt: Sequence[int], stop: Sequence[str] = (), min_tokens: int = 0
    ) -> MarkedText | None:
        """A completion's text with the control tokens of these names in it.

        None if the vocabulary has none of them: then the engine's own text tells all.
        """
        vocabulary = self.tokenizer.vocabulary
        ids = {name: self.special_token(name) for name in names}
        shown = {
            token: name
            for name, token in ids.items()
            if token is not None and vocabulary.token_type(token) == CONTROL
        }
        if not shown:
            return None
        begins_text = not prompt or not vocabulary.text_bytes(prompt[-1])
        return MarkedText(vocabulary, shown, stop=stop, min_tokens=min_tokens, begins_text=begins_text)

    def decode(self, ids: Sequence[int], skip_special: bool = True) -> str:
        """The text of token ids; see `Tokenizer.decode`."""
        return self.tokenizer.decode(ids, skip_special)

    def token_bytes(self, token: int) -> bytes:
        """What one token stands for; a control token's name."""
        return self.tokenizer.token_bytes(token)

    def _template(self, tools: Sequence[Mapping[str, Any]] | None) -> ChatTemplate:
        template = self._templates.choose(tools)
        if template is None:
            raise InvalidArgumentError("[chat_template] the model has no chat template; use a plain prompt")
        return template
