"""Texts that must have a form: on the embedded model, which has never heard of any."""

from __future__ import annotations

import asyncio
import gc
import json
import re
import threading
import time
import weakref
from collections.abc import Iterator

import pytest

from llmcore import LLM, AsyncEngine, GrammarError, InvalidArgumentError, SamplingParams, StructuredOutput
from llmcore.engine import submit
from llmcore.grammar_guide import GrammarGuide
from llmcore.tools.shapes import Shape
from llmcore.tools.synthesize import synthesize

SCHEMA = {
    "type": "object",
    "properties": {
        "name": {"type": "string", "maxLength": 8},
        "age": {"type": "integer", "minimum": 0, "maximum": 120},
        "tags": {"type": "array", "items": {"enum": ["red", "green"]}, "maxItems": 2},
    },
    "required": ["name", "age", "tags"],
    "additionalProperties": False,
    # So that the longest text fits max_tokens, whatever the machine rounds to.
    "x-guidance": {"whitespace_flexible": False, "whitespace_pattern": ""},
}
PERSON = StructuredOutput("json_schema", SCHEMA)
DATE = StructuredOutput("regex", r"[0-9]{4}-[01][0-9]-[0-3][0-9]")


@pytest.fixture(scope="module")
def llm() -> Iterator[LLM]:
    with LLM(threads=1, max_batch=4, n_ctx=256) as loaded:
        yield loaded


def check_person(text: str) -> None:
    person = json.loads(text)
    assert set(person) == {"name", "age", "tags"}
    assert isinstance(person["name"], str)
    assert len(person["name"]) <= 8
    assert 0 <= person["age"] <= 120
    assert len(person["tags"]) <= 2
    assert set(person["tags"]) <= {"red", "green"}


def test_every_completion_has_the_schema(llm: LLM) -> None:
    params = SamplingParams(max_tokens=200, temperature=1.5, seed=5, n=4, structured=PERSON)
    for completion in llm.generate("Who?", params):
        assert completion.finish_reason == "stop"
        check_person(completion.text)


@pytest.mark.parametrize(
    ("structured", "pattern"),
    [
        (DATE, r"[0-9]{4}-[01][0-9]-[0-3][0-9]"),
        (StructuredOutput("lark", 'start: "a" ("b" | /[0-9]+/) "c"'), r"a(b|[0-9]+)c"),
        (StructuredOutput("gbnf", 'root ::= "yes" | "no" [!?]'), r"yes|no[!?]"),
        (StructuredOutput("regex", "你好|再见"), "你好|再见"),
        # The space is part of the form, though this vocabulary writes one before a text's first word.
        (StructuredOutput("regex", " x"), " x"),
    ],
)
def test_other_forms(llm: LLM, structured: StructuredOutput, pattern: str) -> None:
    params = SamplingParams(max_tokens=100, temperature=2.0, seed=3, n=3, structured=structured)
    for completion in llm.generate("Hello", params):
        assert completion.finish_reason == "stop"
        assert re.fullmatch(pattern, completion.text)


@pytest.fixture(scope="module")
def spaced(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LLM]:
    """A model whose encoder puts a space in front of every text, as Llama 2's does."""
    path = tmp_path_factory.mktemp("spaced") / "model.gguf"
    synthesize(path, Shape("llama", 64, 1, 2, 1, 32, 64, 512, 256), "F32")
    with LLM(path, threads=1, max_batch=4) as loaded:
        assert loaded.tokenizer.token_bytes(loaded.tokenizer.encode("a", add_special=False)[0])[:1] == b" "
        yield loaded


@pytest.mark.parametrize(
    ("structured", "pattern"),
    [
        (StructuredOutput("regex", "abc"), "abc"),
        (StructuredOutput("regex", " ab|c d"), " ab|c d"),
        (StructuredOutput("gbnf", 'root ::= "yes" | "no"'), "yes|no"),
        (StructuredOutput("json_schema", {"const": {"a b": 1}}), r'\{\s*"a b"\s*:\s*1\s*\}'),
    ],
)
@pytest.mark.parametrize("temperature", [0.0, 2.0])
def test_forms_of_a_vocabulary_that_puts_a_space_in_front(
    spaced: LLM, structured: StructuredOutput, pattern: str, temperature: float
) -> None:
    params = SamplingParams(max_tokens=100, temperature=temperature, seed=3, structured=structured)
    (completion,) = spaced.generate("a", params)
    assert completion.finish_reason == "stop"
    assert re.fullmatch(pattern, completion.text)


