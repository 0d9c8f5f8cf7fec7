"""Finds control tokens in text, and keeps text from outside from spelling any."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping

from llmcore import _core

_ALL_SPACE, _ONE_SPACE = re.compile(r"\s*"), re.compile(" ?")
# Those of Phi-3's special tokens that keep the white space behind them.
_PHI3_KEEPING = frozenset(("<unk>", "<s>", "<|endoftext|>"))
_MISTRAL_PUTS_SPACE = frozenset(("[INST]", "[/INST]", "[AVAILABLE_TOOLS]", "[TOOL_CALLS]", "[TOOL_RESULTS]"))


def swallowed_space(file: _core.GGUFFile, names: Collection[str]) -> dict[str, re.Pattern[str]]:
    """What control tokens of a SentencePiece vocabulary take in of the white space behind them.

    No field of the format says so. Phi-3's own tokenizer drops all of it. Mistral's templates write the space
    that begins every text, where its tokenizer, unlike others, adds none.
    """
    kind = file.get("tokenizer.ggml.model")
    architecture = file.get("general.architecture")
    adds_space = file.get("tokenizer.ggml.add_space_prefix")
    # An array in the file is an array here, which does not compare to a truth value.
    if not isinstance(kind, str) or kind != "llama":
        return {}
    if isinstance(architecture, str) and architecture == "phi3":
        return dict.fromkeys(set(names) - _PHI3_KEEPING, _ALL_SPACE)
    if "[INST]" in names and adds_space is not False:
        return dict.fromkeys(_MISTRAL_PUTS_SPACE, _ONE_SPACE)
    return {}


class ControlTokens:
    """The names of a vocabulary's control tokens.

    A *mark* is a character, foreign to all text at hand, that is put behind the first character of a name to
    keep it text: `split` finds no token there and drops the mark, also where a template quoted it.
    """

    def __init__(
        self, ids: Mapping[str, int], swallowed: Mapping[str, re.Pattern[str]] | None = None
    ) -> None:
        """`swallowed` is what names take in of the text behind them."""
        self._ids = dict(ids)
        self._swallowed = dict(swallowed or {})
        self._lengths = sorted({len(name) for name in ids}, reverse=True)
        # Both cases: templates may change the case of what they are given.
        first = {form for name in ids for form in (name[0], name[0].lower(), name[0].upper())}
        self._first = re.compile("|".join(re.escape(char) for char in sorted(first))) if first else None
        self._tails = {name[start:] for name in ids for start in range(1, len(name))}
        self._longest_tail = max((len(tail) for tail in self._tails), default=0)
        self._insides = "\0".join(sorted(name[1:] for name in ids))

    def split(self, text: str, mark: str = "") -> Iterator[tuple[str, int | None]]:
        """Pairs of ordinary text (without marks) and the control token behind it; None behind the last.

        Of several names at one place the longest counts.
        """
        done = 0
        if self._first is not None:
            for found in self._first.finditer(text):
                at = found.start()
                name = self._name_at(text, at) if at >= done else None
                if name is None or (mark and text.startswith(mark, at + 1)):
                    continue
                yield _without(text[done:at], mark), self._ids[name]
                done = at + len(name)
                if name in self._swallowed and (space := self._swallowed[name].match(text, done)):
                    done = space.end()
        yield _without(text[done:], mark), None

    def sequence(self, text: str, mark: str) -> list[int]:
        """The control tokens `split` finds, in order."""
        return [token for _, token in self.split(text, mark) if token is not None]

    def mark_names(self, text: str, mark: str) -> str:
        """`text` with a mark in each control token's name; the same text where there is none."""
        if self._first is None:
            return text
        return self._first.sub(
            lambda found: found[0] + mark if self._name_at(text, found.start()) else found[0], text
        )

    def mark_all(self, text: str, mark: str) -> str:
        """`text` with a mark wherever any change or context of it could complete a control token's name."""
        if self._first is None or not text:
            return text
        marked = self._first.sub(lambda found: mark + found[0] + mark, text)
        return mark + marked if self._continues_a_name(text) else marked

    def _name_at(self, text: str, at: int) -> str | None:
        for length in self._lengths:
            name = text[at : at + length]
            if name in self._ids and len(name) == length:
                return name
        return None

    def _continues_a_name(self, text: str) -> bool:
        if len(text) <= self._longest_tail and text in self._insides:
            return True
        return any(
            text[:length] in self._tails for length in range(1, min(len(text), self._longest_tail) + 1)
        )


def escaped(mark: str) -> str:
    """The mark as Python's and JSON's quotations write it."""
    return f"\\u{ord(mark):04x}"


def _without(text: str, mark: str) -> str:
    return text.replace(mark, "").replace(escaped(mark), "") if mark else text
