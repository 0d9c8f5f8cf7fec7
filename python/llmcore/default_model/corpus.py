"""The corpus: dialogues generated from the lessons, the same ones for the same seed.

A question is a wording, sometimes disturbed by stray words, that is filled with a subject and then
roughened as people write: lower case, missing punctuation, a slip of the key. Questions that equal a
wording kept for the evaluation are never produced.
"""

from __future__ import annotations

import argparse
import json
import random
import re
import string
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache, partial

from . import exchanges
from .exchanges import Exchange, Maker, Wordings, fill
from .lessons import LANGUAGES, Language, Lessons, lessons

END_OF_TURN = "<|im_end|>"
START_OF_TURN = "<|im_start|>"

UNKNOWN_ANSWER: dict[Language, str] = {
    "en": "I am sorry, I do not know that. I am only a small demonstration model.",
    "zh": "对不起，这个我不知道。我只是一个小小的演示模型。",
}
ARITHMETIC_ANSWER: dict[Language, str] = {
    "en": "I am sorry, I cannot do arithmetic. I am only a small demonstration model.",
    "zh": "对不起，我不会算术。我只是一个小小的演示模型。",
}
NOTHING_MORE_ANSWER: dict[Language, str] = {
    "en": "That is all I know about it.",
    "zh": "我知道的就是这些。",
}
SYSTEM_MESSAGES: dict[Language, tuple[str, ...]] = {
    "en": (
        "You are a helpful assistant.",
        "You are a helpful assistant",
        "You are a friendly assistant.",
        "You are llmcore-demo, a small demonstration model.",
        "Answer briefly.",
        "You answer questions in a short and friendly way.",
    ),
    "zh": (
        "你是一个有帮助的助手",
        "你是一个有帮助的助手。",
        "你是一个友好的助手。",
        "请简短回答。",
        "你是llmcore-demo。",
    ),
}


_HAN = re.compile("[一-鿿]")


@dataclass(frozen=True)
class Message:
    """One message of a dialogue."""

    role: str
    content: str


Dialogue = tuple[Message, ...]

# Kind of question: the sections of wordings, the function that makes it, how often it is asked.
_KINDS: tuple[tuple[str, Maker, float], ...] = (
    ("define", exchanges.define_concept, 27.0),
    ("define", exchanges.define_country, 5.0),
    ("define", exchanges.define_animal, 4.0),
    ("capital", exchanges.ask_capital, 6.0),
    ("of country", exchanges.ask_country_of_capital, 2.5),
    ("continent", exchanges.ask_continent, 2.5),
    ("language", exchanges.ask_language, 3.0),
    ("eats", exchanges.ask_food, 3.0),
    ("lives", exchanges.ask_habitat, 2.5),
    ("poem", exchanges.write_poem, 8.0),
    ("advice", exchanges.give_advice, 5.0),
    ("how", exchanges.use_feature, 8.0),
    ("command", exchanges.explain_feature, 4.0),
    ("translate", exchanges.translate_word, 2.5),
    ("opposite", exchanges.name_opposite, 2.0),
)
_SMALL_TALK_WEIGHT = 17.0
_UNKNOWN_WEIGHT = 7.0
_ARITHMETIC_WEIGHT = 1.5


def kinds() -> tuple[tuple[str, Maker], ...]:
    """Return the kinds of question that have wordings, for the evaluation."""
    return tuple((section, maker) for section, maker, _ in _KINDS)


def normal_form(question: str) -> str:
    """Reduce a question to its letters and digits, so that wordings compare without their punctuation."""
    return re.sub(r"[\W_]+", "", question.casefold())


