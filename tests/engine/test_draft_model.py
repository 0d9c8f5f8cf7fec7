"""Speculative decoding with a draft model: the same answers in fewer steps."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Iterator
from pathlib import Path

import pytest

from llmcore import LLM, AsyncEngine, Completion, ModelError, SamplingParams, _core, default_model
from llmcore.errors import InvalidArgumentError, LLMCoreError
from llmcore.structured_output import StructuredOutput
from llmcore.tools.quantize import quantize_model
from llmcore.tools.quantize_plan import Choice, plan

PROMPTS = ["What is the sky?", "请解释人工智能的概念", "Once upon a time", "a b c d e f g"]


@pytest.fixture(scope="module")
def draft(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The embedded model, coarser: it mostly says the same."""
    path = tmp_path_factory.mktemp("draft") / "draft.gguf"
    file, choice = _core.GGUFFile(default_model.path()), Choice("Q4_0")
    quantize_model(file, path, choice, plan(file, choice))
    return path


def settings(seed: int) -> SamplingParams:
    return SamplingParams(
        max_tokens=40,
        temperature=(0.0, 0.7, 1.3)[seed % 3],
        top_p=0.95,
        repetition_penalty=1.1 if seed % 2 else 1.0,
        seed=seed,
        logprobs=2,
        ignore_eos=seed % 4 == 0,
    )


def answers(llm: LLM) -> list[Completion]:
    return [llm.generate(prompt, settings(seed))[0] for seed in range(6) for prompt in PROMPTS]


@pytest.fixture(scope="module")
def plain() -> Iterator[LLM]:
    with LLM(threads=1, max_batch=4, n_ctx=128, deterministic=True) as llm:
        yield llm


def test_bits_are_the_same(plain: LLM, draft: Path) -> None:
    expected = answers(plain)
    with LLM(threads=1, max_batch=4, n_ctx=128, deterministic=True, draft_model=draft, draft_tokens=3) as llm:
        for found, wanted in zip(answers(llm), expected, strict=True):
            assert found.token_ids == wanted.token_ids
            assert found.text == wanted.text
            assert found.logprobs == wanted.logprobs
            assert found.finish_reason == wanted.finish_reason
        # All prompts at once too, and a grammar's text, which gets no guesses.
        together = llm.generate(PROMPTS, settings(0))
        assert [c.token_ids for c in together] == [c.token_ids for c in expected[: len(PROMPTS)]]
        form = SamplingParams(
            max_tokens=20, temperature=0, structured=StructuredOutput("regex", "[a-z]{8,12}")
        )
        assert llm.generate("Say", form)[0].token_ids == plain.generate("Say", form)[0].token_ids


def test_greedy_text_is_the_same_and_steps_are_fewer(draft: Path) -> None:
    params = SamplingParams(max_tokens=48, temperature=0, ignore_eos=True)
    texts = []
    for model in (None, draft):
        with contextlib.closing(AsyncEngine(threads=1, n_ctx=128, draft_model=model)) as engine:
            texts.append(asyncio.run(text_of(engine, PROMPTS[1], params)))
            stats = engine.stats()
    assert texts[0] == texts[1]
    assert stats.drafted_tokens == stats.guessed_tokens > 0
    assert stats.accepted_draft_tokens > stats.drafted_tokens / 2
    assert stats.steps == 48 - stats.accepted_draft_tokens
    assert stats.draft_failures == 0
    assert 0 < stats.draft_seconds < stats.step_seconds
    assert stats.kv_blocks_free == stats.kv_blocks_total


async def text_of(engine: AsyncEngine, prompt: str, params: SamplingParams) -> str:
    return "".join([delta.text async for delta in engine.generate(prompt, params)])


def test_memory_is_counted_and_told(draft: Path) -> None:
    with LLM(threads=1, n_ctx=128, max_batch=2) as llm:
        alone = llm.model_info
    with LLM(threads=1, n_ctx=128, max_batch=2, draft_model=draft) as llm:
        both = llm.model_info
    assert not alone.draft_model
    assert both.draft_model
    assert both.kv_bytes == 2 * alone.kv_bytes
    assert alone.weight_bytes < both.weight_bytes < 2 * alone.weight_bytes
    assert f"draft model {both.draft_model}: KV cache" in both.kv_plan
    assert both.system_fingerprint == alone.system_fingerprint


def test_what_cannot_be_a_draft_is_refused(draft: Path, stories_model: Path, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"\[engine\] the draft model has another vocabulary: "):
        LLM(threads=1, draft_model=stories_model)
    with pytest.raises(ModelError, match="another vocabulary"):
        LLM(stories_model, threads=1, draft_model=draft)
    broken = tmp_path / "broken.gguf"
    broken.write_bytes(b"GGUF nothing")
    with pytest.raises(LLMCoreError, match="the draft model cannot be loaded"):
        LLM(threads=1, draft_model=broken)
    with pytest.raises(LLMCoreError, match="the draft model cannot be loaded"):
        LLM(threads=1, draft_model=tmp_path / "absent.gguf")
    for tokens in (0, 33):
        with pytest.raises(InvalidArgumentError, match="draft_tokens"):
            LLM(threads=1, draft_model=draft, draft_tokens=tokens)
