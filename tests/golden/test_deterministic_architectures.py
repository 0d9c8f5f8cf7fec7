"""Deterministic mode for every architecture: the same bits in a crowd, and still the model's logits."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from llmcore import LLM, SamplingParams


def test_bits_in_a_crowd_are_those_alone(golden_models: Path, model_name: str, golden) -> None:
    path = golden_models / f"{model_name}.gguf"
    ids = golden.ids
    prompts = [ids[:n] for n in (1, 2, 5, len(ids) // 2, len(ids) - 4)]
    params = SamplingParams(max_tokens=4, temperature=0.0, ignore_eos=True, logprobs=5)
    found = []
    for threads, max_batch in ((1, 1), (2, 5)):
        with LLM(path, threads=threads, max_batch=max_batch, n_ctx=len(ids), deterministic=True) as llm:
            found.append([(c.token_ids, c.logprobs) for c in llm.generate(prompts, params)])
            logits = llm.logits(ids)
    assert found[0] == found[1]
    error = np.linalg.norm(logits - golden.logits) / np.linalg.norm(golden.logits)
    assert error < 2.5e-2
