"""AsyncEngine on a really trained model."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from llmcore import (
    LLM,
    AsyncEngine,
    ContextLengthError,
    Delta,
    Embedding,
    InvalidArgumentError,
    LLMCoreError,
    QueueFullError,
    SamplingParams,
)

GREEDY = SamplingParams(max_tokens=60, temperature=0)
LONG = SamplingParams(max_tokens=500, temperature=0, ignore_eos=True)


@pytest.fixture
def engine(stories_model: Path) -> Iterator[AsyncEngine]:
    loaded = AsyncEngine(stories_model, threads=1, max_batch=4, max_queue=64, kv_cache_type="f32")
    yield loaded
    loaded.close()


async def collect(
    engine: AsyncEngine, prompt: str, params: SamplingParams = GREEDY, **options: str
) -> list[Delta]:
    return [delta async for delta in engine.generate(prompt, params, **options)]  # type: ignore[arg-type]


async def settled(engine: AsyncEngine, cancelled: int) -> None:
    """Until the engine has seen so many cancellations and is idle."""
    for _ in range(500):
        stats = engine.stats()
        if stats.cancelled == cancelled and stats.running == stats.waiting == 0:
            assert stats.kv_blocks_free == stats.kv_blocks_total
            return
        await asyncio.sleep(0.01)
    pytest.fail(f"not settled: {engine.stats()}")


def test_concurrent_requests_equal_each_alone(engine: AsyncEngine) -> None:
    prompts = ["Once upon a time", "The little dog", "Tom and Sue", "A cat", "One day", "Lily"]

    async def run() -> None:
        alone = [await collect(engine, prompt) for prompt in prompts]
        together = await asyncio.gather(*[collect(engine, prompt) for prompt in prompts])
        for one, other in zip(alone, together, strict=True):
            assert [d.token_ids for d in one] == [d.token_ids for d in other]
            assert "".join(d.text for d in one) == "".join(d.text for d in other)
            assert one[-1].finish_reason == "length"
            assert one[-1].usage is not None
            assert one[-1].usage.completion_tokens == 60
            assert all(d.finish_reason is None and d.usage is None for d in one[:-1])

    asyncio.run(run())


def test_leaving_the_iterator_ends_the_request(engine: AsyncEngine) -> None:
    async def run() -> None:
        stream = engine.generate("Once", LONG)
        await anext(stream)
        await stream.aclose()  # type: ignore[attr-defined]
        await settled(engine, cancelled=1)

        task = asyncio.create_task(collect(engine, "Once", LONG))
        while engine.stats().running == 0 and not task.done():
            await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await settled(engine, cancelled=2)
        assert engine.stats().generated_tokens < 900

    asyncio.run(run())


def test_abort_by_name(engine: AsyncEngine) -> None:
    async def run() -> None:
        stream = engine.generate("Once", LONG, request_id="mine")
        first = await anext(stream)
        with pytest.raises(InvalidArgumentError, match="request_id in use"):
            await collect(engine, "The", request_id="mine")
        other = asyncio.create_task(collect(engine, "Once upon a time"))
        await asyncio.sleep(0)
        engine.abort("mine")
        engine.abort("nobody's")
        deltas = [first, *[delta async for delta in stream]]
        assert deltas[-1].finish_reason == "cancelled"
        assert deltas[-1].usage is not None
        assert deltas[-1].usage.completion_tokens == sum(len(d.token_ids) for d in deltas) < 500
        assert (await other)[-1].finish_reason == "length"
        await settled(engine, cancelled=1)
        await collect(engine, "The", request_id="mine")

    asyncio.run(run())


def test_several_choices_and_best_of(engine: AsyncEngine) -> None:
    async def run() -> None:
        params = SamplingParams(max_tokens=8, n=3, seed=1, temperature=1.5)
        deltas = await collect(engine, "The", params)
        assert {d.index for d in deltas} == {0, 1, 2}
        assert sorted(d.index for d in deltas if d.finish_reason) == [0, 1, 2]
        best = await collect(
            engine, "The", SamplingParams(max_tokens=8, n=1, best_of=3, seed=1, temperature=1.5)
        )
        assert len(best) == 1
        assert best[0].index == 0
        texts = ["".join(d.text for d in deltas if d.index == i) for i in range(3)]
        assert best[0].text in texts

    asyncio.run(run())


def test_refusals_come_with_the_first_item(engine: AsyncEngine) -> None:
    async def run() -> None:
        with pytest.raises(ContextLengthError):
            await anext(engine.generate([1] * 600, GREEDY))
        with pytest.raises(InvalidArgumentError, match="no such adapter"):
            await collect(engine, "a", lora="adapter")
        assert (await collect(engine, "The"))[-1].finish_reason == "length"

    asyncio.run(run())


def test_a_full_queue(stories_model: Path) -> None:
    engine = AsyncEngine(stories_model, threads=1, max_batch=1, max_queue=2)

    async def run() -> None:
        results = await asyncio.gather(
            *[collect(engine, "Once upon a time", LONG) for _ in range(12)], return_exceptions=True
        )
        refused = [result for result in results if isinstance(result, QueueFullError)]
        answered = [result for result in results if isinstance(result, list)]
        assert refused
        assert len(answered) >= 2
        assert len(refused) + len(answered) == 12

    asyncio.run(run())
    engine.close()


def test_closing_ends_what_runs(engine: AsyncEngine) -> None:
    async def run() -> None:
        tasks = [asyncio.create_task(collect(engine, "Once", LONG)) for _ in range(6)]
        await asyncio.sleep(0)
        await asyncio.to_thread(engine.close)
        for task in tasks:
            assert (await asyncio.wait_for(task, 10))[-1].finish_reason in {"cancelled", "length"}
        with pytest.raises(LLMCoreError, match="closed"):
            await collect(engine, "The")

    asyncio.run(run())


def test_one_loop_at_a_time(engine: AsyncEngine) -> None:
    first = asyncio.run(collect(engine, "The"))
    second = asyncio.run(collect(engine, "The"))  # the first loop is closed by now
    assert [d.text for d in first] == [d.text for d in second]


def test_long_texts_do_not_block_the_loop(engine: AsyncEngine) -> None:
    async def run() -> None:
        with pytest.raises(ContextLengthError):
            await collect(engine, "a cat " * 2000)

    asyncio.run(run())


def test_model_info(engine: AsyncEngine, stories_model: Path) -> None:
    info = engine.model_info
    assert info.architecture == "llama"
    assert info.quantization == "F32"
    assert info.n_ctx == info.n_ctx_train == 512
    assert info.file_bytes == stories_model.stat().st_size
    assert info.parameters > 250_000
    assert info.weight_bytes >= info.parameters * 4 * 0.9
    assert info.kv_bytes > 0
    assert "blocks" in info.kv_plan


def test_embeddings_equal_the_librarys(engine: AsyncEngine, stories_model: Path) -> None:
    texts = ["Once upon a time", "The little dog ran", "Once upon a time"]

    async def run() -> list[Embedding]:
        ids = engine.tokenizer.encode(texts[1])
        alone = await engine.embed([texts[0], ids, texts[2]])
        raw = await engine.embed([texts[0]], normalize=False)
        assert np.linalg.norm(raw[0].vector) != pytest.approx(1.0)
        assert [one.prompt_tokens for one in alone] == [len(engine.tokenizer.encode(text)) for text in texts]
        with pytest.raises(ContextLengthError):
            await engine.embed(["fits", [1] * 100_000])
        return alone

    found = asyncio.run(run())
    with LLM(stories_model, threads=1) as model:
        expected = model.embed(texts)
    assert np.stack([one.vector for one in found]) == pytest.approx(expected, abs=1e-3)


def test_more_embeddings_than_the_queue_holds(engine: AsyncEngine) -> None:
    found = asyncio.run(engine.embed(["One", "Two"] * 100))
    assert len(found) == 200
    assert found[0].vector == pytest.approx(found[198].vector, abs=1e-3)


def test_embeddings_end_with_the_task_that_awaits_them(engine: AsyncEngine) -> None:
    async def run() -> None:
        task = asyncio.ensure_future(engine.embed([[5] * 500] * 64))
        await asyncio.sleep(0.005)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        for _ in range(500):
            stats = engine.stats()
            if stats.running == stats.waiting == 0:
                break
            await asyncio.sleep(0.01)
        assert stats.kv_blocks_free == stats.kv_blocks_total

    asyncio.run(run())


def test_one_text_to_embed_is_one_text(engine: AsyncEngine) -> None:
    (found,) = asyncio.run(engine.embed("hello"))
    (listed,) = asyncio.run(engine.embed(["hello"]))
    assert found.prompt_tokens == listed.prompt_tokens == len(engine.tokenizer.encode("hello"))
    assert found.vector == pytest.approx(listed.vector, abs=1e-3)


def test_parameters_have_a_default(engine: AsyncEngine) -> None:
    async def run() -> list[Delta]:
        return [delta async for delta in engine.generate("Once upon a time")]

    deltas = asyncio.run(run())
    assert deltas[-1].usage is not None
    assert deltas[-1].usage.completion_tokens <= SamplingParams().max_tokens  # type: ignore[operator]


def test_with_closes_the_engine(stories_model: Path) -> None:
    with AsyncEngine(stories_model, threads=1) as engine:
        pass
    with pytest.raises(LLMCoreError, match="closed"):
        asyncio.run(collect(engine, "The"))

    async def run() -> None:
        async with AsyncEngine(stories_model, threads=1) as other:
            stream = other.generate("Once", LONG)
            await anext(stream)
        rest = [delta async for delta in stream]
        assert rest[-1].finish_reason in {"cancelled", "length"}
        with pytest.raises(LLMCoreError, match="closed"):
            await collect(other, "The")

    asyncio.run(run())
