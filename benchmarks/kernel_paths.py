"""The embedded model's perplexity under each kernel set of this machine, against the reference kernels'.

    python -m benchmarks.kernel_paths [-n 20] [--quants Q4_0 Q4_K_M Q6_K] [--json FILE]

A process for each instruction set (LLMCORE_ISA), without measured tables, reads the same held-back dialogues.
`scalar` is the reference: exact products of the quantized weights with float32 activations. Exits with 1 if a
perplexity is more than 0.5 % away from it.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from benchmarks.quantization_loss import held_back, write_base, write_quantized
from llmcore import LLM, _core, default_model
from llmcore.tools.perplexity_statistics import log_softmax

_ALLOWED = 0.005
_REFERENCE = "scalar"


class PathResult(msgspec.Struct, frozen=True):
    """One kernel set on one file. `ratio`: to the reference kernels' perplexity of the same file."""

    weights: str
    isa: str
    kernels: list[str]
    """Linear ones that ran."""
    n_tokens: int
    perplexity: float
    ratio: float

    @property
    def is_near(self) -> bool:
        return abs(self.ratio - 1) <= _ALLOWED


def usable_sets() -> list[str]:
    """Instruction sets that this machine has kernels for, the reference first."""
    sets = {str(kernel["isa"]) for kernel in _core.kernels() if kernel["op"] == "linear" and kernel["usable"]}
    return [_REFERENCE, *sorted(sets - {_REFERENCE})]


def score(model: Path, count: int) -> dict[str, Any]:
    """In a process of its own: perplexity over every token of `count` dialogues, and the kernels that ran."""
    loss, n_tokens = 0.0, 0
    with LLM(model, device="cpu") as llm:
        for sequence in held_back(llm, count):
            following = np.asarray(sequence.ids[1:])
            log_probs = log_softmax(llm.logits(sequence.ids)[:-1])
            loss -= float(log_probs[np.arange(len(following)), following].sum())
            n_tokens += len(following)
        ran = {use.kernel for use in llm.kernel_uses() if use.op == "linear" and use.ran}
    return {"perplexity": float(np.exp(loss / n_tokens)), "n_tokens": n_tokens, "kernels": sorted(ran)}


def measure(model: Path, weights: str, sets: Sequence[str], count: int) -> list[PathResult]:
    """A row a kernel set; the first of `sets` is what the others are compared with."""
    rows: list[PathResult] = []
    for isa in sets:
        command = [sys.executable, "-m", "benchmarks.kernel_paths", "--score", str(model), "-n", str(count)]
        environment = {**os.environ, "LLMCORE_ISA": isa, "LLMCORE_TUNE": "off", "LLMCORE_KERNEL": ""}
        result = subprocess.run(command, env=environment, stdout=subprocess.PIPE, check=True)
        found = json.loads(result.stdout)
        reference = rows[0].perplexity if rows else found["perplexity"]
        rows.append(PathResult(weights, isa, ratio=found["perplexity"] / reference, **found))
    return rows


def markdown(rows: Sequence[PathResult]) -> str:
    """The table people read."""
    lines = ["| weights | kernels | tokens | perplexity | of the reference's |", "|---|---|---|---|---|"]
    lines += [
        f"| {row.weights} | {row.isa} | {row.n_tokens} | {row.perplexity:.5f} | {row.ratio:.5f}"
        f"{'' if row.is_near else ' (too far)'} |"
        for row in rows
    ]
    return "\n".join(lines) + "\n"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("-n", "--count", type=int, default=20, help="dialogues")
    parser.add_argument("--quants", nargs="*", default=[], help="also these, made of the embedded model")
    parser.add_argument("--json", type=Path, help="write the rows here")
    parser.add_argument("--score", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.score:
        print(json.dumps(score(options.score, options.count)))
        return 0
    rows = measure(default_model.path(), "as shipped", usable_sets(), options.count)
    with tempfile.TemporaryDirectory() as folder:
        base, made = Path(folder, "f32.gguf"), Path(folder, "made.gguf")
        if options.quants:
            write_base(default_model.path(), base)
        for quant in options.quants:
            write_quantized(base, made, quant)
            rows += measure(made, quant, usable_sets(), options.count)
    print(markdown(rows), end="")
    if options.json:
        options.json.write_text(json.dumps(msgspec.to_builtins(rows), indent=1) + "\n", encoding="utf-8")
    return 0 if all(row.is_near for row in rows) else 1


if __name__ == "__main__":
    sys.exit(main())