def test_any_object(llm: LLM) -> None:
    params = SamplingParams(max_tokens=150, seed=1, n=4, structured=StructuredOutput("json_object"))
    for completion in llm.generate("Hello", params):
        assert completion.text.startswith("{")
        if completion.finish_reason == "stop":
            assert isinstance(json.loads(completion.text), dict)


@pytest.mark.parametrize("options", [{"ignore_eos": True}, {"min_tokens": 50}, {"logit_bias": {0: 100.0}}])
def test_a_complete_text_ends_whatever_else_is_asked(llm: LLM, options: dict[str, object]) -> None:
    params = SamplingParams(max_tokens=60, structured=DATE, **options)  # type: ignore[arg-type]
    (completion,) = llm.generate("Hello", params)
    assert completion.finish_reason == "stop"
    assert re.fullmatch(DATE.text, completion.text)


def test_length_and_stop_strings_end_it_before(llm: LLM) -> None:
    digits = StructuredOutput("regex", "[0-9]{3}-[0-9]{40}")
    (cut,) = llm.generate("Hello", SamplingParams(max_tokens=10, structured=digits))
    assert cut.finish_reason == "length"
    (stopped,) = llm.generate("Hello", SamplingParams(max_tokens=60, stop="-", structured=digits))
    assert stopped.finish_reason == "stop"
    assert re.fullmatch("[0-9]{3}", stopped.text)


def test_the_others_in_its_steps_are_not_touched(llm: LLM) -> None:
    free = SamplingParams(max_tokens=30, temperature=0)
    (alone,) = llm.generate("What is llmcore?", free)
    bound = SamplingParams(max_tokens=200, seed=2, structured=PERSON)
    together = llm.generate(["What is llmcore?", "Who?", "What is llmcore?"], [free, bound, free])
    assert together[0].token_ids == together[2].token_ids == alone.token_ids
    check_person(together[1].text)


@pytest.mark.parametrize(
    ("keyword", "schema"),
    [
        ("not", {"type": "object", "not": {"required": ["a"]}}),
        ("uniqueItems", {"type": "array", "uniqueItems": True}),
        ("contains", {"properties": {"a": {"type": "array", "contains": {"const": 1}}}}),
        # A schema cannot ask to be taken less seriously.
        ("uniqueItems", {"x-guidance": {"lenient": True}, "type": "array", "uniqueItems": True}),
        ("look", {"type": "string", "pattern": "(?=a)b"}),
    ],
)
def test_an_unsupported_keyword_is_named(llm: LLM, keyword: str, schema: dict[str, object]) -> None:
    params = SamplingParams(structured=StructuredOutput("json_schema", schema))
    with pytest.raises(GrammarError, match=keyword):
        llm.generate("Hello", params)


@pytest.mark.parametrize(
    "schema",
    [
        {"const": -(2**63)},
        {"anyOf": [{"enum": ["a", [{"b": -(2**63) + 512}]]}]},
        {"type": "integer", "minimum": -(2**63) + 1, "maximum": -(2**63) + 5},
        {"type": "integer", "minimum": -1e19, "exclusiveMaximum": -9.3e18},
    ],
)
def test_numbers_that_would_end_the_process_are_refused(llm: LLM, schema: dict[str, object]) -> None:
    lark = f"start: %json {json.dumps(schema)}"
    for structured in (StructuredOutput("json_schema", schema), StructuredOutput("lark", lark)):
        with pytest.raises(GrammarError, match="number below"):
            llm.generate("Hello", SamplingParams(structured=structured))


def test_the_least_of_small_numbers(llm: LLM) -> None:
    schema = {"type": "integer", "minimum": -(2**53), "maximum": -7}
    params = SamplingParams(max_tokens=40, structured=StructuredOutput("json_schema", schema))
    (completion,) = llm.generate("Hello", params)
    assert int(completion.text) <= -7


@pytest.mark.parametrize(
    ("kind", "value"),
    [("regex", "a("), ("lark", "start: nothing"), ("gbnf", "root := x"), ("lark", '%llguidance {"a": 1}')],
)
def test_a_broken_grammar_is_refused(llm: LLM, kind: str, value: str) -> None:
    with pytest.raises(GrammarError, match=kind):
        llm.generate("Hello", SamplingParams(structured=StructuredOutput(kind, value)))  # type: ignore[arg-type]


