"""What has to hold before an engine's speed means anything."""

from pathlib import Path

import numpy as np

from llmcore import LLM, SamplingParams

_PROMPT_TOKENS = 40
_TOKENS = 16


def check(model: Path, threads: int) -> None:
    """Raises SystemExit unless all logits are finite, two fresh engines agree on a greedy continuation, and
    its first token is the likeliest by the logits."""
    continuations = []
    for _ in range(2):
        with LLM(str(model), threads=threads, n_ctx=256, max_batch=1) as llm:
            n_vocab = llm.model_info.n_vocab
            prompt = [1, *np.random.default_rng(1).integers(0, n_vocab, _PROMPT_TOKENS).tolist()]
            logits = llm.logits(prompt)
            if not np.isfinite(logits).all():
                raise SystemExit("llmcore's logits are not finite: nothing was timed")
            params = SamplingParams(max_tokens=_TOKENS, temperature=0.0, ignore_eos=True)
            continuations.append(list(llm.generate([prompt], params)[0].token_ids))
            if continuations[-1][0] != int(logits[-1].argmax()):
                raise SystemExit("llmcore's greedy token is not the likeliest: nothing was timed")
    if continuations[0] != continuations[1] or len(continuations[0]) != _TOKENS:
        raise SystemExit(f"llmcore's greedy tokens differ between two runs: {continuations}")