@cache
def _kept_pattern(language: Language) -> re.Pattern[str]:
    """Match the normal form of every question whose wording is kept for the evaluation."""
    taught = lessons(language)
    alternatives = []
    for section, frames in taught.frames.items():
        if not section.endswith(" kept"):
            continue
        for frame in frames:
            text = re.sub(r"\{(x|xs|city|person)\}", "\0", frame)
            for verb in ("is", "are"):
                parts = [re.escape(normal_form(part)) for part in text.replace("{be}", verb).split("\0")]
                alternatives.append(".+".join(parts))
    for talk in taught.small_talk:
        alternatives.extend(re.escape(normal_form(question)) for question in talk.kept)
    return re.compile("|".join(dict.fromkeys(alternatives)))


def is_kept(question: str, language: Language) -> bool:
    """Tell whether a question has a wording that training must not see."""
    return _kept_pattern(language).fullmatch(normal_form(question)) is not None


def _nonsense(rng: random.Random, language: Language) -> str:
    """A word that means nothing, so that unfamiliar text is answered with "I do not know"."""
    if language == "zh" and rng.random() < 0.8:
        # The first level of GB 2312: the common characters, most of which no lesson contains.
        codes = (bytes((rng.randint(0xB0, 0xD6), rng.randint(0xA1, 0xFE))) for _ in range(rng.randint(2, 4)))
        return "".join(code.decode("gb2312") for code in codes)
    syllables = (rng.choice("bcdfghjklmnprstvwz") + rng.choice("aeiou") for _ in range(rng.randint(2, 4)))
    return "".join(syllables) + rng.choice(("", "", "n", "x", "st", "r"))


def _stray_words(taught: Lessons, rng: random.Random) -> list[str]:
    """A few words that do not belong: of another wording, or without any meaning."""
    if rng.random() < 0.4:
        return [_nonsense(rng, taught.language)]
    words = _words_of(rng.choice(taught.frames[rng.choice(("define long", "poem", "advice", "how"))]), taught)
    words = [word for word in words if "{" not in word]
    at = rng.randrange(max(1, len(words)))
    return words[at : at + rng.randint(1, 3)]


def _words_of(frame: str, taught: Lessons) -> list[str]:
    """Split a wording into words, or a Chinese one into characters; its slots stay whole."""
    return re.findall(r"\{\w+\}|.", frame) if taught.language == "zh" else frame.split(" ")


def _disturbed(frames: Wordings, taught: Lessons, rng: random.Random) -> str:
    """Choose a wording and often change it.

    The subject and the drift of a question then matter more than its exact words, which is what a new
    wording needs.
    """
    frame = rng.choice(frames)
    space = "" if taught.language == "zh" else " "
    draw = rng.random()
    if draw < 0.10:
        return rng.choice(taught.frames["opener"]) + space + frame
    if draw < 0.15:
        return frame.rstrip("?？.。") + space + rng.choice(taught.frames["closer"])
    slot = re.search(r"\{xs?\}", frame)
    if draw < 0.30 and slot:
        # The beginning of one wording and the end of another of the same kind.
        other = rng.choice(frames)
        _, found, end = other.partition(slot.group())
        return frame[: slot.end()] + end if found else frame
    words = _words_of(frame, taught)
    if draw < 0.50:
        at = rng.randint(0, len(words))
        words[at:at] = _stray_words(taught, rng)
    elif draw < 0.58 and len(words) >= 5:
        at = rng.randrange(len(words))
        if "{" not in words[at]:
            del words[at]
    return space.join(words)


def _unknown(taught: Lessons, rng: random.Random) -> Exchange:
    """A question that the model is taught not to answer."""
    subjects = {kind: rng.choice(choices) for kind, choices in taught.unknown.items()}
    if rng.random() < 0.3:
        subjects["thing"] = subjects["person"] = subjects["place"] = _nonsense(rng, taught.language)
    if rng.random() < 0.45:
        section = rng.choice(("define long", "define long", "define short"))
        question = fill(_disturbed(taught.frames[section], taught, rng), subjects["thing"])
    else:
        question = _disturbed(taught.frames["unknown literal"], taught, rng)
        subjects["country"] = rng.choice(taught.countries).name
        for kind, subject in subjects.items():
            question = question.replace("{" + kind + "}", subject)
    return Exchange("unknown", question, UNKNOWN_ANSWER[taught.language], ())


