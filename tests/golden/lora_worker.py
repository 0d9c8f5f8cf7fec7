"""Runs models with adapters in one process of its own, so that LLMCORE_ISA can be set for it.

Usage: lora_worker.py JOB.json, a list of {"model", "ids", "n_ctx", "adapters", "out"}; `adapters` is a list
of [name, path, scale]. Saves logits without any adapter loaded ("bare"), with them loaded but not named
("base"), of each by its name, and the log-probabilities of all in one batch ("mixed", in that order).
"""

import json
import sys
from pathlib import Path

import numpy as np
from golden_worker import log_probabilities

from llmcore import LLM, SamplingParams


def run(job: dict) -> None:
    ids = job["ids"]
    settings = {"threads": 1, "n_ctx": job["n_ctx"], "max_batch": 4, "kv_cache_type": "f32"}
    with LLM(job["model"], **settings) as llm:
        saved = {"bare": llm.logits(ids)}
    with LLM(
        job["model"], **settings, lora={name: (path, scale) for name, path, scale in job["adapters"]}
    ) as llm:
        names = [None, *(name for name, _, _ in job["adapters"])]
        for name in names:
            saved[name or "base"] = llm.logits(ids, lora=name)
        n_vocab = saved["bare"].shape[1]
        params = SamplingParams(max_tokens=1, temperature=0.0, prompt_logprobs=n_vocab, ignore_eos=True)
        completions = llm.generate([ids] * len(names), params, lora=names)
        saved["mixed"] = np.array(
            [[log_probabilities(token, n_vocab) for token in c.prompt_logprobs[1:]] for c in completions]
        )
    np.savez(job["out"], **saved)


if __name__ == "__main__":
    for entry in json.loads(Path(sys.argv[1]).read_text(encoding="utf-8")):
        run(entry)
