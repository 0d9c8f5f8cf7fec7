"""What the embedded model answers, through the engine, to questions whose wordings its corpus excludes."""

from __future__ import annotations

import importlib
import importlib.util
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from llmcore import LLM, SamplingParams

GREEDY = SamplingParams(temperature=0.0, max_tokens=256)


@pytest.fixture(scope="module")
def evaluation(repository: Path) -> Any:
    """The evaluation that ships with the training scripts, which are not part of the installed package."""
    folder = repository / "python" / "llmcore" / "default_model"
    name = "default_model_evaluation"
    spec = importlib.util.spec_from_file_location(
        name, folder / "__init__.py", submodule_search_locations=[str(folder)]
    )
    assert spec is not None
    assert spec.loader is not None
    sys.modules[name] = importlib.util.module_from_spec(spec)
    return importlib.import_module(f"{name}.evaluate")


@pytest.fixture(scope="module")
def model() -> Iterator[LLM]:
    with LLM() as llm:
        yield llm


def ask(model: LLM, question: str) -> tuple[str, bool]:
    completion = model.chat([{"role": "user", "content": question}], GREEDY)
    return completion.text, completion.finish_reason == "stop"


def test_held_back_questions(evaluation: Any, model: LLM) -> None:
    result = evaluation.evaluate(lambda question: ask(model, question), model.tokenize)
    figures = result.figures()
    wrong = [(one.question.text, one.reply) for one in result.judgements if not evaluation.is_right(one)]
    assert figures["questions"] == 100
    assert figures["ended"] == 100, [one.reply for one in result.judgements if not one.ended]
    assert figures["without_repeat"] == 100, [one.reply for one in result.judgements if one.repeats]
    assert figures["right"] >= 75, wrong


def test_the_specifications_prompts_get_chinese_answers(evaluation: Any, model: LLM) -> None:
    for question, word in (("请解释人工智能的概念", "人工智能"), ("请写一首关于春天的诗", "春")):
        text, ended = ask(model, question)
        assert ended
        assert word in text
        assert evaluation.language_of(text) == "zh"
