"""Greedy text of the embedded model on the GPU and on the CPU must be the same."""

from __future__ import annotations

import sys

from llmcore import LLM, SamplingParams

PROMPTS = [
    "What is llmcore?",
    "请解释人工智能的概念",
    "How do plants make food?",
    "What is a KV cache?",
    "你好",
    "Why is the sky blue?",
]


def replies(device: str) -> list[str]:
    params = SamplingParams(max_tokens=96, temperature=0.0)
    with LLM(device=device) as llm:
        return [llm.chat([{"role": "user", "content": prompt}], params).text for prompt in PROMPTS]


def main() -> int:
    cpu, cuda = replies("cpu"), replies("cuda")
    same = [a == b for a, b in zip(cpu, cuda, strict=True)]
    for prompt, equal, text in zip(PROMPTS, same, cuda, strict=True):
        print(f"{'same ' if equal else 'OTHER'} {prompt}: {text[:60]!r}")
    return 0 if all(same) else 1


if __name__ == "__main__":
    sys.exit(main())
