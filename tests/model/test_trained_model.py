"""A really trained model: greedy text is the oracle's, token by token."""

from __future__ import annotations

import numpy as np

from llmcore import LLM, SamplingParams


def test_tells_the_oracles_story(stories_model, reference_decoder) -> None:
    oracle = reference_decoder.ReferenceDecoder(stories_model)
    expected = oracle.greedy([1], 40)
    with LLM(stories_model, threads=1, max_batch=1) as llm:
        (completion,) = llm.generate([[1]], SamplingParams(max_tokens=40, temperature=0.0))
        logits = llm.logits([1, *expected])
    assert list(completion.token_ids) == expected
    assert completion.text.strip().startswith("Once upon a time, there was a little girl named Lily.")
    wanted = oracle.logits([1, *expected])
    assert np.linalg.norm(logits - wanted) <= 1e-3 * np.linalg.norm(wanted)
