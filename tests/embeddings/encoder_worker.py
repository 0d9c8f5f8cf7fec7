"""Embeds texts in a process of its own, so that LLMCORE_ISA can be set for it, and saves the vectors.

Usage: encoder_worker.py JOB.json, {"models": {name: path}, "texts": {name: lists of token ids},
"kv_cache_type", "quantization", "out"}. OUT.npz holds `name/pooling`, (n_texts, d_model), not normalized;
pooling "file" is the model's own.
"""

import json
import sys
from pathlib import Path

import numpy as np

from llmcore import LLM

POOLINGS = {"mean": "mean", "cls": "cls", "last": "last", "file": None}


def run(job: dict) -> None:
    found = {}
    for name, path in job["models"].items():
        with LLM(
            path,
            threads=1,
            device="cpu",
            kv_cache_type=job["kv_cache_type"],
            quantization=job["quantization"],
        ) as llm:
            for label, pooling in POOLINGS.items():
                found[f"{name}/{label}"] = llm.embed(job["texts"][name], normalize=False, pooling=pooling)
    np.savez(job["out"], **found)


if __name__ == "__main__":
    run(json.loads(Path(sys.argv[1]).read_text(encoding="utf-8")))
