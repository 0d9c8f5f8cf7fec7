"""LLM on a really trained model."""

from __future__ import annotations

import gc
import threading
import weakref
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from llmcore import (
    LLM,
    ContextLengthError,
    GGUFError,
    InvalidArgumentError,
    LLMCoreError,
    ModelError,
    SamplingParams,
)

STORY = (
    ", there was a little girl named Lily. She loved to play outside in the park. One day, she saw a big, "
    "red ball. She wanted to play with it, but it was too high."
)
GREEDY = SamplingParams(max_tokens=90, temperature=0)


@pytest.fixture(scope="module")
def llm(stories_model: Path) -> Iterator[LLM]:
    # Batches of other sizes round otherwise; a float32 cache keeps that far below what separates two tokens.
    with LLM(stories_model, threads=1, max_batch=4, kv_cache_type="f32") as loaded:
        yield loaded


def test_defaults_tell_the_story(stories_model: Path) -> None:
    with LLM(stories_model) as llm:
        assert llm.generate("Once upon a time", GREEDY)[0].text.startswith(STORY)


def test_greedy_story(llm: LLM) -> None:
    (completion,) = llm.generate("Once upon a time", GREEDY)
    assert completion.text.startswith(STORY)
    assert completion.finish_reason == "length"
    assert len(completion.token_ids) == completion.usage.completion_tokens == 90
    assert completion.usage.prompt_tokens == len(llm.tokenize("Once upon a time"))
    assert completion.usage.total_tokens == completion.usage.prompt_tokens + 90
    assert completion.timings is not None
    assert 0 <= completion.timings.queue <= completion.timings.first_token <= completion.timings.total


def test_a_text_from_nothing_has_no_leading_space(llm: LLM) -> None:
    (completion,) = llm.generate("", SamplingParams(max_tokens=5, temperature=0))
    assert completion.text.startswith("Once upon a time")


def test_a_character_that_is_cut_off_is_left_out(llm: LLM) -> None:
    (first,) = [token for token in range(300) if llm.tokenizer.token_bytes(token) == b"\xe4"]
    params = SamplingParams(max_tokens=2, temperature=0, logit_bias={first: 1e6}, logprobs=0)
    (completion,) = llm.generate("A", params)
    assert completion.token_ids == (first, first)
    assert completion.finish_reason == "length"
    # The first can never be a character, and is told; the second might have become one.
    assert completion.text == "\ufffd"
    assert "".join(delta.text for delta in llm.stream("A", params)) == "\ufffd"


def test_interleaved_requests_equal_each_alone(llm: LLM) -> None:
    # 90 tokens and more cross the boundaries of KV blocks; seven requests share four places.
    prompts = [
        "Once upon a time",
        "The little dog",
        "Tom and Sue went",
        "A cat",
        "One day",
        "Lily",
        "In the park",
    ]
    alone = [llm.generate(prompt, GREEDY)[0] for prompt in prompts]
    together = llm.generate(prompts, GREEDY)
    assert [c.token_ids for c in together] == [c.token_ids for c in alone]
    assert [c.text for c in together] == [c.text for c in alone]
    assert llm.stats().kv_blocks_free == llm.stats().kv_blocks_total


def test_a_long_prompt_in_chunks_equals_its_logits(llm: LLM) -> None:
    ids = (llm.tokenize("Once upon a time there was a dog who liked to run. ") * 30)[:300]
    (completion,) = llm.generate([ids], SamplingParams(max_tokens=4, temperature=0))
    logits = llm.logits([*ids, *completion.token_ids])
    assert logits.dtype == np.float32
    assert logits.shape == (304, llm.model_info.n_vocab)
    assert tuple(logits[299:303].argmax(axis=1)) == completion.token_ids


def test_seed_decides_and_nothing_else(llm: LLM) -> None:
    params = SamplingParams(max_tokens=40, temperature=1.2, top_p=0.95, seed=7)
    (first,) = llm.generate("Once upon a time", params)
    among = llm.generate(["The dog", "Once upon a time", "A cat"], params)
    assert among[1].token_ids == first.token_ids
    (other,) = llm.generate(
        "Once upon a time", SamplingParams(max_tokens=40, temperature=1.2, top_p=0.95, seed=8)
    )
    assert other.token_ids != first.token_ids


