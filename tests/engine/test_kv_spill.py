"""Cached prefixes that leave the KV cache and come back, over restarts too, in whole engines."""

from __future__ import annotations

import asyncio
import logging
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from llmcore import LLM, AsyncEngine, SamplingParams
from llmcore.engine import EngineStats
from llmcore.errors import InvalidArgumentError
from llmcore.tools.shapes import Shape
from llmcore.tools.synthesize import synthesize

SHAPE = Shape("llama", 64, 2, 2, 1, 32, 128, 300, 512)
PROMPTS = [np.random.default_rng(seed).integers(3, 300, 150).tolist() for seed in range(4)]
WHOLE = 128  # tokens of a prompt in full blocks that others may share
BLOCK = 2 * 2 * 32 * 2 * 32  # bytes: layers, keys and values, numbers of a head, two bytes each, tokens
GREEDY = SamplingParams(max_tokens=12, temperature=0, ignore_eos=True)

Open = Callable[..., LLM]


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("models") / "tiny.gguf"
    synthesize(path, SHAPE, "F16")
    return path


@pytest.fixture
def opened(model: Path) -> Open:
    def open_model(**options: Any) -> LLM:
        shared = {"threads": 1, "n_ctx": 256, "max_batch": 2, "deterministic": True, "device": "cpu"}
        return LLM(model, **shared | options)

    return open_model


@pytest.fixture(scope="module")
def undisturbed(model: Path) -> list[tuple[int, ...]]:
    with LLM(model, threads=1, n_ctx=256, max_batch=2, deterministic=True, device="cpu") as llm:
        return [llm.generate([prompt], GREEDY)[0].token_ids for prompt in PROMPTS]


def run(llm: LLM, number: int) -> tuple[tuple[int, ...], int]:
    completion = llm.generate([PROMPTS[number]], GREEDY)[0]
    return completion.token_ids, completion.usage.cached_tokens


@pytest.mark.parametrize("kv_cache_type", ["f16", "q8_0"])
def test_a_restart_finds_what_was_cached(
    opened: Open, undisturbed: list[tuple[int, ...]], tmp_path: Path, kv_cache_type: str
) -> None:
    folder = tmp_path / "new" / "cache"
    with opened(kv_cache_dir=folder, kv_cache_type=kv_cache_type) as llm:
        first = [run(llm, number)[0] for number in (0, 1)]
    if kv_cache_type == "f16":
        assert first == undisturbed[:2]
    assert stat.S_IMODE((folder / "secret").stat().st_mode) == 0o600
    files = list(folder.rglob("*.kv"))
    assert len(files) == 2 * 5  # five blocks of 32: prompt and output
    assert {stat.S_IMODE(path.stat().st_mode) for path in files} == {0o600}
    with opened(kv_cache_dir=folder, kv_cache_type=kv_cache_type) as llm:
        assert run(llm, 0) == (first[0], WHOLE)
        assert run(llm, 2)[1] == 0
        assert llm.stats().kv_restored_disk == WHOLE // 32
        assert llm.stats().cached_prompt_tokens == WHOLE
    # What changes the bytes of a block makes other files.
    other = "bf16" if kv_cache_type == "f16" else "f16"
    with opened(kv_cache_dir=folder, kv_cache_type=other) as llm:
        assert run(llm, 0)[1] == 0


def test_damaged_files_are_computed_again(
    opened: Open, undisturbed: list[tuple[int, ...]], tmp_path: Path
) -> None:
    with opened(kv_cache_dir=tmp_path) as llm:
        run(llm, 0)
    for number, path in enumerate(sorted(tmp_path.rglob("*.kv"))):
        data = bytearray(path.read_bytes())
        data[[3, 30, 60, len(data) - 1][number % 4]] ^= 0x10
        path.write_bytes(data if number % 2 else data[:-1])
    with opened(kv_cache_dir=tmp_path) as llm:
        assert run(llm, 0) == (undisturbed[0], 0)
    # Behind one that is missing others are not looked at before it is there again.
    with opened(kv_cache_dir=tmp_path) as llm:
        assert run(llm, 0)[0] == undisturbed[0]
    with opened(kv_cache_dir=tmp_path) as llm:
        assert run(llm, 0) == (undisturbed[0], WHOLE)


