"""Evaluate the demonstration model on one hundred questions whose wordings it was never taught.

``questions()`` gives them, half in English and half in Chinese, always the same. ``evaluate`` asks them of
any model: it takes a function from a question to the reply and whether the reply ended by itself. To ask the
checkpoint of a training run, see ``evaluate_checkpoint``.
"""

from __future__ import annotations

import random
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from . import exchanges
from .corpus import ARITHMETIC_ANSWER, UNKNOWN_ANSWER, is_kept, kinds
from .exchanges import Exchange
from .lessons import LANGUAGES, Language, Lessons, lessons

Reply = tuple[str, bool]
Ask = Callable[[str], Reply]
Tokenize = Callable[[str], Sequence[object]]

_SEED = 2026
_REPEAT_LENGTH = 8
# How many questions of each kind and language; the kinds of "define" are concepts, countries and animals.
_COUNTS = {
    "define_concept": 13,
    "define_country": 2,
    "define_animal": 2,
    "ask_capital": 5,
    "ask_country_of_capital": 1,
    "ask_continent": 2,
    "ask_language": 2,
    "ask_food": 2,
    "ask_habitat": 1,
    "write_poem": 5,
    "give_advice": 3,
    "use_feature": 3,
    "explain_feature": 1,
    "translate_word": 1,
    "name_opposite": 1,
}
_SMALL_TALK_COUNT = 5
_UNKNOWN_COUNT = 1


@dataclass(frozen=True)
class Question:
    """A question with what a right reply has: of each group of words at least one."""

    language: Language
    kind: str
    topic: str
    text: str
    expected: tuple[tuple[str, ...], ...]


@dataclass(frozen=True)
class Judgement:
    """What a reply was found to be."""

    question: Question
    reply: str
    ended: bool
    repeats: bool
    right_language: bool
    right_topic: bool


@dataclass(frozen=True)
class Result:
    """The figures of an evaluation and the judgements behind them."""

    judgements: tuple[Judgement, ...]

    def count(self, holds: Callable[[Judgement], bool], language: Language | None = None) -> int:
        """Count the replies for which something holds."""
        return sum(holds(one) for one in self.judgements if language in (None, one.question.language))

    def figures(self) -> dict[str, int]:
        """Return the figures by name."""
        figures = {
            "questions": len(self.judgements),
            "ended": self.count(lambda one: one.ended),
            "without_repeat": self.count(lambda one: not one.repeats),
            "right": self.count(is_right),
        }
        for language in LANGUAGES:
            figures[f"right_{language}"] = self.count(is_right, language)
        return figures


def is_right(judgement: Judgement) -> bool:
    """Tell whether a reply is about the right topic in the right language."""
    return judgement.right_topic and judgement.right_language


def _unknown(taught: Lessons, rng: random.Random) -> Exchange:
    question = rng.choice(taught.frames["unknown kept"])
    for kind in ("city", "person"):
        question = question.replace("{" + kind + "}", rng.choice(taught.unknown[kind]))
    admission = "do not know" if taught.language == "en" else "不知道"
    return Exchange("unknown", question, UNKNOWN_ANSWER[taught.language], ((admission,),))


def _with_small_changes(text: str, rng: random.Random) -> str:
    """Drop the punctuation of some questions and the capitals of others."""
    if rng.random() < 0.25:
        text = text.rstrip("?？.。")
    return text.lower() if rng.random() < 0.2 else text


def _distinct(make: Callable[[], Exchange], count: int, seen: set[str]) -> list[Exchange]:
    """Make exchanges with different topics and texts."""
    made: list[Exchange] = []
    while len(made) < count:
        exchange = make()
        if exchange.question not in seen and exchange.topic not in {other.topic for other in made}:
            seen.add(exchange.question)
            made.append(exchange)
    return made


def _questions(language: Language) -> list[Question]:
    rng = random.Random(f"{_SEED} {language}")
    taught = lessons(language)
    seen: set[str] = set()
    found: list[tuple[str, Exchange]] = []
    for section, maker in kinds():
        name = maker.__name__
        wordings = taught.frames[f"{section} kept"]
        made = _distinct(lambda: maker(taught, rng, wordings), _COUNTS[name], seen)  # noqa: B023
        found += [(name, exchange) for exchange in made]
    small_talk = _distinct(lambda: exchanges.chat(taught, rng, kept=True), _SMALL_TALK_COUNT, seen)
    found += [("chat", exchange) for exchange in small_talk]
    found += [("unknown", made) for made in _distinct(lambda: _unknown(taught, rng), _UNKNOWN_COUNT, seen)]
    return [
        Question(
            language, kind, exchange.topic, _with_small_changes(exchange.question, rng), exchange.expected
        )
        for kind, exchange in found
    ]


def questions() -> tuple[Question, ...]:
    """Return the one hundred questions; all their wordings are absent from the corpus."""
    asked = tuple(question for language in LANGUAGES for question in _questions(language))
    taught = [question.text for question in asked if not is_kept(question.text, question.language)]
    if taught:
        raise ValueError(f"questions that training may have seen: {taught}")
    return asked


def language_of(text: str) -> Language:
    """Tell the language of a reply: an English one may quote a Chinese word, but hardly more."""
    characters = len(re.findall("[一-鿿]", text))
    return "zh" if characters >= 4 or (characters and not re.search("[A-Za-z]", text)) else "en"


def repeats(tokens: Sequence[object], length: int = _REPEAT_LENGTH) -> bool:
    """Tell whether any run of ``length`` tokens occurs twice."""
    runs = [tuple(tokens[at : at + length]) for at in range(len(tokens) - length + 1)]
    return len(set(runs)) < len(runs)


def judge(question: Question, reply: Reply, tokenize: Tokenize) -> Judgement:
    """Judge one reply."""
    text, ended = reply
    folded = text.casefold()
    refusals = (*ARITHMETIC_ANSWER.values(), *UNKNOWN_ANSWER.values())
    refused = any(refusal in text for refusal in refusals)
    return Judgement(
        question=question,
        reply=text,
        ended=ended,
        repeats=repeats(tokenize(text)),
        right_language=language_of(text) == question.language,
        right_topic=(question.kind == "unknown" or not refused)
        and all(any(word.casefold() in folded for word in group) for group in question.expected),
    )


def evaluate(ask: Ask, tokenize: Tokenize = list) -> Result:
    """Ask every question. Without a tokenizer, repeats are runs of eight equal characters."""
    return Result(tuple(judge(question, ask(question.text), tokenize) for question in questions()))