def test_values_that_cannot_be_read() -> None:
    with pytest.raises(InvalidArgumentError, match="kind"):
        StructuredOutput("xml", "a")  # type: ignore[arg-type]
    for value in ("{", "[1]", {"a": float("nan")}, {"a": object()}):
        with pytest.raises(GrammarError, match="JSON schema"):
            StructuredOutput("json_schema", value)  # type: ignore[arg-type]
    deep: dict[str, object] = {}
    for _ in range(100_000):
        deep = {"items": deep}
    with pytest.raises(GrammarError, match="cannot be read"):
        StructuredOutput("json_schema", deep)
    with pytest.raises(GrammarError, match="too long"):
        StructuredOutput("regex", "a" * 100_000)
    with pytest.raises(GrammarError, match="expected a text"):
        StructuredOutput("regex")
    with pytest.raises(InvalidArgumentError, match="structured"):
        SamplingParams(structured="json")  # type: ignore[arg-type]
    assert hash(PERSON) == hash(StructuredOutput("json_schema", json.dumps(SCHEMA)))


def test_a_sequence_without_its_grammar_fails_rather_than_run_free(llm: LLM) -> None:
    guide = llm._loaded().guide
    stream = llm.stream("Who?", SamplingParams(max_tokens=200, structured=PERSON))
    next(stream)
    guide._matchers.clear()
    with pytest.raises(GrammarError, match="no grammar"):
        list(stream)


def assert_forgotten(guide: GrammarGuide) -> None:
    """The guide is told of the last sequences that ended by its own thread, behind their last token."""
    deadline = time.monotonic() + 10
    while guide._matchers and time.monotonic() < deadline:
        time.sleep(0.005)
    assert not guide._matchers


def test_the_border_is_crossed_once_a_step_and_only_for_these(monkeypatch: pytest.MonkeyPatch) -> None:
    with LLM(threads=1, max_batch=4, n_ctx=256) as llm:
        guide = llm._loaded().guide
        calls: list[int] = []
        inner = type(guide).__call__

        def counted(self: object, queries: list[object], *rest: object) -> list[str]:
            calls.append(len(queries))
            return inner(self, queries, *rest)  # type: ignore[arg-type]

        monkeypatch.setattr(type(guide), "__call__", counted)
        llm.generate("Hello", SamplingParams(max_tokens=5))
        assert not calls
        before = llm.stats().steps
        llm.generate("Who?", SamplingParams(max_tokens=200, n=3, structured=PERSON))
        # One more tells of the sequences that ended.
        assert 3 <= len(calls) <= llm.stats().steps - before + 1
        assert max(calls) == 3
        assert_forgotten(guide)


def test_async_requests_and_cancellation() -> None:
    engine = AsyncEngine(threads=1, max_batch=4, n_ctx=256)

    async def text(prompt: str, params: SamplingParams) -> str:
        return "".join([delta.text async for delta in engine.generate(prompt, params)])

    async def run() -> None:
        with pytest.raises(GrammarError, match="uniqueItems"):
            await text("a", SamplingParams(structured=StructuredOutput("json_schema", {"uniqueItems": True})))
        params = SamplingParams(max_tokens=200, structured=PERSON)
        left = engine.generate("Who?", params)
        await anext(left)
        await left.aclose()  # type: ignore[attr-defined]
        for made in await asyncio.gather(*[text("Who?", params) for _ in range(3)]):
            check_person(made)
        await text("Hello", SamplingParams(max_tokens=1, structured=StructuredOutput("regex", "[a-z]")))

    try:
        asyncio.run(run())
        assert_forgotten(engine._model.guide)
    finally:
        engine.close()


def test_a_stream_outlives_its_llm_and_a_dropped_engine_ends() -> None:
    params = SamplingParams(max_tokens=200, seed=1, structured=PERSON)
    stream = LLM(threads=1, max_batch=2, n_ctx=256).stream("Who?", params)
    gc.collect()
    check_person("".join(delta.text for delta in stream))


def test_an_engine_collected_in_the_guides_own_call_ends_elsewhere(monkeypatch: pytest.MonkeyPatch) -> None:
    holder = [LLM(threads=1, max_batch=2, n_ctx=256)]
    core = holder[0]._loaded().core
    collected_in: list[int] = []
    weakref.finalize(holder[0]._loaded(), lambda: collected_in.append(threading.get_ident()))
    submitted = threading.Event()
    guide = type(holder[0]._loaded().guide)
    inner = guide._advance

    def dropping(self: object, *rest: object) -> str:
        assert submitted.wait(20)
        holder.clear()
        return inner(self, *rest)  # type: ignore[arg-type]

    monkeypatch.setattr(guide, "_advance", dropping)
    submit(holder[0]._loaded(), 1, [5, 6], SamplingParams(max_tokens=50, structured=PERSON))
    submitted.set()
    for _ in range(200):
        if any(output.finish == "cancelled" for output in core.wait(0.1)):
            break
    else:
        pytest.fail("the engine did not end")
    assert len(collected_in) == 1
    assert collected_in[0] != threading.get_ident()
