"""Tells the engine which tokens keep a text within its grammar; the grammars are llguidance's."""

from __future__ import annotations

import contextlib
import json
import threading
import time
from typing import TYPE_CHECKING, Any

from llmcore.errors import GrammarError
from llmcore.structured_output import StructuredOutput
from llmcore.tokenizer import Tokenizer
from llmcore.tokenizer_metadata import BYTE, NORMAL, USER_DEFINED

if TYPE_CHECKING:
    from llguidance import LLMatcher, LLTokenizer

# llguidance takes tokens that begin with this byte for control tokens, which no text reaches.
_CONTROL = b"\xff"

# Longer runs of white space between JSON's parts are not offered: small models lose themselves in them.
_JSON_SPACE = r"[\x20\x0A\x0D\x09]{1,20}"

# A grammar whose masks take longer, in seconds, would hold up the requests beside it.
_SLOWEST_MASK = 2.0

# llguidance 1.9 ends the process for a text that must be a number so near to the least of 64 bits.
_LEAST_NUMBER = -(2**63) + 2048

Query = tuple[int, int, int]  # request, index of the sequence, the token it sampled last or -1


class GrammarGuide:
    """Compiles grammars for a model's vocabulary, and follows the sequences that keep to them.

    `compile`, `open` and `close` may be called from any thread; the engine calls the object itself.
    """

    def __init__(self) -> None:
        """Nothing is built before the first grammar."""
        self._attached: tuple[Tokenizer, int] | None = None
        self._building = threading.Lock()
        self._vocabulary: LLTokenizer | None = None
        self._matchers: dict[tuple[int, int], LLMatcher] = {}
        self._caller: int | None = None

    def attach(self, tokenizer: Tokenizer, n_vocab: int) -> None:
        """Before the first grammar: the model's vocabulary, and how many tokens it scores."""
        self._attached = tokenizer, n_vocab

    def compile(self, structured: StructuredOutput) -> LLMatcher:
        """The matcher of a text's beginning; takes milliseconds, and longer for the first or a large grammar.

        Raises GrammarError that names what is wrong or not supported.
        """
        from llguidance import LLMatcher, LLParserLimits  # noqa: PLC0415 - most requests need none of it

        matcher = LLMatcher(
            self._llguidance_vocabulary(),
            _grammar(structured),
            log_level=0,
            limits=LLParserLimits(verbose_errors=False),
        )
        # A warning says that something is left out of account; the text would not have the form asked for.
        problem = matcher.get_error() or "; ".join(matcher.get_grammar_warnings())
        if not problem:
            began = time.monotonic()
            matcher.compute_bitmask()
            problem = matcher.get_error()
            if not problem and time.monotonic() - began > _SLOWEST_MASK:
                problem = "the grammar is too complex"
        if problem:
            raise GrammarError(f"[grammar] {structured.kind} cannot be used: {problem.strip()}")
        return matcher

    def open(self, request: int, matcher: LLMatcher, n: int) -> None:
        """Before a request is submitted: its `n` sequences are to follow `matcher`, which is given away."""
        for index in range(n):
            self._matchers[request, index] = matcher.deep_copy() if index else matcher

    def close(self, request: int, n: int) -> None:
        """After a request was refused by the engine."""
        for index in range(n):
            self._matchers.pop((request, index), None)

    def __call__(
        self, queries: list[Query], ended: list[tuple[int, int]], address: int, n_bytes: int
    ) -> list[str]:
        """Writes one mask a query to memory, in order; an error each, "" where there is none."""
        self._caller = threading.get_ident()
        try:
            for key in ended:
                self._matchers.pop(key, None)
            size = n_bytes // max(1, len(queries))
            return [self._advance(query, address + place * size, size) for place, query in enumerate(queries)]
        finally:
            self._caller = None

    @property
    def is_called_here(self) -> bool:
        """Whether this thread is the engine's, in a call of the guide: garbage collection may run there."""
        return self._caller == threading.get_ident()

    def _advance(self, query: Query, address: int, size: int) -> str:
        request, index, token = query
        matcher = self._matchers.get((request, index))
        if matcher is None:
            return "[grammar] the sequence has no grammar"
        began = time.monotonic()
        if token >= 0:
            matcher.consume_token(token)
        if not matcher.is_error():
            matcher.unsafe_compute_mask_ptr(address, size)
        if matcher.is_error():
            # A matcher in error would offer the end of the text.
            return f"[grammar] {matcher.get_error().strip()}"
        if time.monotonic() - began > _SLOWEST_MASK:
            return "[grammar] the grammar is too complex"
        return ""

    def _llguidance_vocabulary(self) -> LLTokenizer:
        from llguidance import LLTokenizer, TokenizerWrapper  # noqa: PLC0415

        with self._building:
            if self._vocabulary is None:
                assert self._attached is not None
                wrapper = TokenizerWrapper(_Vocabulary(*self._attached))
                self._vocabulary = LLTokenizer(wrapper)
            return self._vocabulary