def test_a_folder_of_another_secret_is_of_no_use(
    opened: Open, undisturbed: list[tuple[int, ...]], tmp_path: Path
) -> None:
    with opened(kv_cache_dir=tmp_path) as llm:
        run(llm, 0)
    (tmp_path / "secret").unlink()
    with opened(kv_cache_dir=tmp_path) as llm:
        assert run(llm, 0) == (undisturbed[0], 0)


def test_a_secret_that_others_can_read_is_refused_with_a_warning(
    opened: Open, undisturbed: list[tuple[int, ...]], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with opened(kv_cache_dir=tmp_path):
        pass
    (tmp_path / "secret").chmod(0o644)
    with caplog.at_level(logging.WARNING), opened(kv_cache_dir=tmp_path) as llm:
        assert run(llm, 0) == (undisturbed[0], 0)
        llm.stats()
    assert [record.getMessage().count("mode 0600") for record in caplog.records] == [1]


def test_memory_takes_what_leaves_the_cache(opened: Open, undisturbed: list[tuple[int, ...]]) -> None:
    # One context in the cache: each prompt pushes the last one out.
    with opened(max_batch=1, kv_spill_ram=64 * BLOCK) as llm:
        for number in (0, 1, 2, 3, 0, 1):
            tokens, cached = run(llm, number)
            assert tokens == undisturbed[number]
        assert cached == WHOLE
        stats = llm.stats()
        assert stats.kv_spilled_ram > 0
        assert stats.kv_restored_ram > 0
        assert stats.kv_spilled_disk == stats.kv_restored_disk == 0


@pytest.mark.parametrize("kv_spill_ram", [None, 1 << 20])
@pytest.mark.parametrize("prefix_cache", [True, False])
def test_who_gives_way_goes_on_as_if_nothing_had_been(
    model: Path, kv_spill_ram: int | None, prefix_cache: bool
) -> None:
    prompts = [prompt[: 10 + 7 * number] for number, prompt in enumerate(PROMPTS)]
    params = SamplingParams(max_tokens=220, temperature=0.9, seed=4, ignore_eos=True)
    shared: dict[str, Any] = {"threads": 1, "n_ctx": 256, "max_batch": 4, "deterministic": True}
    with LLM(model, **shared) as llm:
        expected = [llm.generate([prompt], params)[0].token_ids for prompt in prompts]

    async def crowd() -> tuple[list[tuple[int, ...]], EngineStats]:
        # Twelve blocks for four sequences of eight: all are let in, and outgrow them.
        engine = AsyncEngine(
            model, **shared, kv_budget=12 * BLOCK, kv_spill_ram=kv_spill_ram, prefix_cache=prefix_cache
        )

        async def generate(prompt: list[int]) -> tuple[int, ...]:
            deltas = [delta async for delta in engine.generate(prompt, params)]
            return tuple(token for delta in deltas for token in delta.token_ids)

        try:
            return list(await asyncio.gather(*map(generate, prompts))), engine.stats()
        finally:
            engine.close()

    got, stats = asyncio.run(crowd())
    assert got == expected
    assert stats.preemptions > 0
    if kv_spill_ram is None:
        assert stats.kept_preemptions == 0
    elif not prefix_cache:
        # Otherwise only a last block has no name, and it is kept if that is measured to be cheaper.
        assert stats.kept_preemptions > 0


def test_options_that_make_no_sense(model: Path, tmp_path: Path) -> None:
    for options in ({"kv_spill_ram": 0}, {"kv_cache_dir": tmp_path, "kv_cache_dir_limit": -1}):
        with pytest.raises(InvalidArgumentError, match="expected bytes, 1 or more, or None"):
            LLM(model, **options)
    with pytest.raises(InvalidArgumentError, match="got no kv_cache_dir"):
        LLM(model, kv_cache_dir_limit=1 << 30)
    with pytest.raises(InvalidArgumentError, match="kv_spill_ram; got 100; expected at least 8192 bytes"):
        LLM(model, kv_spill_ram=100)