def test_n_is_prompt_major_and_best_of_takes_the_likeliest(llm: LLM) -> None:
    three = llm.generate(["The", "A"], SamplingParams(max_tokens=12, n=3, seed=1, temperature=1.5))
    assert [c.index for c in three] == [0, 1, 2, 0, 1, 2]
    assert len({c.token_ids for c in three[:3]}) == 3
    five = llm.generate("The", SamplingParams(max_tokens=12, n=5, seed=1, temperature=1.5, logprobs=0))
    best = llm.generate("The", SamplingParams(max_tokens=12, n=2, best_of=5, seed=1, temperature=1.5))

    def score(logprobs: tuple) -> float:
        return sum(entry.logprob for entry in logprobs) / len(logprobs)

    expected = sorted(five, key=lambda c: -score(c.logprobs))[:2]
    assert [c.token_ids for c in best] == [c.token_ids for c in expected]
    assert [c.index for c in best] == [0, 1]
    sampled = sum(c.usage.completion_tokens for c in five)
    assert sum(c.usage.completion_tokens + c.usage.discarded_tokens for c in best) == sampled
    assert best[1].usage.discarded_tokens == 0


def test_stream_gives_the_same_text(llm: LLM) -> None:
    deltas = list(llm.stream("Once upon a time", GREEDY))
    assert "".join(delta.text for delta in deltas) == llm.generate("Once upon a time", GREEDY)[0].text
    assert [delta.finish_reason for delta in deltas[:-1]] == [None] * (len(deltas) - 1)
    assert deltas[-1].finish_reason == "length"
    assert deltas[-1].usage is not None
    assert deltas[-1].usage.completion_tokens == 90


def test_two_streams_and_a_closed_one(llm: LLM) -> None:
    first = llm.stream("Once upon a time", GREEDY)
    second = llm.stream("Once upon a time", GREEDY)
    pairs = list(zip(first, second, strict=True))
    assert "".join(a.text for a, _ in pairs) == "".join(b.text for _, b in pairs)
    cancelled = llm.stats().cancelled
    third = llm.stream("Once", SamplingParams(max_tokens=400, temperature=0, ignore_eos=True))
    next(third)
    third.close()
    llm.generate("The", SamplingParams(max_tokens=1))
    assert llm.stats().cancelled == cancelled + 1
    assert llm.stats().running == 0


def test_a_stream_closed_unread_is_cancelled(llm: LLM) -> None:
    cancelled = llm.stats().cancelled
    llm.stream("Once", SamplingParams(max_tokens=400, temperature=0, ignore_eos=True)).close()
    llm.stream("Once", SamplingParams(max_tokens=400, temperature=0, ignore_eos=True))  # dropped
    llm.generate("The", SamplingParams(max_tokens=1))
    assert llm.stats().cancelled == cancelled + 2
    assert llm.stats().running == 0


def test_stop_strings_end_the_text_before_them(llm: LLM) -> None:
    (completion,) = llm.generate(
        "Once upon a time", SamplingParams(max_tokens=90, temperature=0, stop=("nothing", "little girl"))
    )
    assert completion.text == ", there was a "
    assert completion.finish_reason == "stop"


def test_logprobs_match_the_logits(llm: LLM) -> None:
    ids = llm.tokenize("Once upon a time")
    (completion,) = llm.generate(
        [ids], SamplingParams(max_tokens=6, seed=2, logprobs=3, prompt_logprobs=0, temperature=2.0, top_k=5)
    )
    logits = llm.logits([*ids, *completion.token_ids]).astype(np.float64)
    expected = logits - np.log(np.exp(logits).sum(axis=1, keepdims=True))
    assert completion.logprobs is not None
    for place, entry in enumerate(completion.logprobs):
        row = expected[len(ids) - 1 + place]
        assert entry.token_id == completion.token_ids[place]
        assert entry.logprob == pytest.approx(row[entry.token_id], abs=1e-3)
        assert [token for token, _ in entry.top] == list(np.argsort(-row)[:3])
    assert completion.prompt_logprobs is not None
    assert completion.prompt_logprobs[0] is None
    for place, prompt_entry in enumerate(completion.prompt_logprobs[1:], start=1):
        assert prompt_entry is not None
        assert prompt_entry.logprob == pytest.approx(expected[place - 1][ids[place]], abs=1e-3)


