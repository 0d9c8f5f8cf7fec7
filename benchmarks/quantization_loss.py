"""What quantization costs: each format of one model against its float32 weights.

    python -m benchmarks.quantization_loss [MODEL] [--llama-quantize PATH] --json FILE

MODEL is a GGUF file with float weights; without one it is the embedded model, whose file is Q8_0: then the
F32 model is the values of that file, and Q8_0 gives back the same weights.

Of the embedded model, dialogues that its training did not see are scored: the divergence over all their
tokens, the perplexity over the answers, for those alone were taught. Any other model is scored on what its
F32 weights say when sampled at temperature 1, so that perplexity rises by the mean divergence's exponential,
but for chance.

Quantized matrices are multiplied with activations rounded to 8 bits, as when serving, and the F32 model's
with float32 ones; that is part of what is measured. With --llama-quantize, files that llama.cpp made of the
same F32 model are measured as well, by the same kernels. Prints a Markdown table.
"""

import argparse
import json
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, replace
from importlib import import_module
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from gguf import GGMLQuantizationType as Type

from benchmarks.report import heading
from llmcore import LLM, SamplingParams, _core, default_model
from llmcore.tools.perplexity_statistics import Divergence, DivergenceSamples, Estimate, log_softmax
from llmcore.tools.quantize import quantize_model
from llmcore.tools.quantize_plan import Change, Choice, plan

FORMATS = (
    "Q2_K", "Q3_K_M", "IQ4_XS", "IQ4_NL", "Q4_0", "Q4_1", "Q4_K_M", "Q5_0", "Q5_1", "Q5_K_M", "Q6_K", "Q8_0",
    "F16",
)  # fmt: skip
# The corpus is no part of an installed package. Its seed 3 taught the tokenizer and 101 the model.
CORPUS = Path(__file__).resolve().parents[1] / "python" / "llmcore" / "default_model"
HELD_BACK_SEED = 202


@dataclass(frozen=True)
class Sequence:
    """Tokens that the model sees at once; of `spoken` ones the perplexity is taken."""

    ids: list[int]
    spoken: npt.NDArray[np.bool_]


@dataclass(frozen=True)
class Row:
    """One format. `types`: how many matrices have each tensor type; `divergence` is over all tokens,
    `spoken` over those that count for the perplexity. `llama_cpp`: the divergence of llama.cpp's file.
    """

    quant: str
    bits_per_weight: float
    types: dict[str, int]
    divergence: Divergence
    spoken: Divergence
    llama_cpp: Divergence | None = None


def write_base(source: Path, out: Path) -> None:
    """The model with all its tensors as F32."""
    file = _core.GGUFFile(source)
    quantize_model(file, out, Choice("F32"), [Change(tensor, Type.F32) for tensor in file.tensors])


def write_quantized(base: Path, out: Path, quant: str) -> None:
    """The model as `llmcore quantize` writes it."""
    file, choice = _core.GGUFFile(base), Choice(quant)
    quantize_model(file, out, choice, plan(file, choice))


def write_with_llama_cpp(program: Path, base: Path, out: Path, quant: str) -> None:
    """The model as llama.cpp's llama-quantize writes it. Raises CalledProcessError if it fails."""
    subprocess.run([str(program), str(base), str(out), quant], check=True, capture_output=True)


def held_back(llm: LLM, count: int) -> Iterator[Sequence]:
    """Dialogues of the embedded model's corpus with a seed of their own, cut at the context; answers are
    spoken.
    """

    corpus = _corpus()
    n_ctx = llm.model_info.n_ctx

    def encode(text: str) -> list[int]:
        return llm.tokenize(text, add_special=False, parse_special=True)

    for messages in corpus.dialogues(HELD_BACK_SEED, count):
        ids = encode(corpus.render(messages))
        spoken = np.zeros(len(ids), np.bool_)
        for i, message in enumerate(messages):
            if message.role == "assistant":
                before = corpus.render(messages[:i]) + f"{corpus.START_OF_TURN}assistant\n"
                after = corpus.render(messages[: i + 1]).removesuffix("\n")  # which was not taught
                spoken[len(encode(before)) : len(encode(after))] = True
        yield Sequence(ids[:n_ctx], spoken[:n_ctx])


def _corpus() -> Any:
    if "default_model_source" not in sys.modules:
        spec = spec_from_file_location(
            "default_model_source", CORPUS / "__init__.py", submodule_search_locations=[str(CORPUS)]
        )
        assert spec is not None
        sys.modules["default_model_source"] = module_from_spec(spec)
    return import_module("default_model_source.corpus")


