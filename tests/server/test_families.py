"""Every published chat format leads to its family of call formats."""

from __future__ import annotations

import pytest
from fake_engine import FakeTokenizer

from llmcore.chat_formats import FORMATS
from llmcore_server.assistant.family import Family, family_of

TAKING = {
    "gpt_oss": Family("harmony", thinks=False),
    "glm4": Family("named", thinks=False),
    "phi4_mini": Family("json", thinks=False),
    "llama3_1": Family("json", thinks=False),
    "mistral_v3": Family("mistral", thinks=False),
    "qwen2_5": Family("tagged", thinks=False),
    "qwen3": Family("tagged", thinks=True),
}


@pytest.mark.parametrize("name", sorted({one.name for one in FORMATS} - {"chatglm3"}))
def test_family(name):
    source = next(one.source for one in FORMATS if one.name == name)
    family = family_of(FakeTokenizer(source, takes_tools=name in TAKING))
    assert family == TAKING.get(name, Family("tagged", thinks=False))


def test_tags_that_a_vocabulary_alone_knows():
    tokenizer = FakeTokenizer("a template")
    tokenizer.special_token = lambda name: 7 if name == "</think>" else None
    assert family_of(tokenizer).thinks
