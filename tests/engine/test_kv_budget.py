"""The bytes that a model's KV cache may take."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from llmcore import AsyncEngine, SamplingParams, _core
from llmcore.errors import InvalidArgumentError
from llmcore.tools.shapes import Shape
from llmcore.tools.synthesize import synthesize

SHAPE = Shape("llama", 128, 2, 4, 2, 32, 256, 300, 512)
# Two layers of keys and values, two heads of 32 float16, for the 32 tokens of a block.
BLOCK = 2 * 2 * 2 * 32 * 2 * 32


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("models") / "tiny.gguf"
    synthesize(path, SHAPE, "F16")
    return path


@pytest.mark.parametrize(
    ("budget", "n_ctx", "blocks"),
    [
        (3 * BLOCK, None, 3),  # the context shrinks to what fits
        (3 * BLOCK + BLOCK // 2, None, 3),
        (40 * BLOCK, None, 40),
        (1 << 40, None, 4 * 16),  # no more than all sequences can fill
        (BLOCK, 512, 16),  # a context that was asked for is kept
    ],
)
def test_the_cache_is_as_large_as_the_budget_and_the_context_say(
    model: Path, budget: int, n_ctx: int | None, blocks: int
) -> None:
    engine = AsyncEngine(model, threads=1, max_batch=4, kv_budget=budget, n_ctx=n_ctx, device="cpu")
    try:
        assert engine.model_info.kv_bytes == blocks * BLOCK
        assert engine.stats().kv_blocks_total == blocks
    finally:
        engine.close()


def test_a_model_in_a_small_cache_generates(model: Path) -> None:
    async def generate() -> int:
        engine = AsyncEngine(model, threads=1, kv_budget=2 * BLOCK, device="cpu")
        try:
            params = SamplingParams(max_tokens=200, ignore_eos=True, temperature=0)
            return sum([len(delta.token_ids) async for delta in engine.generate([1, 5, 9], params)])
        finally:
            engine.close()

    assert asyncio.run(generate()) == 2 * 32 - 3


@pytest.mark.parametrize("budget", [0, -1, 1 << 63])
def test_budgets_that_are_none(model: Path, budget: int) -> None:
    with pytest.raises(InvalidArgumentError, match="kv_budget"):
        AsyncEngine(model, kv_budget=budget)


def test_the_core_refuses_them_too(model: Path) -> None:
    with pytest.raises(InvalidArgumentError, match="kv_budget"):
        _core.Engine(model, kv_budget=-1)
