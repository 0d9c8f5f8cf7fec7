"""Which chat formats tell the model of tools."""

from __future__ import annotations

import pytest

from llmcore.chat_formats import FORMATS
from llmcore.chat_template import ChatTemplate
from llmcore.model_templates import ModelTemplates
from llmcore.model_tokenizer import ModelTokenizer
from llmcore.tokenizer import Tokenizer

WITH_TOOLS = {
    "gpt_oss",
    "chatglm3",
    "glm4",
    "phi4_mini",
    "qwen3",
    "qwen2_5",
    "llama3_1",
    "mistral_v3",
}


@pytest.mark.parametrize("name", sorted({one.name for one in FORMATS}))
def test_formats_with_a_place_for_tools(name: str, chat_tokenizer: Tokenizer) -> None:
    known = next(one for one in FORMATS if one.name == name)
    templates = ModelTemplates(ChatTemplate(known.source, "<s>", "</s>", known.variables))
    assert ModelTokenizer(chat_tokenizer, templates).takes_tools == (name in WITH_TOOLS)


def test_no_template_has_no_place(chat_tokenizer: Tokenizer) -> None:
    assert not ModelTokenizer(chat_tokenizer, ModelTemplates(None)).takes_tools
