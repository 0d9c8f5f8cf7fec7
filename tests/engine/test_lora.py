"""Adapters in an engine: mixed in one batch, come and go, share no cached prefix."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from adapter_files import architecture_of, matrices_of, random_adapter, write_adapter

from llmcore import (
    LLM,
    AsyncEngine,
    Completion,
    GGUFError,
    InvalidArgumentError,
    LoraSource,
    ModelError,
    SamplingParams,
    default_model,
)
from llmcore.lora import lora_sources, parse_lora

N_CTX = 256
PROMPT = [5 + 7 * i % 900 for i in range(100)]
GREEDY = SamplingParams(max_tokens=8, temperature=0, logprobs=3, ignore_eos=True)


@pytest.fixture(scope="module")
def model() -> Path:
    if not default_model.path().is_file():
        pytest.skip("this checkout has no embedded model")
    return default_model.path()


@pytest.fixture(scope="module")
def files(model: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("adapters")
    return {
        "one": random_adapter(folder / "one.gguf", model, seed=1, strength=0.3),
        "two": random_adapter(folder / "two.gguf", model, seed=2, strength=0.3, every=2),
    }


@pytest.fixture(scope="module")
def llm(model: Path, files: dict[str, Path]) -> Iterator[LLM]:
    adapters = {"one": files["one"], "two": (files["two"], 0.5)}
    with LLM(model, threads=2, n_ctx=N_CTX, max_batch=4, lora=adapters) as loaded:
        yield loaded


def bits(completion: Completion) -> tuple[object, ...]:
    return completion.token_ids, completion.logprobs


def test_a_mixed_batch_has_the_bits_of_each_alone(model: Path, files: dict[str, Path]) -> None:
    adapters = {"one": files["one"], "two": (files["two"], 0.5)}
    names = [None, "one", "two", "one", None, "two", "two"]
    prompts = [PROMPT[: 3 + 9 * i] for i in range(len(names))]
    settings = {"n_ctx": N_CTX, "deterministic": True, "lora": adapters}
    with LLM(model, threads=1, max_batch=1, prefix_cache=False, **settings) as llm:
        alone = [
            llm.generate([prompt], GREEDY, lora=name)[0] for prompt, name in zip(prompts, names, strict=True)
        ]
    with LLM(model, threads=2, max_batch=7, **settings) as llm:
        together = llm.generate(prompts, GREEDY, lora=names)
    with LLM(model, threads=1, max_batch=1, n_ctx=N_CTX, deterministic=True) as llm:
        bare = [llm.generate([prompt], GREEDY)[0] for prompt in prompts]
    assert [bits(one) for one in together] == [bits(one) for one in alone]
    for name, one, plain in zip(names, alone, bare, strict=True):
        assert (bits(one) == bits(plain)) == (name is None)


def test_prefixes_are_shared_by_those_with_the_same_adapter(model: Path, files: dict[str, Path]) -> None:
    def cached(llm: LLM, name: str | None) -> int:
        return llm.generate([PROMPT], GREEDY, lora=name)[0].usage.cached_tokens

    with LLM(model, threads=1, n_ctx=N_CTX, lora={"one": files["one"], "weak": (files["one"], 0.5)}) as llm:
        assert [cached(llm, name) for name in (None, "one", "weak")] == [0, 0, 0]
        again = [cached(llm, name) for name in (None, "one", "weak")]
        assert len(set(again)) == 1
        assert again[0] >= 64
        expected = llm.generate([PROMPT], GREEDY, lora="one")[0]
        # Another file under the same name must not start behind the first one's blocks.
        llm.unload_adapter("one")
        llm.load_adapter("one", files["two"])
        assert cached(llm, "one") == 0
        llm.unload_adapter("one")
        llm.load_adapter("one", files["one"])
        assert llm.generate([PROMPT], GREEDY, lora="one")[0].token_ids == expected.token_ids


def test_the_scale_is_of_the_difference(llm: LLM, files: dict[str, Path]) -> None:
    llm.load_adapter("none", files["one"], 0.0)
    llm.load_adapter("half", files["two"], 0.5)
    try:
        base, none, half, two = (llm.logits(PROMPT, lora=name) for name in (None, "none", "half", "two"))
        assert np.array_equal(none, base)
        assert np.array_equal(half, two)
        assert not np.array_equal(half, base)
    finally:
        llm.unload_adapter("none")
        llm.unload_adapter("half")


def test_embeddings_and_streams_have_them_too(llm: LLM) -> None:
    base, one = llm.embed(["hello there"]), llm.embed(["hello there"], lora="one")
    assert not np.array_equal(base, one)
    streamed = [token for delta in llm.stream(PROMPT, GREEDY, lora="one") for token in delta.token_ids]
    assert streamed == list(llm.generate([PROMPT], GREEDY, lora="one")[0].token_ids)


def test_the_model_lists_its_adapters(llm: LLM, model: Path, files: dict[str, Path]) -> None:
    one, two = llm.model_info.adapters
    assert (one.name, two.name, two.scale) == ("one", "two", 0.5)
    assert one.path == str(files["one"])
    assert one.matrices == len(matrices_of(model))
    assert one.rank == 7
    assert files["one"].stat().st_size // 2 < one.bytes < files["one"].stat().st_size * 2


def test_unknown_and_taken_names_are_refused(llm: LLM, files: dict[str, Path]) -> None:
    with pytest.raises(InvalidArgumentError, match=r"'three'.*one, two"):
        llm.generate([PROMPT], GREEDY, lora="three")
    with pytest.raises(InvalidArgumentError, match="three"):
        llm.unload_adapter("three")
    for name in ("one", "", "n" * 129):
        with pytest.raises(InvalidArgumentError, match="name of an adapter"):
            llm.load_adapter(name, files["one"])
    for name in ("", "none"):
        with pytest.raises(InvalidArgumentError, match="no such adapter"):
            llm.logits(PROMPT, lora=name)
    with pytest.raises(InvalidArgumentError, match="one for each"):
        llm.generate([PROMPT], GREEDY, lora=["one", "two"])


def test_files_that_are_no_adapters_are_refused(llm: LLM, model: Path, tmp_path: Path) -> None:
    (tmp_path / "text.gguf").write_text("no GGUF", encoding="utf-8")
    with pytest.raises(GGUFError, match="adapter 'x'"):
        llm.load_adapter("x", tmp_path / "text.gguf")
    with pytest.raises(GGUFError, match="adapter 'x'"):
        llm.load_adapter("x", tmp_path / "absent.gguf")
    with pytest.raises(ModelError, match=r"general\.type"):
        llm.load_adapter("x", model)
    name, (rows, cols) = next(iter(matrices_of(model).items()))
    halves = {name: (np.ones((2, cols), np.float32), np.ones((rows, 2), np.float32))}
    other = write_adapter(tmp_path / "other.gguf", "gemma", halves)
    with pytest.raises(ModelError, match=rf"general\.architecture.*gemma.*{architecture_of(model)}"):
        llm.load_adapter("x", other)
    for scale in (float("nan"), float("inf"), 1e39):
        with pytest.raises(ModelError, match="scale"):
            llm.load_adapter(
                "x", write_adapter(tmp_path / "sound.gguf", architecture_of(model), halves), scale
            )
    assert [one.name for one in llm.model_info.adapters] == ["one", "two"]
    with pytest.raises(ModelError, match="adapter 'x'"):
        LLM(model, threads=1, n_ctx=N_CTX, lora={"x": other})


def test_an_adapter_taken_away_stays_with_those_that_run(model: Path, files: dict[str, Path]) -> None:
    async def run() -> None:
        engine = AsyncEngine(model, threads=1, n_ctx=N_CTX)
        try:
            await asyncio.to_thread(engine.load_adapter, "one", files["one"])
            params = SamplingParams(max_tokens=60, temperature=0, ignore_eos=True)

            async def tokens(*, unload: bool) -> list[int]:
                found: list[int] = []
                async for delta in engine.generate(PROMPT, params, lora="one"):
                    if unload and not found:
                        engine.unload_adapter("one")
                    found += delta.token_ids
                return found

            expected = await tokens(unload=False)
            assert await tokens(unload=True) == expected
            assert engine.model_info.adapters == ()
            with pytest.raises(InvalidArgumentError, match="no adapter is loaded"):
                await tokens(unload=False)
        finally:
            engine.close()

    asyncio.run(run())


def test_many_requests_beside_loads_and_unloads(model: Path, files: dict[str, Path]) -> None:
    """Requests with and without adapters while others come and go; those that name one in time get it."""

    async def run() -> None:
        engine = AsyncEngine(model, threads=2, n_ctx=N_CTX, max_batch=4, lora=files)
        params = SamplingParams(max_tokens=12, temperature=0, ignore_eos=True)

        async def tokens(name: str | None, length: int) -> list[int]:
            prompt = PROMPT[:length]
            return [t async for d in engine.generate(prompt, params, lora=name) for t in d.token_ids]

        async def come_and_go() -> None:
            for round_ in range(12):
                await asyncio.to_thread(engine.load_adapter, f"guest{round_}", files["two"])
                await asyncio.sleep(0)
                engine.unload_adapter(f"guest{round_}")

        try:
            jobs = [(name, 8 + 9 * i) for i in range(4) for name in (None, "one", "two")]
            found, _ = await asyncio.gather(asyncio.gather(*(tokens(*job) for job in jobs)), come_and_go())
            assert all(len(one) == 12 for one in found)
            assert len({tuple(one) for one in found}) > 4
            assert {info.name for info in engine.model_info.adapters} == set(files)
        finally:
            engine.close()

    asyncio.run(run())


def test_adapters_are_named_in_several_ways() -> None:
    assert parse_lora("poet=a/b.gguf:0.5") == LoraSource("poet", "a/b.gguf", 0.5)
    assert parse_lora("a/b.gguf") == LoraSource("b", "a/b.gguf")
    assert parse_lora("c=d:e.gguf") == LoraSource("c", "d:e.gguf")
    assert lora_sources({"x": "y", "z": ("w", 2.0)}) == [LoraSource("x", "y"), LoraSource("z", "w", 2.0)]
    assert lora_sources(["x=y", LoraSource("z", "w")]) == [LoraSource("x", "y"), LoraSource("z", "w")]
    for bad in ("", "=path", "name=", ":2"):
        with pytest.raises(InvalidArgumentError, match="NAME"):
            parse_lora(bad)
    with pytest.raises(InvalidArgumentError, match="each once"):
        lora_sources(["a=b", "a=c"])
    with pytest.raises(InvalidArgumentError, match="a list"):
        lora_sources("a=b")
