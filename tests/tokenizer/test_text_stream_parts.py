"""Utf8Assembler against Python's decoder, StopMatcher against a definition by brute force."""

from __future__ import annotations

import codecs

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from llmcore import _core

# Bytes that begin, continue or break characters, more often than chance would have them.
tricky_bytes = st.lists(
    st.sampled_from(
        [b"a", b"\x80", b"\xbf", b"\xa0", b"\x9f", b"\x90", b"\x8f", b"\xc0", b"\xc1", b"\xc2", b"\xdf",
         b"\xe0", b"\xed", b"\xef", b"\xf0", b"\xf4", b"\xf5", b"\xff", "é".encode(), "漢".encode(),
         "😀".encode(), b"\xed\xa0\x80"]
    )
).map(b"".join)  # fmt: skip


@st.composite
def cut(draw: st.DrawFn, whole: bytes | str) -> list[bytes] | list[str]:
    places = sorted(draw(st.lists(st.integers(0, len(whole)), max_size=8)))
    return [whole[start:end] for start, end in zip([0, *places], [*places, len(whole)], strict=True)]


@given(
    st.one_of(st.binary(), tricky_bytes, st.text().map(lambda t: t.encode("utf-8", "replace"))).flatmap(cut)
)
@example([b"\xf0\x9f", b"\x98", b"\x80"])
@example([b"\xf0\x9f", b"\x98"])
@example([b"\xe2", b"a"])
def test_assembler_agrees_with_python(pieces: list[bytes]) -> None:
    assembler = _core.Utf8Assembler()
    decoder = codecs.getincrementaldecoder("utf-8")("replace")
    ours = theirs = ""
    for piece in pieces:
        ours += assembler.push(piece)
        theirs += decoder.decode(piece)
        # Python keeps the first two bytes of an encoded surrogate back; they are wrong already.
        assert ours.startswith(theirs)
        assert len(ours) - len(theirs) in (0, 2)
    assert ours + assembler.flush() == theirs + decoder.decode(b"", final=True)
    assert assembler.flush() == ""


@given(st.text(st.characters(exclude_categories=["Cs"])))
def test_assembler_gives_text_back_byte_by_byte(text: str) -> None:
    assembler = _core.Utf8Assembler()
    pieces = [assembler.push(bytes([byte])) for byte in text.encode()]
    assert "".join(pieces) == text
    assert assembler.flush() == ""


def stopped_text(text: str, stops: list[str]) -> tuple[str, str]:
    """(text before the stop string that is complete first, that string), by looking at every prefix."""
    for end in range(len(text) + 1):
        complete = [stop for stop in stops if stop and text[:end].endswith(stop)]
        if complete:
            longest = max(complete, key=len)
            return text[: end - len(longest)], longest
    return text, ""


few_letters = st.text("abé😀", max_size=12)


@given(few_letters.flatmap(cut), st.lists(st.text("abé😀", max_size=4), max_size=4))
@example(["aab", "aac"], ["aabaac", "aac"])
@example(["xab", "c"], ["abcd", "bc"])
def test_stop_matcher_against_its_definition(pieces: list[str], stops: list[str]) -> None:
    text = "".join(pieces)
    expected, stop = stopped_text(text, stops)
    matcher = _core.StopMatcher(stops)
    released = ""
    seen = ""
    for piece in pieces:
        seen += piece
        released += matcher.push(piece)
        if matcher.stopped:
            break
        held = seen[len(released) :]
        assert seen.startswith(released)
        # Held back is the longest suffix that may still become a stop string, no more and no less.
        suffixes = [seen[start:] for start in range(len(seen) + 1)]
        begun = [s for s in suffixes if s == "" or any(stop.startswith(s) and stop != s for stop in stops)]
        assert held == begun[0]
    assert matcher.stopped == bool(stop)
    assert matcher.matched == stop
    assert released + matcher.flush() == expected
    assert matcher.flush() == ""


def test_nothing_follows_a_stop() -> None:
    matcher = _core.StopMatcher(["\n\n"])
    assert matcher.push("one\n") == "one"
    assert matcher.push("\ntwo") == ""
    assert matcher.stopped
    assert matcher.push("three") == ""
    assert matcher.flush() == ""


def test_hostile_stop_strings_cost_linear_time() -> None:
    matcher = _core.StopMatcher(["a" * 200_000 + "b"])
    for _ in range(100):
        matcher.push("a" * 4_000)
    assert not matcher.stopped
    assert matcher.push("b") == ""
    assert matcher.stopped


def test_stop_strings_must_be_text() -> None:
    with pytest.raises(TypeError, match="StopMatcher"):
        _core.StopMatcher(["\ud800"])