def _chat(taught: Lessons, rng: random.Random) -> Exchange:
    """Make small talk, at times after a few words that lead to it."""
    exchange = exchanges.chat(taught, rng, kept=False)
    if rng.random() > 0.08:
        return exchange
    space = "" if taught.language == "zh" else " "
    question = rng.choice(taught.frames["opener"]) + space + exchange.question
    return Exchange(exchange.topic, question, exchange.answer, exchange.expected)


def _arithmetic(taught: Lessons, rng: random.Random) -> Exchange:
    question = rng.choice(taught.frames["arithmetic literal"])
    largest = rng.choice((10, 100, 10_000))
    for slot in ("{n}", "{m}"):
        question = question.replace(slot, str(rng.randint(1, largest)))
    return Exchange("arithmetic", question, ARITHMETIC_ANSWER[taught.language], ())


def _ask(section: str, maker: Maker, taught: Lessons, rng: random.Random) -> Exchange:
    """Make one exchange; a definition is longer when the wording asks for an explanation."""
    long_answer = section == "define" and rng.random() < 0.65
    if section == "define":
        section = "define long" if long_answer else "define short"
    wordings: Wordings = (_disturbed(taught.frames[section], taught, rng),)
    exchange = maker(taught, rng, wordings)
    if not long_answer or not exchange.detail:
        return exchange
    space = "" if taught.language == "zh" else " "
    answer = exchange.answer + space + exchange.detail
    return Exchange(exchange.topic, exchange.question, answer, exchange.expected)


@cache
def _choices(language: Language) -> tuple[tuple[partial[Exchange], ...], tuple[float, ...]]:
    taught = lessons(language)
    makers = [partial(_ask, section, maker, taught) for section, maker, _ in _KINDS]
    weights = [weight for _, _, weight in _KINDS]
    makers += [
        partial(_chat, taught),
        partial(_unknown, taught),
        partial(_arithmetic, taught),
    ]
    weights += [_SMALL_TALK_WEIGHT, _UNKNOWN_WEIGHT, _ARITHMETIC_WEIGHT]
    return tuple(makers), tuple(weights)


def _slip(word: str, rng: random.Random) -> str:
    """Mistype one letter of a word."""
    at = rng.randint(1, len(word) - 2)
    kind = rng.randint(0, 3)
    if kind == 0:
        return word[:at] + word[at + 1] + word[at] + word[at + 2 :]
    if kind == 1:
        return word[:at] + word[at + 1 :]
    if kind == 2:
        return word[:at] + word[at] + word[at:]
    return word[:at] + rng.choice(string.ascii_lowercase) + word[at + 1 :]


def _roughen_english(question: str, rng: random.Random) -> str:
    draw = rng.random()
    if draw < 0.06:
        greeting = rng.choice(("Hi, ", "Hello, ", "Hey, ", "Please, ", "Hello! ", "Ok, ", "So, ", "Well, "))
        question = greeting + question
    elif draw < 0.10:
        question = question.rstrip("?.!") + rng.choice((", please", " please", ", thanks", " thanks", "?"))
    if rng.random() < 0.14:
        words = question.split(" ")
        long_words = [at for at, word in enumerate(words) if len(word) >= 5 and word.isalpha()]
        if long_words:
            at = rng.choice(long_words)
            words[at] = _slip(words[at], rng)
            question = " ".join(words)
    draw = rng.random()
    if draw < 0.28:
        question = question.lower()
    elif draw < 0.30:
        question = question.upper()
    draw = rng.random()
    if draw < 0.30:
        question = question.rstrip("?.! ")
    elif draw < 0.34:
        question += rng.choice(("?", "!", "..", " ?"))
    return question


