"""Runs a list of models in one process of its own, so that LLMCORE_ISA can be set for it, and saves what
they compute.

Usage: golden_worker.py JOB.json, a list of {"model", "ids", "prompts", "n_ctx", "device", "kv_cache_type",
"quantization", "gpu_layers", "out"}. `prompts` are lengths: so many tokens of `ids` are given, the rest has
to be generated, all at once, which splits prompts and mixes them with decoding; without any nothing is
generated. A model that fails leaves OUT.error, the traceback, behind.
"""

import json
import sys
import traceback
from pathlib import Path

import numpy as np

from llmcore import LLM, SamplingParams


def log_probabilities(token: object, n_vocab: int) -> np.ndarray:
    """The distribution a token was taken from, by token id."""
    row = np.full(n_vocab, np.nan, np.float32)
    for token_id, value in token.top:
        row[token_id] = value
    return row


def run(job: dict) -> None:
    ids = job["ids"]
    with LLM(
        job["model"],
        threads=1,
        n_ctx=job["n_ctx"],
        device=job["device"],
        max_batch=max(1, len(job["prompts"])),
        kv_cache_type=job["kv_cache_type"],
        quantization=job["quantization"],
        gpu_layers=job["gpu_layers"],
    ) as llm:
        logits = llm.logits(ids)
        n_vocab = logits.shape[1]
        params = [
            SamplingParams(
                max_tokens=len(ids) - n,
                temperature=0.0,
                ignore_eos=True,
                logprobs=n_vocab,
                prompt_logprobs=n_vocab,
            )
            for n in job["prompts"]
        ]
        completions = llm.generate([ids[:n] for n in job["prompts"]], params)
    sequences = [
        [*ids[:n], *completion.token_ids] for n, completion in zip(job["prompts"], completions, strict=True)
    ]
    rows = [
        [
            log_probabilities(token, n_vocab)
            for token in (*completion.prompt_logprobs[1:], *completion.logprobs)
        ]
        for completion in completions
    ]
    np.savez(job["out"], logits=logits, sequences=np.array(sequences), logprobs=np.array(rows))


if __name__ == "__main__":
    for entry in json.loads(Path(sys.argv[1]).read_text(encoding="utf-8")):
        try:
            run(entry)
        except Exception:
            Path(entry["out"] + ".error").write_text(traceback.format_exc(), encoding="utf-8")
