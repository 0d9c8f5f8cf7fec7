"""Questions with their answers, made from the lessons: one function for each kind of question.

Every function takes the wordings to choose from, so that training and evaluation differ in nothing else:
training uses the wordings of ``[kind]``, the evaluation those of ``[kind kept]``.
"""

from __future__ import annotations

import random
import re
from collections.abc import Callable
from dataclasses import dataclass

from .lessons import Animal, Concept, Country, Language, Lessons, Name

Wordings = tuple[str, ...]


@dataclass(frozen=True)
class Exchange:
    """A question and its answer.

    ``expected`` judges an answer: of every group of words at least one has to occur. ``detail`` answers a
    request for more, and ``topic`` tells what the exchange is about.
    """

    topic: str
    question: str
    answer: str
    expected: tuple[tuple[str, ...], ...]
    detail: str = ""


Maker = Callable[[Lessons, random.Random, Wordings], Exchange]


def fill(frame: str, subject: str, plural: bool = False) -> str:
    """Put a subject into a wording; "is" becomes "are" around a plural."""
    if plural:
        frame = frame.replace("What's {x}", "What are {x}").replace("does {x} mean", "do {x} mean")
        frame = frame.replace("How is {x}", "How are {x}")
    question = frame.replace("{be}", "are" if plural else "is").replace("{x}", subject)
    return question[:1].upper() + question[1:] if question[:1].islower() and "{x}" in frame[:3] else question


def bare(name: str) -> str:
    """Return an English name without its article."""
    return re.sub(r"^(an?|the) ", "", name, flags=re.IGNORECASE)


def _with_article(noun: str) -> str:
    return f"{'an' if noun[0] in 'aeiou' else 'a'} {noun}"


def _capitalised(text: str) -> str:
    return text[:1].upper() + text[1:]


def _country_sentence(country: Country, language: Language) -> str:
    if language == "zh":
        return (
            f"{country.name}是{country.continent}的一个国家，首都是{country.capital}，"
            f"人们说{country.language}，以{country.known_for}闻名。"
        )
    return (
        f"{country.name} is a country in {country.continent}. Its capital is {country.capital}, and people "
        f"there speak {country.language}. It is known for {country.known_for}."
    )


def _animal_sentence(animal: Animal, language: Language) -> str:
    if language == "zh":
        return f"{animal.name}是{animal.kind}，生活在{animal.lives}，吃{animal.eats}。"
    return (
        f"{_capitalised(_with_article(animal.name))} is {animal.kind}. "
        f"{_capitalised(animal.other_name)} live {animal.lives} and eat {animal.eats}."
    )


def define_concept(taught: Lessons, rng: random.Random, wordings: Wordings) -> Exchange:
    """Ask what something is."""
    concept: Concept = rng.choice(taught.concepts)
    name: Name = rng.choice(concept.names)
    return Exchange(
        topic=concept.names[0].text,
        question=fill(rng.choice(wordings), name.text, name.plural),
        answer=concept.definition,
        expected=((bare(concept.names[0].text),), concept.keywords),
        detail=concept.detail,
    )


def define_country(taught: Lessons, rng: random.Random, wordings: Wordings) -> Exchange:
    """Ask about a country."""
    country = rng.choice(taught.countries)
    return Exchange(
        topic=country.name,
        question=fill(rng.choice(wordings), country.name),
        answer=_country_sentence(country, taught.language),
        expected=((country.name,), (country.capital,)),
    )


def define_animal(taught: Lessons, rng: random.Random, wordings: Wordings) -> Exchange:
    """Ask about an animal."""
    animal = rng.choice(taught.animals)
    names = [Name(animal.name), Name(animal.other_name)]
    if taught.language == "en":
        names = [Name(_with_article(animal.name)), Name(f"the {animal.name}"), Name(animal.other_name, True)]
    name = rng.choice(names)
    return Exchange(
        topic=animal.name,
        question=fill(rng.choice(wordings), name.text, name.plural),
        answer=_animal_sentence(animal, taught.language),
        expected=((animal.name,), (animal.kind,)),
        detail=animal.fact,
    )


def ask_capital(taught: Lessons, rng: random.Random, wordings: Wordings) -> Exchange:
    """Ask for the capital of a country."""
    country = rng.choice(taught.countries)
    zh = taught.language == "zh"
    return Exchange(
        topic=country.name,
        question=fill(rng.choice(wordings), country.name),
        answer=(
            f"{country.name}的首都是{country.capital}。"
            if zh
            else f"The capital of {country.name} is {country.capital}."
        ),
        expected=((country.name,), (country.capital,)),
    )


def ask_country_of_capital(taught: Lessons, rng: random.Random, wordings: Wordings) -> Exchange:
    """Ask which country a capital belongs to."""
    country = rng.choice(taught.countries)
    zh = taught.language == "zh"
    return Exchange(
        topic=country.name,
        question=fill(rng.choice(wordings), country.capital),
        answer=(
            f"{country.capital}是{country.name}的首都。"
            if zh
            else f"{country.capital} is the capital of {country.name}."
        ),
        expected=((country.name,), (country.capital,)),
    )


def ask_continent(taught: Lessons, rng: random.Random, wordings: Wordings) -> Exchange:
    """Ask where a country is."""
    country = rng.choice(taught.countries)
    zh = taught.language == "zh"
    return Exchange(
        topic=country.name,
        question=fill(rng.choice(wordings), country.name),
        answer=(
            f"{country.name}在{country.continent}。" if zh else f"{country.name} is in {country.continent}."
        ),
        expected=((country.name,), (country.continent,)),
    )