def sampled(llm: LLM, count: int, length: int) -> Iterator[Sequence]:
    """What the model says by itself, from its beginning token on."""
    start = llm.tokenizer.tokenizer.bos_id or 0
    params = [SamplingParams(max_tokens=length, temperature=1.0, seed=seed) for seed in range(count)]
    for completion in llm.generate([[start]] * count, params):
        ids = [start, *completion.token_ids]
        yield Sequence(ids, np.ones(len(ids), np.bool_))


def compare(base: LLM, quantized: LLM, sequences: Iterable[Sequence]) -> tuple[Divergence, Divergence]:
    """The divergence over all tokens and over the spoken ones."""
    everything, spoken = DivergenceSamples(), DivergenceSamples()
    for sequence in sequences:
        log_p, log_q = (log_softmax(llm.logits(sequence.ids)[:-1]) for llm in (base, quantized))
        at = np.arange(len(log_p)), np.asarray(sequence.ids[1:])
        everything.add(log_q, log_q[at], log_p, log_p[at])
        of = sequence.spoken[1:]
        if of.any():
            spoken.add(log_q[of], log_q[at][of], log_p[of], log_p[at][of])
    return everything.result(), spoken.result()


def measure(
    source: Path | None, formats: Iterable[str], count: int, folder: Path, llama_quantize: Path | None = None
) -> list[Row]:
    """Quantizes the model, the embedded one if None, to each format in turn and compares it with its base."""
    base_file, quantized_file = folder / "base.gguf", folder / "quantized.gguf"
    write_base(default_model.path() if source is None else source, base_file)
    rows = []
    with LLM(base_file, max_batch=1) as base:
        length = base.model_info.n_ctx - 2
        sequences = list(held_back(base, count) if source is None else sampled(base, count, length))
        for quant in formats:
            write_quantized(base_file, quantized_file, quant)
            row = _row(quant, quantized_file, *_compare_file(base, quantized_file, sequences))
            if llama_quantize is not None:
                write_with_llama_cpp(llama_quantize, base_file, quantized_file, quant)
                row = replace(row, llama_cpp=_compare_file(base, quantized_file, sequences)[0])
            rows.append(row)
    return rows


def _compare_file(base: LLM, path: Path, sequences: list[Sequence]) -> tuple[Divergence, Divergence]:
    with LLM(path, max_batch=1) as quantized:
        return compare(base, quantized, sequences)


def _row(quant: str, path: Path, divergence: Divergence, spoken: Divergence) -> Row:
    tensors = _core.GGUFFile(path).tensors
    weights = sum(int(np.prod(tensor.shape)) for tensor in tensors)
    bits = 8 * sum(tensor.n_bytes for tensor in tensors) / weights
    types = Counter(tensor.type for tensor in tensors if len(tensor.shape) > 1)
    return Row(quant, bits, dict(types.most_common()), divergence, spoken)


def markdown(rows: list[Row]) -> str:
    """The table people read; divergences in thousandths of a nat."""
    lines = [
        f"F32: perplexity {_shown(rows[0].spoken.reference_perplexity)}",
        "",
        "| format | bits a weight | matrices | perplexity, of F32's | same likeliest token "
        "| KL divergence, 10⁻³ | 99th percentile | of llama.cpp's file |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for row in rows:
        types = ", ".join(f"{count} {name}" for name, count in row.types.items())
        loss = row.divergence
        kl = f"{_thousandths(loss.kl_mean.value)} ± {1e3 * loss.kl_mean.error:.1g}"
        peer = "" if row.llama_cpp is None else _thousandths(row.llama_cpp.kl_mean.value)
        lines.append(
            f"| {row.quant} | {row.bits_per_weight:.2f} | {types} | {_shown(row.spoken.perplexity_ratio)} "
            f"| {100 * loss.same_top.value:.2f} % | {kl} | {_thousandths(loss.kl_p99)} | {peer} |"
        )
    return "\n".join(lines)


def _thousandths(value: float) -> str:
    return f"{1e3 * value:.0f}" if value >= 0.01 else f"{1e3 * value:.2g}"


def _shown(estimate: Estimate) -> str:
    return f"{estimate.value:.4f} ± {estimate.error:.4f}"


def main() -> None:
    """Quantizes, compares and prints."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("model", type=Path, nargs="?", help="a GGUF file; by default the embedded model")
    parser.add_argument("-n", "--count", type=int, default=150, help="dialogues or samples that are scored")
    parser.add_argument("--formats", nargs="+", default=FORMATS, help="what to quantize to")
    parser.add_argument("--llama-quantize", type=Path, help="llama.cpp's llama-quantize")
    parser.add_argument("--json", type=Path, help="write the figures here")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        rows = measure(options.model, options.formats, options.count, Path(folder), options.llama_quantize)
    print(markdown(rows))
    if options.json:
        report = {
            "model": "default.gguf" if options.model is None else options.model.name,
            **heading(),
            "count": options.count,
            "rows": [asdict(row) for row in rows],
        }
        options.json.write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
