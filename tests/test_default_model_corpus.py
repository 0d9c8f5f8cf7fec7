"""The corpus and the evaluation questions of the embedded model, without torch or the native core."""

from __future__ import annotations

import importlib
import importlib.util
import json
import re
import struct
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

PACKAGE = Path(__file__).resolve().parents[1] / "python" / "llmcore" / "default_model"
SOURCE_NAME = "default_model_source"
DIALOGUE_COUNT = 12_000
LARGEST_FILE = 10 * 1000 * 1000


def _package() -> ModuleType:
    """Import the package from its folder: the modules that rebuild the model are not part of the wheel."""
    if SOURCE_NAME not in sys.modules:
        spec = importlib.util.spec_from_file_location(
            SOURCE_NAME, PACKAGE / "__init__.py", submodule_search_locations=[str(PACKAGE)]
        )
        assert spec is not None
        assert spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        sys.modules[SOURCE_NAME] = module
        spec.loader.exec_module(module)
    return sys.modules[SOURCE_NAME]


def _module(name: str) -> Any:
    _package()
    return importlib.import_module(f"{SOURCE_NAME}.{name}")


corpus = _module("corpus")
evaluate = _module("evaluate")
exchanges = _module("exchanges")
lessons = _module("lessons")


@pytest.fixture(scope="module")
def dialogues() -> list[Any]:
    return list(corpus.dialogues(11, DIALOGUE_COUNT))


def _asked(dialogues: list[Any]) -> list[str]:
    return [message.content for made in dialogues for message in made if message.role == "user"]


def _answered(dialogues: list[Any]) -> list[str]:
    return [message.content for made in dialogues for message in made if message.role == "assistant"]


def _literal_parts(frame: str) -> list[str]:
    """Split a wording at its subject and bring the parts to their normal form."""
    return [corpus.normal_form(part) for part in re.split(r"\{(?:x|xs|city|person)\}", frame)]


def _matches(question: str, parts: list[str]) -> bool:
    """Tell whether a normal form starts and ends like a wording and has its parts in order."""
    return re.fullmatch(".+".join(map(re.escape, parts)), question) is not None


def test_same_seed_gives_same_corpus() -> None:
    assert list(corpus.dialogues(5, 500)) == list(corpus.dialogues(5, 500))
    assert list(corpus.dialogues(5, 500)) != list(corpus.dialogues(6, 500))


@pytest.mark.parametrize("language", ["en", "zh"])
def test_kept_wordings_are_absent_from_corpus(dialogues: list[Any], language: str) -> None:
    taught = lessons.lessons(language)
    asked = {corpus.normal_form(question) for question in _asked(dialogues)}
    kept_frames = [
        frame.replace("{be}", verb)
        for section, frames in taught.frames.items()
        if section.endswith(" kept")
        for frame in frames
        for verb in (("is", "are") if "{be}" in frame else ("",))
    ]
    assert len(kept_frames) > 40
    for frame in kept_frames:
        parts = _literal_parts(frame)
        seen = [question for question in asked if _matches(question, parts)]
        assert not seen, (frame, seen[:3])
    for talk in taught.small_talk:
        for question in talk.kept:
            assert corpus.normal_form(question) not in asked, question


@pytest.mark.parametrize("language", ["en", "zh"])
def test_kept_wordings_differ_from_trained_ones(language: str) -> None:
    taught = lessons.lessons(language)
    trained = {
        corpus.normal_form(frame)
        for section, frames in taught.frames.items()
        if not section.endswith(" kept")
        for frame in frames
    }
    for section, frames in taught.frames.items():
        if section.endswith(" kept"):
            assert not trained & {corpus.normal_form(frame) for frame in frames}, section
    for talk in taught.small_talk:
        assert len(talk.kept) >= 2
        assert not set(map(corpus.normal_form, talk.asked)) & set(map(corpus.normal_form, talk.kept))


@pytest.mark.parametrize("language", ["en", "zh"])
def test_every_topic_appears(dialogues: list[Any], language: str) -> None:
    taught = lessons.lessons(language)
    answers = "\n".join(dict.fromkeys(_answered(dialogues)))
    told = [concept.definition for concept in taught.concepts]
    told += [recipe.answer for recipe in (*taught.poems, *taught.advice)]
    told += [feature.answer for feature in taught.features]
    told += [answer for talk in taught.small_talk for answer in talk.answers]
    told += [country.capital for country in taught.countries]
    told += [animal.kind for animal in taught.animals]
    missing = [answer for answer in told if answer not in answers]
    assert not missing