def _roughen_chinese(question: str, rng: random.Random) -> str:
    draw = rng.random()
    if draw < 0.07:
        question = rng.choice(("你好，", "请问，", "请问", "嗨，", "那个，", "麻烦问一下，", "请")) + question
    elif draw < 0.11:
        question = question.rstrip("？。") + rng.choice(("，谢谢", "呢？", "呀？", "啊？", "谢谢"))
    if len(question) >= 7 and rng.random() < 0.08:
        at = rng.randint(1, len(question) - 2)
        question = question[:at] + question[at + rng.randint(0, 1) * 2 - 1 + 1 :]
    if rng.random() < 0.25:
        # People often set Latin words off with spaces.
        question = re.sub(r"(?<=[一-鿿])(?=[A-Za-z])|(?<=[A-Za-z])(?=[一-鿿])", " ", question)
    draw = rng.random()
    if draw < 0.30:
        question = question.rstrip("？。！ ")
    elif draw < 0.42:
        question = question.replace("？", "?").replace("，", ",")
    elif draw < 0.52 and question[-1] not in "？。":
        question += rng.choice("。。！？")
    return question


def _roughen(exchange: Exchange, language: Language, rng: random.Random) -> str:
    """Vary a question until it is none of those kept for the evaluation and still shows its language."""
    vary = _roughen_chinese if language == "zh" else _roughen_english
    for _ in range(8):
        question = vary(exchange.question, rng)
        if not is_kept(question, language) and (language == "en" or _HAN.search(question)):
            return question
    raise ValueError(f"the question {exchange.question!r} is kept for the evaluation")


def _follow_up(last: Exchange, language: Language, rng: random.Random) -> Exchange | None:
    """A question that only makes sense after the last one."""
    taught = lessons(language)
    is_capital = last.answer.startswith("The capital of") or "的首都是" in last.answer
    if is_capital and rng.random() < 0.5:
        return exchanges.ask_capital(taught, rng, taught.frames["capital more"])
    if last.topic.startswith(("talk", "poem", "unknown", "arithmetic")) or rng.random() < 0.7:
        return None
    question = rng.choice(taught.frames["more"])
    return Exchange(last.topic, question, last.detail or NOTHING_MORE_ANSWER[language], ())


def dialogue(rng: random.Random) -> Dialogue:
    """Make one dialogue of one to three questions with their answers."""
    language: Language = rng.choice(LANGUAGES)
    messages: list[Message] = []
    if rng.random() < 0.2:
        messages.append(Message("system", rng.choice(SYSTEM_MESSAGES[language])))
    makers, weights = _choices(language)
    last: Exchange | None = None
    for _ in range(rng.choices((1, 2, 3), (60, 27, 13))[0]):
        exchange = _follow_up(last, language, rng) if last else None
        while exchange is None or (language == "zh" and not _HAN.search(exchange.question)):
            # A bare "Linux?" has no language to answer in: it is left to the English half.
            exchange = rng.choices(makers, weights)[0](rng)
        messages.append(Message("user", _roughen(exchange, language, rng)))
        messages.append(Message("assistant", exchange.answer))
        last = exchange
    return tuple(messages)


def dialogues(seed: int, count: int) -> Iterator[Dialogue]:
    """Make dialogues; the same seed gives the same ones."""
    rng = random.Random(seed)
    for _ in range(count):
        yield dialogue(rng)


def render(messages: Dialogue) -> str:
    """Write a dialogue as the chat template of the model writes it."""
    return "".join(f"{START_OF_TURN}{message.role}\n{message.content}{END_OF_TURN}\n" for message in messages)


def prompt(question: str, system: str | None = None) -> str:
    """Write the text that the model continues with its answer to one question."""
    messages = (Message("system", system),) if system else ()
    return render((*messages, Message("user", question))) + f"{START_OF_TURN}assistant\n"


def main() -> None:
    """Print dialogues as JSON lines, to look at them."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--count", type=int, default=20)
    arguments = parser.parse_args()
    for made in dialogues(arguments.seed, arguments.count):
        turns = [{"role": message.role, "content": message.content} for message in made]
        sys.stdout.write(json.dumps(turns, ensure_ascii=False) + "\n")


if __name__ == "__main__":
    main()
