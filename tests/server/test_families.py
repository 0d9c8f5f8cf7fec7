"""Every published chat format leads to its family of call formats."""

from __future__ import annotations

import pytest
from fake_engine import FakeTokenizer

from llmcore.chat_formats import FORMATS
from llmcore_server.assistant.family import Family, family_of

CALL = ("<tool_call>", "</tool_call>")
TAKING = {
    "gpt_oss": Family("harmony"),
    "glm4": Family("named"),
    "phi4_mini": Family("json"),
    "llama3_1": Family("json"),
    "mistral_v3": Family("mistral"),
    "qwen2_5": Family("tagged", tags=CALL),
    "qwen3": Family("tagged", ("<think>", "</think>"), CALL),
}


@pytest.mark.parametrize("name", sorted({one.name for one in FORMATS} - {"chatglm3"}))
def test_family(name):
    source = next(one.source for one in FORMATS if one.name == name)
    family = family_of(FakeTokenizer(source, takes_tools=name in TAKING))
    assert family == TAKING.get(name, Family("tagged", tags=CALL))


def test_tags_that_a_vocabulary_alone_knows():
    tokenizer = FakeTokenizer("a template")
    tokenizer.special_token = lambda name: 7 if name == "</think>" else None
    assert family_of(tokenizer).thoughts == ("<think>", "</think>")


@pytest.mark.parametrize(
    ("source", "family"),
    [
        ("<tool_call>\n<function=f>\n<parameter=a>", Family("parameters", tags=CALL)),
        (
            "</seed:think><seed:tool_call><function=f><parameter=a>",
            Family(
                "parameters", ("<seed:think>", "</seed:think>"), ("<seed:tool_call>", "</seed:tool_call>")
            ),
        ),
        ("[TOOL_CALLS] [/THINK]", Family("mistral", ("[THINK]", "[/THINK]"))),
    ],
)
def test_formats_of_newer_templates(source, family):
    assert family_of(FakeTokenizer(source, takes_tools=True)) == family
