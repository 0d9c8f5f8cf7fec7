"""LLM and AsyncEngine answer arguments of the wrong type with one line that names them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from llmcore import LLM, AsyncEngine, InvalidArgumentError, SamplingParams, default_model

ONE = SamplingParams(max_tokens=1, temperature=0)


@pytest.fixture(scope="module")
def llm() -> Iterator[LLM]:
    with LLM(threads=1, n_ctx=64, max_batch=2) as loaded:
        yield loaded


def refusal(work: Callable[[], object]) -> str:
    with pytest.raises(InvalidArgumentError) as caught:
        work()
    message = str(caught.value)
    assert message.startswith("[")
    assert "\n" not in message
    assert len(message) < 400
    return message


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda llm: llm.generate([[1.5]]), "prompt token; got 1.5"),
        (lambda llm: llm.generate([[1, 1 << 70]]), "prompt token; got 1180591620717411303424"),
        (lambda llm: llm.generate([[1, 10**5000]]), "prompt token; got a value of type int"),
        (lambda llm: llm.generate([[1, None]]), "prompt token; got None"),
        (lambda llm: llm.generate(5), "prompts; got 5; expected a text"),
        (lambda llm: llm.generate([None]), "prompt; got None; expected a text or a list of token ids"),
        (lambda llm: llm.generate({"a": 1}), "prompts; got"),
        (lambda llm: llm.generate([b"abc"]), "prompt; got b'abc'"),
        (lambda llm: llm.generate([1, 2]), "list of such lists"),
        (lambda llm: llm.generate(np.array([1, 2])), "list of such lists"),
        (lambda llm: llm.generate("a", {"max_tokens": 3}), "params; got {'max_tokens': 3}"),
        (lambda llm: llm.generate("a", [{"max_tokens": 3}]), "params; got {'max_tokens': 3}"),
        (lambda llm: llm.stream("a", {"max_tokens": 3}), "params; got"),
        (lambda llm: llm.chat([{"role": "user", "content": "a"}], {"n": 1}), "params; got"),
        (lambda llm: llm.generate("a", lora=5), "no such adapter; got 5"),
        (lambda llm: llm.generate("a", lora="\ud800"), "no such adapter; got '\\ud800'"),
        (lambda llm: llm.logits("abc"), "prompt; got 'abc'"),
        (lambda llm: llm.logits([1.5]), "prompt token; got 1.5"),
        (lambda llm: llm.embed(5), "prompts; got 5"),
        (lambda llm: llm.embed([1, 2]), "list of such lists"),
        (lambda llm: llm.embed("a", pooling=5), "pooling; got 5; expected mean, cls, last"),
        (lambda llm: llm.embed("a", pooling="sum"), "pooling; got sum"),
        (lambda llm: llm.load_adapter(5, "a.gguf"), "name of an adapter; got 5"),
        (lambda llm: llm.load_adapter("a", None), "path of an adapter; got None"),
        (lambda llm: llm.load_adapter("a", "a.gguf", "big"), "scale of an adapter; got 'big'"),
        (lambda llm: llm.unload_adapter(5), "no such adapter; got 5"),
    ],
)
def test_requests(llm: LLM, call: Callable[[Any], object], said: str) -> None:
    assert said in refusal(lambda: call(llm))
    assert llm.generate("a", ONE)[0].usage.completion_tokens == 1


@pytest.mark.parametrize(
    ("name", "value"),
    [
        *[("n_ctx", value) for value in (1.5, "64", True, 0)],
        *[("threads", value) for value in ("a", -1)],
        ("max_batch", [1]),
        *[("kv_spill_ram", value) for value in ("2GB", 1.5)],
        ("kv_cache_dir", 5),
        ("kv_cache_dir", ""),
        ("device", None),
        ("device", "\ud800"),
        ("kv_cache_type", None),
        ("quantization", 4),
        ("prefix_cache", "no"),
        ("mmap", None),
        ("deterministic", []),
        *[("prompt_lookup", value) for value in (None, 1.5, 33)],
        ("draft_tokens", "4"),
        ("draft_model", 5),
        ("draft_model", ""),
        *[("gpu_layers", value) for value in (None, 1.5, True)],
        *[("lora", value) for value in (5, [5], {"a": 5}, {"a": ("a.gguf", "big")}, {"a": ("a.gguf", 1, 2)})],
    ],
)
def test_options_of_loading(name: str, value: Any) -> None:
    message = refusal(lambda: LLM(**{name: value}))
    assert (name in message) or (name == "lora" and "adapter" in message)


@pytest.mark.parametrize("name", ["max_queue", "kv_budget", "max_itl_ms"])
def test_options_of_the_async_engine(name: str) -> None:
    assert f"{name}; got 'a'" in refusal(lambda: AsyncEngine(**{name: "a"}))


def test_numpys_scalars_are_numbers(llm: LLM) -> None:
    integer: Any = np.int64(16)
    with LLM(threads=np.int32(1), n_ctx=integer, max_batch=1) as other:  # type: ignore[arg-type]
        assert other.model_info.n_ctx == 16
    params: Any = {
        "max_tokens": np.int64(3),
        "temperature": np.float32(0.5),
        "top_p": np.float64(0.5),
        "min_p": Fraction(1, 4),
        "seed": np.uint64((1 << 64) - 1),
        "ignore_eos": np.bool_(1),
        "stop_token_ids": np.array([3, 4]),
        "logit_bias": {np.int64(7): np.float32(1)},
    }
    given = SamplingParams(**params)
    kinds = {type(getattr(given, name)) for name in ("max_tokens", "temperature", "top_p", "min_p", "seed")}
    assert kinds == {int, float}
    assert type(given.ignore_eos) is bool
    assert {type(token) for token in given.stop_token_ids} == {int}
    assert {(type(token), type(bias)) for token, bias in (given.logit_bias or {}).items()} == {(int, float)}
    assert given == SamplingParams(
        max_tokens=3,
        temperature=0.5,
        top_p=0.5,
        min_p=0.25,
        seed=(1 << 64) - 1,
        ignore_eos=True,
        stop_token_ids=(3, 4),
        logit_bias={7: 1.0},
    )
    assert llm.generate([np.array([1, 2])], given)[0].usage.prompt_tokens == 2


def test_what_names_the_embedded_model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "folder").mkdir()
    assert default_model.locate(None) == default_model.locate("default") == default_model.path()
    assert default_model.locate("folder") == Path("folder")
    with LLM("default", threads=1, n_ctx=16) as llm:
        assert llm.model_info.path == str(default_model.path())
    (tmp_path / "default").write_bytes(b"something else")
    assert default_model.locate("default") == Path("default")


@pytest.mark.parametrize("model", ["", 5, b"model.gguf", "a\0b", "\ud800"])
def test_a_model_must_be_a_path(model: Any) -> None:
    expected = "expected the path of a GGUF file, or None for the embedded model"
    assert refusal(lambda: LLM(model)) == f"[engine] model; got {model!r}; {expected}"


def test_the_async_engine_says_the_same() -> None:
    async def first(engine: AsyncEngine, prompt: Any, *rest: Any, **options: Any) -> None:
        async for _ in engine.generate(prompt, *rest, **options):
            break

    with AsyncEngine(threads=1, n_ctx=64) as engine:
        for call, said in (
            (lambda: first(engine, [1.5], ONE), "prompt token; got 1.5"),
            (lambda: first(engine, 5, ONE), "prompt; got 5"),
            (lambda: first(engine, "a", {"max_tokens": 1}), "params; got"),
            (lambda: first(engine, "a", ONE, priority="high"), "priority; got 'high'"),
            (lambda: first(engine, "a", ONE, tenant=5), "tenant; got 5"),
            (lambda: first(engine, "a", ONE, tenant="\ud800"), "tenant; got"),
            (lambda: first(engine, "a", ONE, deadline="soon"), "deadline; got 'soon'"),
            (lambda: engine.embed([1, 2]), "list of such lists"),
        ):
            assert said in refusal(lambda call=call: asyncio.run(call()))  # type: ignore[misc]