class _Vocabulary:
    """The tokens as llguidance wants to see them."""

    def __init__(self, tokenizer: Tokenizer, n_vocab: int) -> None:
        # One more token than the model has stands for all that end the text.
        self.eos_token_id = n_vocab
        self.bos_token_id = None
        self.tokens = _token_bytes(tokenizer, n_vocab)
        self.special_token_ids = [i for i, name in enumerate(self.tokens) if name.startswith(_CONTROL)]
        self._tokenizer = tokenizer

    def __call__(self, text: str) -> list[int]:
        if not isinstance(text, str):
            raise TypeError("text must be str")
        return self._tokenizer.encode_continuation(text)


def _token_bytes(tokenizer: Tokenizer, n_vocab: int) -> list[bytes]:
    vocabulary = tokenizer.vocabulary
    types = vocabulary.token_types.tolist()
    tokens = [_CONTROL + b"<%d>" % i for i in range(n_vocab + 1)]
    owners: dict[bytes, int] = {}
    # Of tokens that write the same bytes only one is offered: a piece rather than a byte that stands in where
    # no piece fits.
    for kind in (NORMAL, USER_DEFINED, BYTE):
        for token, found in enumerate(types):
            if found == kind:
                text = vocabulary.text_bytes(token)
                if text and not text.startswith(_CONTROL) and owners.setdefault(text, token) == token:
                    tokens[token] = text
    for token, found in enumerate(types):
        if found not in (NORMAL, USER_DEFINED, BYTE):
            tokens[token] = _CONTROL + vocabulary.token_bytes(token)
    return tokens


def _check_numbers(schema: str) -> None:
    """Raises GrammarError for a number that llguidance cannot take, in the JSON that a text begins with."""

    def check(pairs: list[tuple[str, Any]]) -> None:
        for key, value in pairs:
            if key not in ("minimum", "exclusiveMinimum") and _holds_less(value):
                raise GrammarError(f"[grammar] {key!r} cannot be used: a number below -2^63 + 2048")

    with contextlib.suppress(json.JSONDecodeError):  # which llguidance will say
        json.JSONDecoder(object_pairs_hook=check).raw_decode(schema.lstrip())


def _holds_less(value: Any) -> bool:
    if isinstance(value, list):
        return any(map(_holds_less, value))
    return isinstance(value, int | float) and value < _LEAST_NUMBER


def _grammar(structured: StructuredOutput) -> str:
    from llguidance import LLMatcher, grammar_from  # noqa: PLC0415

    try:
        if structured.kind in ("json_schema", "json_object"):
            schema = structured.text or '{"type": "object"}'
            _check_numbers(schema)
            return LLMatcher.grammar_from_json_schema(
                schema, defaults={"whitespace_pattern": _JSON_SPACE}, overrides={"lenient": False}
            )
        for schema in structured.text.split("%json")[1:]:
            _check_numbers(schema)
        return grammar_from(structured.kind, structured.text)  # type: ignore[arg-type]
    except (ValueError, TypeError, LookupError, AttributeError, AssertionError, RecursionError) as error:
        raise GrammarError(f"[grammar] {structured.kind} cannot be read: {error}") from error