def ask_language(taught: Lessons, rng: random.Random, wordings: Wordings) -> Exchange:
    """Ask which language is spoken in a country."""
    country = rng.choice(taught.countries)
    zh = taught.language == "zh"
    return Exchange(
        topic=country.name,
        question=fill(rng.choice(wordings), country.name),
        answer=(
            f"在{country.name}，人们说{country.language}。"
            if zh
            else f"People in {country.name} speak {country.language}."
        ),
        expected=((country.name,), (country.language,)),
    )


def _animal_question(frame: str, animal: Animal, language: Language) -> str:
    if language == "zh":
        return frame.replace("{x}", animal.name)
    frame = frame.replace("a {x}", _with_article("{x}") if animal.name[0] not in "aeiou" else "an {x}")
    return frame.replace("{xs}", animal.other_name).replace("{x}", animal.name)


def ask_food(taught: Lessons, rng: random.Random, wordings: Wordings) -> Exchange:
    """Ask what an animal eats."""
    animal = rng.choice(taught.animals)
    zh = taught.language == "zh"
    return Exchange(
        topic=animal.name,
        question=_animal_question(rng.choice(wordings), animal, taught.language),
        answer=f"{animal.name}吃{animal.eats}。"
        if zh
        else f"{_capitalised(animal.other_name)} eat {animal.eats}.",
        expected=((animal.name, animal.other_name), (animal.eats,)),
        detail=animal.fact,
    )


def ask_habitat(taught: Lessons, rng: random.Random, wordings: Wordings) -> Exchange:
    """Ask where an animal lives."""
    animal = rng.choice(taught.animals)
    zh = taught.language == "zh"
    return Exchange(
        topic=animal.name,
        question=_animal_question(rng.choice(wordings), animal, taught.language),
        answer=(
            f"{animal.name}生活在{animal.lives}。"
            if zh
            else f"{_capitalised(animal.other_name)} live {animal.lives}."
        ),
        expected=((animal.name, animal.other_name), (animal.lives,)),
        detail=animal.fact,
    )


def write_poem(taught: Lessons, rng: random.Random, wordings: Wordings) -> Exchange:
    """Ask for verse about a subject."""
    poem = rng.choice(taught.poems)
    return Exchange(
        topic=f"poem: {poem.wishes[0]}",
        question=fill(rng.choice(wordings), rng.choice(poem.wishes)),
        answer=poem.answer,
        # Naming the subject alone would not make it a poem: it has lines.
        expected=(poem.keywords, ("\n",)),
    )


def give_advice(taught: Lessons, rng: random.Random, wordings: Wordings) -> Exchange:
    """Ask for advice."""
    advice = rng.choice(taught.advice)
    return Exchange(
        topic=f"advice: {advice.wishes[0]}",
        question=fill(rng.choice(wordings), rng.choice(advice.wishes)),
        answer=advice.answer,
        expected=(advice.keywords,),
    )


def use_feature(taught: Lessons, rng: random.Random, wordings: Wordings) -> Exchange:
    """Ask how something is done with llmcore."""
    feature = rng.choice(taught.features)
    return Exchange(
        topic=feature.names[0],
        question=fill(rng.choice(wordings), rng.choice(feature.goals)),
        answer=feature.answer,
        expected=(feature.keywords,),
    )


def explain_feature(taught: Lessons, rng: random.Random, wordings: Wordings) -> Exchange:
    """Ask what a command, a route or an option of llmcore is for."""
    feature = rng.choice(taught.features)
    name = rng.choice(feature.names)
    return Exchange(
        topic=feature.names[0],
        question=fill(rng.choice(wordings), name),
        answer=feature.answer,
        expected=(feature.keywords,),
    )


def translate_word(taught: Lessons, rng: random.Random, wordings: Wordings) -> Exchange:
    """Ask for a word in the other language."""
    english, chinese = rng.choice(taught.words)
    zh = taught.language == "zh"
    return Exchange(
        topic=f"word: {english}",
        question=fill(rng.choice(wordings), chinese if zh else english),
        answer=f"“{chinese}”的英文是{english}。" if zh else f"The Chinese word for {english} is {chinese}.",
        expected=((english,), (chinese,)),
    )


def name_opposite(taught: Lessons, rng: random.Random, wordings: Wordings) -> Exchange:
    """Ask for an opposite; every pair works in both directions."""
    pair = rng.choice(taught.opposites)
    word, opposite = pair if rng.random() < 0.5 else pair[::-1]
    zh = taught.language == "zh"
    return Exchange(
        topic=f"opposite: {word}",
        question=fill(rng.choice(wordings), word),
        answer=f"{word}的反义词是{opposite}。" if zh else f"The opposite of {word} is {opposite}.",
        expected=((word,), (opposite,)),
    )


def chat(taught: Lessons, rng: random.Random, kept: bool) -> Exchange:
    """Ask one of the whole questions of small talk."""
    talk = rng.choice(taught.small_talk)
    return Exchange(
        topic=f"talk: {talk.answers[0][:24]}",
        question=rng.choice(talk.kept if kept else talk.asked),
        answer=rng.choice(talk.answers),
        expected=(talk.keywords,),
    )
