"""Runs a list of models in one process of its own, so that LLMCORE_ISA can be set for it, and saves what
they compute.

Usage: logits_worker.py JOB.json, a list of {"model", "ids", "n_greedy", "kv_cache_type", "out"}.
"""

import json
import sys
from pathlib import Path

import numpy as np

from llmcore import LLM, SamplingParams


def run(job: dict) -> None:
    with LLM(job["model"], threads=1, n_ctx=128, max_batch=2, kv_cache_type=job["kv_cache_type"]) as llm:
        logits = llm.logits(job["ids"])
        params = SamplingParams(max_tokens=job["n_greedy"], temperature=0.0, ignore_eos=True)
        (completion,) = llm.generate([job["ids"]], params)
        again = llm.logits(job["ids"] + list(completion.token_ids))
    np.savez(job["out"], logits=logits, tokens=np.array(completion.token_ids), after=again)


if __name__ == "__main__":
    for entry in json.loads(Path(sys.argv[1]).read_text(encoding="utf-8")):
        run(entry)
