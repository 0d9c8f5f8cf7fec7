"""What the demonstration model is taught: the tables below ``corpus_data`` as typed records.

The tables are plain text, one record a line with fields separated by ``|``, so that a topic or a wording
can be added without touching code.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Literal

Language = Literal["en", "zh"]
LANGUAGES: tuple[Language, ...] = ("en", "zh")

_DATA_DIRECTORY = Path(__file__).resolve().parent / "corpus_data"
_FILE_PREFIX: dict[Language, str] = {"en": "english", "zh": "chinese"}


@dataclass(frozen=True)
class Name:
    """One way to call a subject; ``plural`` decides between "is" and "are" around it."""

    text: str
    plural: bool = False


@dataclass(frozen=True)
class Concept:
    """A thing that can be defined."""

    names: tuple[Name, ...]
    definition: str
    detail: str
    keywords: tuple[str, ...]


@dataclass(frozen=True)
class Country:
    """A country and the facts that are asked about it."""

    name: str
    capital: str
    continent: str
    language: str
    known_for: str


@dataclass(frozen=True)
class Animal:
    """An animal; the second name is the plural in English and another name in Chinese."""

    name: str
    other_name: str
    kind: str
    lives: str
    eats: str
    fact: str


@dataclass(frozen=True)
class Recipe:
    """One answer to a wish that can be worded in several ways: a poem's subject or somebody's goal."""

    wishes: tuple[str, ...]
    answer: str
    keywords: tuple[str, ...]


@dataclass(frozen=True)
class Feature:
    """A part of llmcore: what somebody wants to do, and how the part itself is called."""

    goals: tuple[str, ...]
    names: tuple[str, ...]
    answer: str
    keywords: tuple[str, ...]


@dataclass(frozen=True)
class SmallTalk:
    """Whole questions that share their answers."""

    answers: tuple[str, ...]
    keywords: tuple[str, ...]
    asked: tuple[str, ...]
    kept: tuple[str, ...]


@dataclass(frozen=True)
class Lessons:
    """Everything that is taught in one language."""

    language: Language
    concepts: tuple[Concept, ...]
    countries: tuple[Country, ...]
    animals: tuple[Animal, ...]
    opposites: tuple[tuple[str, str], ...]
    words: tuple[tuple[str, str], ...]
    poems: tuple[Recipe, ...]
    advice: tuple[Recipe, ...]
    features: tuple[Feature, ...]
    small_talk: tuple[SmallTalk, ...]
    frames: dict[str, tuple[str, ...]]
    unknown: dict[str, tuple[str, ...]]


def _lines(file_name: str) -> Iterator[str]:
    for line in (_DATA_DIRECTORY / file_name).read_text(encoding="utf-8").splitlines():
        if line.strip() and not line.startswith("#"):
            yield line.strip()


def _records(file_name: str) -> Iterator[list[str]]:
    for line in _lines(file_name):
        yield [field.strip() for field in line.split(" | ")]


def _sections(file_name: str) -> dict[str, tuple[str, ...]]:
    """Read a file of ``[name]`` sections; the order of lines is kept."""
    collected: dict[str, list[str]] = {}
    current: list[str] = []
    for line in _lines(file_name):
        if line.startswith("[") and line.endswith("]"):
            current = collected.setdefault(line[1:-1], [])
        else:
            current.append(line)
    return {name: tuple(lines) for name, lines in collected.items()}


def _choices(field: str, separator: str = " ; ") -> tuple[str, ...]:
    return tuple(part.strip() for part in field.split(separator) if part.strip())


def _name(text: str) -> Name:
    return Name(text.removeprefix("+"), text.startswith("+"))


def _concepts(file_name: str) -> tuple[Concept, ...]:
    return tuple(
        Concept(tuple(_name(name) for name in _choices(names)), definition, detail, _choices(keywords, ","))
        for names, definition, detail, keywords in _records(file_name)
    )


def _recipes(file_name: str) -> tuple[Recipe, ...]:
    return tuple(
        Recipe(_choices(wishes), answer, _choices(keywords, ","))
        for wishes, answer, keywords in _records(file_name)
    )


def _poems(file_name: str) -> tuple[Recipe, ...]:
    """Poems are written on one line, with slashes where their lines end."""
    return tuple(
        Recipe(poem.wishes, "\n".join(_choices(poem.answer, "/")), poem.keywords)
        for poem in _recipes(file_name)
    )


def _features(file_name: str) -> tuple[Feature, ...]:
    return tuple(
        Feature(_choices(goals), _choices(names), answer, _choices(keywords, ","))
        for goals, names, answer, keywords in _records(file_name)
    )


def _small_talk(file_name: str) -> tuple[SmallTalk, ...]:
    return tuple(
        SmallTalk(_choices(answers, " // "), _choices(keywords, ","), _choices(asked), _choices(kept))
        for answers, keywords, asked, kept in _records(file_name)
    )


def _countries(lines: tuple[str, ...]) -> tuple[Country, ...]:
    return tuple(Country(*_choices(line, " | ")) for line in lines)


def _animals(lines: tuple[str, ...]) -> tuple[Animal, ...]:
    animals = []
    for line in lines:
        names, kind, lives, eats, fact = _choices(line, " | ")
        name, other_name = _choices(names)
        animals.append(Animal(name, other_name, kind, lives, eats, fact))
    return tuple(animals)


def _pairs(lines: tuple[str, ...]) -> tuple[tuple[str, str], ...]:
    return tuple((first, second) for first, second in (_choices(line, " | ") for line in lines))


@cache
def lessons(language: Language) -> Lessons:
    """Load what is taught in a language."""
    prefix = _FILE_PREFIX[language]
    world = _sections(f"{prefix}_world.txt")
    # One list of words serves the translations in both directions.
    words = _pairs(_sections("english_world.txt")["words"])
    return Lessons(
        language=language,
        concepts=_concepts(f"{prefix}_concepts.txt"),
        countries=_countries(world["countries"]),
        animals=_animals(world["animals"]),
        opposites=_pairs(world["opposites"]),
        words=words,
        poems=_poems(f"{prefix}_poems.txt"),
        advice=_recipes(f"{prefix}_advice.txt"),
        features=_features(f"{prefix}_llmcore.txt"),
        small_talk=_small_talk(f"{prefix}_talk.txt"),
        frames=_sections(f"{prefix}_frames.txt"),
        unknown=_sections(f"{prefix}_unknown.txt"),
    )