def test_embeddings(llm: LLM) -> None:
    vectors = llm.embed(
        ["The cat sat.", "The cat sat.", "One day, Tom went to the park with a very big ball."]
    )
    assert vectors.shape == (3, llm.model_info.d_model)
    assert vectors.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, rtol=1e-5)
    np.testing.assert_allclose(vectors[0], vectors[1], atol=1e-4)
    assert vectors[0] @ vectors[2] < 0.999
    raw = llm.embed("The cat sat.", normalize=False)
    np.testing.assert_allclose(raw[0] / np.linalg.norm(raw[0]), vectors[0], atol=1e-4)
    assert llm.embed([]).shape == (0, llm.model_info.d_model)


def test_the_context_ends_generation(llm: LLM) -> None:
    n_ctx = llm.model_info.n_ctx
    prompt = [1] * (n_ctx - 3)
    (completion,) = llm.generate([prompt], SamplingParams(max_tokens=None, ignore_eos=True, seed=1))
    assert completion.usage.completion_tokens == 3
    assert completion.finish_reason == "length"
    with pytest.raises(ContextLengthError, match=f"got {n_ctx} tokens; expected at most {n_ctx - 1}"):
        llm.generate([[1] * n_ctx])


def test_a_bad_request_leaves_the_others(llm: LLM) -> None:
    with pytest.raises(InvalidArgumentError, match="prompt token out of range"):
        llm.generate([[1, 2], [llm.model_info.n_vocab]])
    with pytest.raises(InvalidArgumentError, match="list of such lists"):
        llm.generate([1, 2])  # type: ignore[list-item]
    with pytest.raises(InvalidArgumentError, match="logit_bias token"):
        llm.generate("a", SamplingParams(logit_bias={llm.model_info.n_vocab: 1.0}))
    with pytest.raises(InvalidArgumentError, match="best_of cannot be streamed"):
        llm.stream("a", SamplingParams(best_of=2))
    with pytest.raises(InvalidArgumentError, match="chat template"):
        llm.chat([{"role": "user", "content": "hello"}])
    assert llm.generate("Once upon a time", GREEDY)[0].text.startswith(STORY)


def test_threads_share_the_engine(llm: LLM) -> None:
    expected = llm.generate("Once upon a time", GREEDY)[0].text
    texts: list[str] = []
    threads = [
        threading.Thread(target=lambda: texts.append(llm.generate("Once upon a time", GREEDY)[0].text))
        for _ in range(6)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert texts == [expected] * 6


def test_tokens_and_back(llm: LLM) -> None:
    ids = llm.tokenize("Once upon a time")
    assert llm.detokenize(ids) == "Once upon a time"
    assert llm.tokenize("Once upon a time", add_special=False) == ids[1:]


def test_loading_refuses_with_reasons(stories_model: Path, test_data: Path) -> None:
    with pytest.raises(GGUFError, match="adapter 'adapter'"):
        LLM(stories_model, lora=("adapter.gguf",))
    with pytest.raises(InvalidArgumentError, match=r"n_ctx .* got 100000; expected 1 to 512"):
        LLM(stories_model, n_ctx=100_000)
    with pytest.raises(InvalidArgumentError, match="kv_cache_type; got q4"):
        LLM(stories_model, kv_cache_type="q4")
    with pytest.raises(InvalidArgumentError, match="device"):
        LLM(stories_model, device="abacus")
    with pytest.raises(InvalidArgumentError, match="max_batch; got 0"):
        LLM(stories_model, max_batch=0)
    with pytest.raises(ModelError):
        LLM(test_data / "vocab" / "ggml-vocab-llama-spm.gguf")


def test_closing_frees_the_model(stories_model: Path) -> None:
    llm = LLM(stories_model, threads=1)
    core = weakref.ref(llm._loaded().core)
    llm.generate("a", SamplingParams(max_tokens=1))
    llm.close()
    gc.collect()
    assert core() is None


def test_far_too_long_prompts_are_refused_before_they_reach_the_core(llm: LLM) -> None:
    n_ctx = llm.model_info.n_ctx
    with pytest.raises(ContextLengthError, match=f"got {n_ctx + 1} tokens; expected at most {n_ctx - 1}"):
        llm.generate([[-1] * (n_ctx + 1)])


def test_a_closed_model_says_so(stories_model: Path) -> None:
    llm = LLM(stories_model, threads=1)
    running = llm.stream("Once", SamplingParams(max_tokens=500, temperature=0, ignore_eos=True))
    next(running)
    llm.close()
    llm.close()
    assert list(running)[-1].finish_reason in {"cancelled", "length"}
    with pytest.raises(LLMCoreError, match="closed"):
        llm.generate("a")
