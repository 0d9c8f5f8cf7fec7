"""What requests share and what they may not, through the public classes, on the embedded model."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import pytest

from llmcore import LLM, AsyncEngine, DeadlineExceededError, Delta, InvalidArgumentError, SamplingParams

GREEDY = SamplingParams(max_tokens=12, temperature=0, ignore_eos=True)
LONG = "the quick brown fox jumps over the lazy dog and " * 3


@pytest.fixture
def engine() -> Iterator[AsyncEngine]:
    loaded = AsyncEngine(threads=1, max_batch=4, n_ctx=256, kv_cache_type="f32")
    yield loaded
    loaded.close()


async def last(engine: AsyncEngine, prompt: str, **options: object) -> Delta:
    return [delta async for delta in engine.generate(prompt, GREEDY, **options)][-1]  # type: ignore[arg-type]


def cached(delta: Delta) -> int:
    assert delta.usage is not None
    assert 0 <= delta.usage.cached_tokens < delta.usage.prompt_tokens
    return delta.usage.cached_tokens


def test_usage_tells_cached_tokens_and_tenants_share_none(engine: AsyncEngine) -> None:
    async def run() -> None:
        assert cached(await last(engine, LONG, tenant="a")) == 0
        again = await last(engine, LONG, tenant="a")
        assert again.usage is not None
        assert cached(again) > again.usage.prompt_tokens / 2
        assert cached(await last(engine, LONG, tenant="b")) == 0
        assert cached(await last(engine, LONG)) == 0
        together = await asyncio.gather(*[last(engine, LONG + end, tenant="c") for end in ("x", "y", "z")])
        assert sorted(cached(delta) > 0 for delta in together) == [False, True, True]
        assert engine.stats().cached_prompt_tokens > 0
        assert engine.stats().kv_blocks_free == engine.stats().kv_blocks_total

    asyncio.run(run())


def test_texts_are_those_without_the_cache() -> None:
    prompts = [LONG + end for end in ("and", "or", "if", "when")]
    with LLM(threads=1, max_batch=4, n_ctx=256, kv_cache_type="f32", prefix_cache=False) as llm:
        expected = [completion.token_ids for completion in llm.generate(prompts, GREEDY)]
        assert llm.stats().cached_prompt_tokens == 0
    with LLM(threads=1, max_batch=4, n_ctx=256, kv_cache_type="f32") as llm:
        for _ in range(2):
            assert [completion.token_ids for completion in llm.generate(prompts, GREEDY)] == expected
        assert llm.stats().cached_prompt_tokens > 0


def test_what_a_block_begins_with_is_shared() -> None:
    # Blocks hold 32 tokens, and their first 8, 16 and 24 are shared as well.
    options = {"threads": 1, "max_batch": 4, "n_ctx": 256, "deterministic": True}
    with LLM(**options) as sharing, LLM(**options, prefix_cache=False) as alone:

        def run(llm: LLM, prompt: list[int]) -> tuple[list[int], int]:
            completion = llm.generate([prompt], GREEDY)[0]
            return list(completion.token_ids), completion.usage.cached_tokens

        for common, shared in ((61, 56), (50, 48), (45, 40), (34, 32), (27, 24), (7, 0)):
            first = [common, *(5 + 3 * place % 200 for place in range(60))]
            second = [*first[:common], *(250 - place for place in range(70 - common))]
            assert run(sharing, first)[1] == 0
            assert run(sharing, second) == (run(alone, second)[0], shared)
        # The rest of an ended text's last block is found as well: 61 tokens and 11 of its answer's 12.
        longer = [*first, *run(sharing, first)[0], 7, 8, 9]
        assert run(sharing, longer) == (run(alone, longer)[0], 72)


def test_a_deadline_ends_a_request(engine: AsyncEngine) -> None:
    async def run() -> None:
        endless = SamplingParams(max_tokens=None, temperature=0, ignore_eos=True)
        with pytest.raises(DeadlineExceededError):
            async for _ in engine.generate("One", endless, deadline=0.005):
                pass
        assert engine.stats().expired == engine.stats().failed == 1
        with pytest.raises(InvalidArgumentError, match="deadline"):
            await last(engine, "One", deadline=0.0)
        await last(engine, "One", deadline=1e300)

    asyncio.run(run())


def test_bad_pace_is_refused() -> None:
    with pytest.raises(InvalidArgumentError, match="max_itl_ms"):
        AsyncEngine(max_itl_ms=0)
