"""The chat templates of a model: those its file brings, or the published format its vocabulary shows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from llmcore import _core
from llmcore.chat_formats import ChatFormat, find_format
from llmcore.chat_template import ChatTemplate
from llmcore.tokenizer import Tokenizer
from llmcore.tokenizer_metadata import CONTROL, USER_DEFINED, metadata

_MAX_NAME = 200  # characters; what comes behind them tells nothing


class ModelTemplates:
    """A model's templates: one for conversations, perhaps another for those with tools."""

    def __init__(self, default: ChatTemplate | None, with_tools: ChatTemplate | None = None) -> None:
        self.default = default
        self._with_tools = with_tools

    @classmethod
    def from_file(cls, file: _core.GGUFFile, tokenizer: Tokenizer, path: str | Path = "") -> ModelTemplates:
        """Those of a file; `path` is one of the names that can tell what model it is.

        Raises ModelError for a template that is broken, asks for what there is not, or does not end.
        """
        default, with_tools = _own_sources(file)
        specials = _name(tokenizer, tokenizer.bos_id), _name(tokenizer, tokenizer.eos_id)
        if default is None:
            known = _known_format(file, tokenizer, path)
            return cls(None if known is None else ChatTemplate(known.source, *specials, known.variables))
        templates = [ChatTemplate(source, *specials) for source in (default, with_tools) if source]
        for template in templates:
            template.try_out()
        return cls(*templates)

    def choose(self, tools: Sequence[Mapping[str, Any]] | None) -> ChatTemplate | None:
        """The template for a conversation with or without tools."""
        return self._with_tools if tools and self._with_tools is not None else self.default


def _own_sources(file: _core.GGUFFile) -> tuple[str | None, str | None]:
    """The default template and another one for tools, as the file names them."""
    with_tools = _source(file, "chat_template.tool_use")
    default = _source(file, "chat_template") or _source(file, "chat_template.default") or with_tools
    return default, with_tools if with_tools != default else None


def _source(file: _core.GGUFFile, name: str) -> str | None:
    source: str = metadata(file, name, str, "")
    return source if source.strip() else None


def _known_format(file: _core.GGUFFile, tokenizer: Tokenizer, path: str | Path) -> ChatFormat | None:
    types = tokenizer.vocabulary.token_types
    special = np.flatnonzero((types == CONTROL) | (types == USER_DEFINED)).tolist()
    return find_format(
        _text(file, "general.architecture"),
        _text(file, "tokenizer.ggml.model"),
        {_name(tokenizer, token) for token in special},
        "\n".join(
            (
                _text(file, "general.name"),
                f"{_text(file, 'general.basename')}-{_text(file, 'general.finetune')}",
                Path(path).stem,
            )
        ),
    )


def _text(file: _core.GGUFFile, key: str) -> str:
    value = file.get(key, "")
    return value[:_MAX_NAME] if isinstance(value, str) else ""


def _name(tokenizer: Tokenizer, token: int | None) -> str:
    return "" if token is None else tokenizer.token_bytes(token).decode("utf-8", "replace")
