"""Conversations with the embedded model, whole and in pieces."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any

import pytest

from llmcore import LLM, AsyncEngine, InvalidArgumentError, SamplingParams

MESSAGES = [{"role": "user", "content": "What is llmcore?"}]
GREEDY = SamplingParams(max_tokens=24, temperature=0)


@pytest.fixture(scope="module")
def llm() -> Iterator[LLM]:
    with LLM(threads=1, n_ctx=256, max_batch=2) as loaded:
        yield loaded


@pytest.fixture(scope="module")
def answer(llm: LLM) -> str:
    text = llm.chat(MESSAGES, GREEDY).text
    assert len(text) > 20
    return text


def test_a_streamed_answer_is_the_whole_one(llm: LLM, answer: str) -> None:
    deltas = list(llm.stream_chat(MESSAGES, GREEDY))
    assert "".join(delta.text for delta in deltas) == answer
    assert len(deltas) > 5
    assert deltas[-1].finish_reason in {"stop", "length"}
    assert deltas[-1].usage is not None
    assert deltas[-1].usage.prompt_tokens == len(llm.tokenizer.encode_chat(MESSAGES))


def test_a_stream_refuses_at_once(llm: LLM) -> None:
    with pytest.raises(InvalidArgumentError, match="n of a chat; got 2"):
        llm.stream_chat(MESSAGES, SamplingParams(n=2))
    with pytest.raises(InvalidArgumentError, match="best_of cannot be streamed"):
        llm.stream_chat(MESSAGES, SamplingParams(best_of=2))
    with pytest.raises(InvalidArgumentError, match="no such adapter"):
        llm.stream_chat(MESSAGES, lora="poet")
    with pytest.raises(InvalidArgumentError, match="role"):
        llm.stream_chat([{"content": "no role"}])


def test_a_closed_stream_is_cancelled(llm: LLM) -> None:
    cancelled = llm.stats().cancelled
    stream = llm.stream_chat(MESSAGES, SamplingParams(max_tokens=200, temperature=0, ignore_eos=True))
    next(stream)
    stream.close()  # type: ignore[attr-defined]
    llm.generate("a", SamplingParams(max_tokens=1))
    assert llm.stats().cancelled == cancelled + 1


def test_the_async_engine_chats_alike(answer: str) -> None:
    async def run() -> None:
        async with AsyncEngine(threads=1, n_ctx=256, max_batch=2) as engine:
            completion = await engine.chat(MESSAGES, GREEDY)
            assert completion.text == answer
            assert completion.finish_reason in {"stop", "length"}
            assert completion.usage.completion_tokens >= len(completion.token_ids)
            stream = engine.stream_chat(MESSAGES, GREEDY, request_id="mine", tenant="me")
            assert "".join([delta.text async for delta in stream]) == answer
            best = await engine.chat(MESSAGES, SamplingParams(max_tokens=8, best_of=2, seed=1))
            assert best.text
            with pytest.raises(InvalidArgumentError, match="n of a chat; got 2"):
                await engine.chat(MESSAGES, SamplingParams(n=2))

            cancelled = engine.stats().cancelled
            closed: Any = engine.stream_chat(MESSAGES, SamplingParams(max_tokens=200, ignore_eos=True))
            await anext(closed)
            await closed.aclose()
            await engine.chat(MESSAGES, SamplingParams(max_tokens=1))
            assert engine.stats().cancelled == cancelled + 1

    asyncio.run(run())
