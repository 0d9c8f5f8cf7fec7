"""Deterministic mode: a request's bits do not depend on what else the engine does."""

from __future__ import annotations

import asyncio
import os
import random
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from llmcore import LLM, AsyncEngine, SamplingParams, default_model

# The whole exercise takes 300 rounds; a few show the way every day.
ROUNDS = int(os.environ.get("LLMCORE_DETERMINISTIC_ROUNDS", "2"))
REQUESTS = 64
N_CTX = 200


@dataclass(frozen=True)
class Job:
    prompt: tuple[int, ...]
    params: SamplingParams
    arrival: float
    cancelled_after: int | None
    tenant: str


Answer = tuple[tuple[int, ...], tuple[float, ...], str, str | None]


def make_jobs(seed: int, n_vocab: int) -> list[Job]:
    """Prompts of a few families, so that prefixes are shared; some sampled, some stopped, some cancelled."""
    dice = random.Random(seed)
    families = [[dice.randrange(3, n_vocab) for _ in range(N_CTX)] for _ in range(4)]
    jobs = []
    for _ in range(REQUESTS):
        shared = dice.randrange(1, 90)
        own = [dice.randrange(3, n_vocab) for _ in range(dice.randrange(0, 20))]
        prompt = [*dice.choice(families)[:shared], *own]
        params = SamplingParams(
            max_tokens=dice.randrange(1, 40),
            temperature=dice.choice([0.0, 0.7, 1.5]),
            top_p=dice.choice([1.0, 0.9]),
            repetition_penalty=dice.choice([1.0, 1.2]),
            seed=dice.randrange(1 << 40),
            stop=dice.choice([(), ("e",), (" t",)]),
            logprobs=1,
        )
        cancelled = dice.choice([None, None, None, dice.randrange(1, 10)])
        jobs.append(Job(tuple(prompt), params, dice.random() * 0.2, cancelled, dice.choice(["", "a"])))
    return jobs


async def answer(engine: AsyncEngine, job: Job, crowded: bool) -> Answer | None:
    """None if it was cancelled."""
    if crowded:
        await asyncio.sleep(job.arrival)
    deltas = []
    stream = engine.generate(job.prompt, job.params, tenant=job.tenant)
    async for delta in stream:
        deltas.append(delta)
        if crowded and job.cancelled_after is not None and len(deltas) > job.cancelled_after:
            await stream.aclose()  # type: ignore[attr-defined]
            return None
    return (
        tuple(token for delta in deltas for token in delta.token_ids),
        tuple(entry.logprob for delta in deltas for entry in delta.logprobs or ()),
        "".join(delta.text for delta in deltas),
        deltas[-1].finish_reason,
    )


@pytest.fixture(scope="module")
def crowded() -> Iterator[AsyncEngine]:
    engine = AsyncEngine(
        threads=2,
        max_batch=7,
        max_queue=1000,
        n_ctx=N_CTX,
        deterministic=True,
        prompt_lookup=4,
        max_itl_ms=5,
        draft_model=default_model.path(),
    )
    yield engine
    engine.close()


@pytest.fixture(scope="module")
def quiet() -> Iterator[AsyncEngine]:
    engine = AsyncEngine(threads=1, max_batch=1, n_ctx=N_CTX, deterministic=True, prefix_cache=False)
    yield engine
    engine.close()


def test_64_requests_at_once_equal_each_alone(crowded: AsyncEngine, quiet: AsyncEngine) -> None:
    async def together(jobs: list[Job]) -> list[Answer | None]:
        return await asyncio.gather(*[answer(crowded, job, True) for job in jobs])

    async def alone(jobs: list[Job], answers: list[Answer | None]) -> None:
        for job, found in zip(jobs, answers, strict=True):
            if found is not None:
                assert await answer(quiet, job, False) == found

    async def run() -> None:
        # Whether the draft model is worth its time is measured: it may take a while until it guesses again.
        for seed in range(ROUNDS + 60):
            if seed >= ROUNDS and crowded.stats().accepted_draft_tokens > 0:
                break
            jobs = make_jobs(seed, 1000)
            answers = await together(jobs)
            assert sum(found is not None for found in answers) > REQUESTS / 2
            await alone(jobs, answers)
            for _ in range(500):
                if crowded.stats().running == 0:
                    break
                await asyncio.sleep(0.01)
            assert crowded.stats().kv_blocks_free == crowded.stats().kv_blocks_total

    asyncio.run(run())
    stats = crowded.stats()
    assert stats.cancelled > 0
    assert stats.cached_prompt_tokens > 0
    assert stats.accepted_draft_tokens > 0


def test_a_file_of_floats_too(stories_model: Path) -> None:
    prompts = [[5, 9, 200, 31] * n for n in (1, 3, 7, 11)]
    params = SamplingParams(max_tokens=12, temperature=0, logprobs=3, ignore_eos=True)
    found = []
    for threads, max_batch in ((1, 1), (2, 4)):
        with LLM(stories_model, threads=threads, max_batch=max_batch, deterministic=True) as llm:
            found.append([(c.token_ids, c.logprobs) for c in llm.generate(prompts, params)])
            assert np.array_equal(llm.logits(prompts[3])[:12], llm.logits(prompts[1]))
    assert found[0] == found[1]


def test_the_fingerprint_names_what_the_bits_depend_on(stories_model: Path) -> None:
    def fingerprint(model: Path | None, *, deterministic: bool, kv_cache_type: str = "f16") -> str:
        with LLM(model, threads=1, deterministic=deterministic, kv_cache_type=kv_cache_type) as llm:
            return llm.model_info.system_fingerprint

    first = fingerprint(None, deterministic=True)
    assert first.startswith("llmcore-")
    assert first == fingerprint(None, deterministic=True)
    others = {
        fingerprint(None, deterministic=False),
        fingerprint(None, deterministic=True, kv_cache_type="f32"),
        fingerprint(stories_model, deterministic=True),
    }
    assert len(others | {first}) == 4