def test_languages_are_balanced(dialogues: list[Any]) -> None:
    chinese = sum(evaluate.language_of(answer) == "zh" for answer in _answered(dialogues))
    share = chinese / len(_answered(dialogues))
    assert 0.47 < share < 0.53


def test_answer_is_in_language_of_question(dialogues: list[Any]) -> None:
    for made in dialogues:
        turns = [message for message in made if message.role != "system"]
        for asked, answered in zip(turns[::2], turns[1::2], strict=True):
            assert (asked.role, answered.role) == ("user", "assistant")
            if evaluate.language_of(answered.content) == "en":
                # An English question may quote a Chinese word, never the other way round.
                assert re.search("[A-Za-z0-9]", asked.content), (asked, answered)
            else:
                assert re.search("[一-鿿]", asked.content), (asked, answered)


def test_answers_contain_the_words_they_are_judged_by() -> None:
    for language in ("en", "zh"):
        taught = lessons.lessons(language)
        for concept in taught.concepts:
            judged_by = ((exchanges.bare(concept.names[0].text),), concept.keywords)
            for group in judged_by:
                assert any(word.casefold() in concept.definition.casefold() for word in group), concept
        for told in (*taught.poems, *taught.advice, *taught.features):
            assert any(word.casefold() in told.answer.casefold() for word in told.keywords), told
        for talk in taught.small_talk:
            for answer in talk.answers:
                assert any(word.casefold() in answer.casefold() for word in talk.keywords), talk


def test_questions_are_one_hundred_and_half_chinese() -> None:
    questions = evaluate.questions()
    assert len(questions) == 100
    assert sum(question.language == "zh" for question in questions) == 50
    assert len({question.text for question in questions}) == 100
    assert questions == evaluate.questions()
    assert all(question.expected for question in questions)


def test_questions_are_absent_from_corpus(dialogues: list[Any]) -> None:
    asked = {corpus.normal_form(question) for question in _asked(dialogues)}
    for question in evaluate.questions():
        assert corpus.is_kept(question.text, question.language)
        assert corpus.normal_form(question.text) not in asked


def test_right_answers_are_judged_right_and_wrong_ones_wrong() -> None:
    def right(question: Any) -> tuple[str, bool]:
        return "\n".join(group[0] for group in question.expected) + ("。" * 2), True

    for question in evaluate.questions():
        reply = right(question)
        filler = "这是一个回答" if question.language == "zh" else ""
        judged = evaluate.judge(question, (reply[0] + "\n" + filler, True), str.split)
        assert judged.right_topic, question
        assert not evaluate.judge(question, ("zzz", True), str.split).right_topic
        refusal = corpus.ARITHMETIC_ANSWER[question.language]
        assert not evaluate.judge(question, (reply[0] + refusal, True), str.split).right_topic or (
            question.kind == "unknown"
        )


def test_repeats_finds_runs_that_occur_twice() -> None:
    assert not evaluate.repeats(list(range(40)))
    assert not evaluate.repeats([*range(7), 99, *range(7)])
    assert evaluate.repeats([*range(8), 99, *range(8)])
    assert evaluate.repeats([1] * 9)


def test_render_writes_chat_markup() -> None:
    assert corpus.prompt("Hi", system="Be brief.") == (
        "<|im_start|>system\nBe brief.<|im_end|>\n<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\n"
    )


def test_corpus_speaks_of_no_chat_markup(dialogues: list[Any]) -> None:
    for text in (*_asked(dialogues), *_answered(dialogues)):
        assert "<|im_" not in text
        assert "{" not in text.replace('"stream": true', ""), text


def test_model_file_is_small_and_complete() -> None:
    """Read the head of the file: magic, version, and the metadata that chat needs."""
    file = _package().path()
    assert file == PACKAGE / "default.gguf"
    assert file.stat().st_size <= LARGEST_FILE
    head = file.read_bytes()
    magic, version, tensors, entries = struct.unpack("<4sIQQ", head[:24])
    assert (magic, version) == (b"GGUF", 3)
    assert tensors > 0
    assert entries > 0
    for key in ("tokenizer.chat_template", "tokenizer.ggml.eos_token_id", "llama.context_length"):
        assert key.encode() in head
    assert b"llmcore-demo" in head


def test_dialogues_are_plain_data(dialogues: list[Any]) -> None:
    turns = [{"role": message.role, "content": message.content} for message in dialogues[0]]
    assert json.loads(json.dumps(turns, ensure_ascii=False)) == turns
