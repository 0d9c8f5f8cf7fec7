"""How near the logits of llmcore and of llama.cpp are to the exact ones of the same quantized weights.

    python -m benchmarks.fidelity --shapes llama-3.2-1b gemma-2-2b --quants Q4_0 Q4_K_M Q8_0 --json FILE

For every shape and quantization a model of a few layers with random weights is written. Its logits for the
same random tokens come from three programs: the float64 decoder of tests/reference, llmcore as it runs by
default (its fastest kernels, float16 cache), and llama.cpp through `llama_cpp` (llama-cpp-python) as it runs
by default. Reported is the Kullback-Leibler divergence of each from the float64 distribution, and how often
the likeliest token is the same one. The entropy says that the distributions are neither flat nor certain.
Both programs round by chance, so a ratio of the means is given with its standard error: the tokens are the
sample, and both have the same. Where a token hesitates between two experts, rounding decides, and one such
token may outweigh all others in the mean; the median is of the others.
"""

import argparse
import ctypes
import gc
import importlib.util
import json
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from benchmarks.report import heading
from llmcore import LLM
from llmcore.tools.shapes import SHAPES
from llmcore.tools.synthesize import find_shape, synthesize

Logits = npt.NDArray[np.floating]

# A small published shape of each architecture, and how many of its layers: six of gemma3 are five with a
# window and one without.
DEFAULT_SHAPES = {
    "llama-3.2-1b": 2, "mixtral-8x7b": 1, "qwen-7b": 2, "qwen1.5-moe-a2.7b": 2, "qwen2-0.5b": 2,
    "qwen3-0.6b": 2, "qwen3-30b-a3b": 2, "gemma-2b": 2, "gemma-2-2b": 2, "gemma-3-1b": 6,
    "phi-3-mini-4k": 2, "phi-4-mini": 2, "chatglm3-6b": 2, "glm-4-9b-0414": 2, "gpt-oss-20b": 2,
}  # fmt: skip
DEFAULT_QUANTS = ["Q4_0", "Q4_K_M", "Q8_0"]
PUBLISHED_QUANTS = {"gpt-oss-20b": ["MXFP4_MOE"]}  # beside those
_FIRST_TEXT_TOKEN = 300  # after control tokens and bytes
_PROGRAMS = ("llmcore", "llama.cpp")


@dataclass(frozen=True)
class Distance:
    """Of one program's distributions from the exact ones, over all positions."""

    mean_kl: float
    median_kl: float
    max_kl: float
    same_top: float  # share of positions
    logit_error: float  # relative, of the whole matrix
    kl: list[float]  # of every position


@dataclass(frozen=True)
class Row:
    """One model; entropy in nats, of the exact distributions."""

    shape: str
    architecture: str
    quant: str
    n_layers: int
    entropy: float
    logit_deviation: float
    distances: dict[str, Distance]
    ratio: float  # of the mean divergences, llmcore's to llama.cpp's
    ratio_error: float  # its standard error


def log_softmax(logits: Logits) -> npt.NDArray[np.float64]:
    """Over the last axis, in float64."""
    shifted = logits.astype(np.float64) - logits.max(axis=-1, keepdims=True)
    shifted -= np.log(np.exp(shifted).sum(axis=-1, keepdims=True))
    return shifted


def divergences(logits: Logits, exact: Logits) -> npt.NDArray[np.float64]:
    """Kullback-Leibler divergence from the exact distribution of every position."""
    result = []
    for row, exact_row in zip(logits, exact, strict=True):
        p = log_softmax(exact_row)
        result.append(float(np.sum(np.exp(p) * (p - log_softmax(row)))))
    return np.array(result)


def distance(logits: Logits, exact: Logits, kl: npt.NDArray[np.float64]) -> Distance:
    """How far `logits` are from the exact ones, (n_tokens, n_vocab) each; `kl` are their divergences."""
    return Distance(
        mean_kl=float(kl.mean()),
        median_kl=float(np.median(kl)),
        max_kl=float(kl.max()),
        same_top=float((logits.argmax(axis=-1) == exact.argmax(axis=-1)).mean()),
        logit_error=float(np.linalg.norm(logits - exact) / np.linalg.norm(exact)),
        kl=kl.tolist(),
    )


def mean_entropy(logits: Logits) -> float:
    """In nats, over the rows."""
    rows = (log_softmax(row) for row in logits)
    return float(np.mean([-np.sum(np.exp(row) * row) for row in rows]))


def exact_logits(path: Path, ids: list[int]) -> Logits:
    """From the float64 decoder of the tests."""
    source = Path(__file__).resolve().parent.parent / "tests" / "reference" / "decoder.py"
    spec = importlib.util.spec_from_file_location("reference_decoder", source)
    if spec is None or spec.loader is None:
        raise SystemExit(f"no reference decoder at {source}")
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    logits: Logits = module.ReferenceDecoder(path).logits(ids)
    return logits


def llmcore_logits(path: Path, ids: list[int], threads: int) -> Logits:
    """As llmcore runs by default."""
    with LLM(str(path), threads=threads, n_ctx=2 * len(ids), max_batch=1) as llm:
        return llm.logits(ids)


@cache
def _silent_llama_cpp() -> tuple[Any, Any]:
    """The module, and the callback that swallows its log, which must live as long."""
    import llama_cpp  # noqa: PLC0415 - needed here only, and not everywhere installed

    @llama_cpp.llama_log_callback
    def swallow(_level: int, _text: bytes, _data: ctypes.c_void_p) -> None:
        pass

    llama_cpp.llama_log_set(swallow, ctypes.c_void_p(0))
    return llama_cpp, swallow


def llama_cpp_logits(path: Path, ids: list[int], threads: int) -> Logits:
    """As llama.cpp runs by default, through its C interface: one batch, all positions."""
    peer, _ = _silent_llama_cpp()
    model = peer.llama_model_load_from_file(str(path).encode(), peer.llama_model_default_params())
    if not model:
        raise SystemExit(f"llama.cpp does not load {path}")
    params = peer.llama_context_default_params()
    params.n_ctx, params.n_batch, params.n_ubatch = 2 * len(ids), len(ids), len(ids)
    params.n_threads = params.n_threads_batch = threads
    context = peer.llama_init_from_model(model, params)
    batch = peer.llama_batch_init(len(ids), 0, 1)
    batch.n_tokens = len(ids)
    for position, token in enumerate(ids):
        batch.token[position], batch.pos[position] = token, position
        batch.n_seq_id[position], batch.seq_id[position][0], batch.logits[position] = 1, 0, 1
    if peer.llama_decode(context, batch) != 0:
        raise SystemExit(f"llama.cpp does not run {path}")
    n_vocab = peer.llama_vocab_n_tokens(peer.llama_model_get_vocab(model))
    logits: Logits = np.ctypeslib.as_array(peer.llama_get_logits(context), (len(ids), n_vocab)).copy()
    peer.llama_batch_free(batch)
    peer.llama_free(context)
    peer.llama_model_free(model)
    return logits


def measure(path: Path, name: str, quant: str, options: argparse.Namespace) -> Row:
    """Writes one model to `path` and runs it in all three programs."""
    shape = find_shape(name, options.layers or DEFAULT_SHAPES.get(name, 2))
    synthesize(path, shape, quant, name=name, n_ctx=4096, logit_deviation=options.logit_deviation)
    rng = np.random.default_rng(options.seed)
    ids = [1, *rng.integers(_FIRST_TEXT_TOKEN, shape.n_vocab, options.n_tokens - 1).tolist()]
    exact = exact_logits(path, ids)
    distances, kl = {}, {}
    for program, logits_of in zip(_PROGRAMS, (llmcore_logits, llama_cpp_logits), strict=True):
        logits = logits_of(path, ids, options.threads)
        if not np.isfinite(logits).all():
            raise SystemExit(f"{program}: logits of {name} {quant} are not finite")
        kl[program] = divergences(logits, exact)
        distances[program] = distance(logits, exact, kl[program])
        del logits
        gc.collect()
    ours, theirs = (kl[program] for program in _PROGRAMS)
    ratio = float(ours.mean() / theirs.mean())
    error = float((ours - ratio * theirs).std(ddof=1) / np.sqrt(len(ours)) / theirs.mean())
    return Row(
        name, shape.architecture, quant, shape.n_layers, mean_entropy(exact), float(exact.std()), distances,
        ratio, error,
    )  # fmt: skip


def measure_all(options: argparse.Namespace) -> Iterator[Row]:
    """Every shape in every quantization, one model on the disk at a time."""
    with tempfile.TemporaryDirectory(dir=options.folder) as folder:
        for name in options.shapes:
            for quant in options.quants or DEFAULT_QUANTS + PUBLISHED_QUANTS.get(name, []):
                started = time.monotonic()
                path = Path(folder) / "model.gguf"
                row = measure(path, name, quant, options)
                path.unlink()
                print(f"{line(row)}  {time.monotonic() - started:.0f} s", file=sys.stderr, flush=True)
                yield row


def line(row: Row) -> str:
    """One row of the table."""
    ours, theirs = (row.distances[program] for program in _PROGRAMS)
    ratio = f"{row.ratio:.3f} ± {row.ratio_error:.3f}"
    means = f"{ours.mean_kl:.2e} | {theirs.mean_kl:.2e} | {ratio}"
    medians = f"{ours.median_kl:.2e} | {theirs.median_kl:.2e} | {ours.median_kl / theirs.median_kl:.3f}"
    tops = f"{100 * ours.same_top:.0f} % | {100 * theirs.same_top:.0f} %"
    model = f"{row.shape} ({row.architecture}) | {row.quant} | {row.entropy:.2f}"
    return f"| {model} | {means} | {medians} | {tops} |"


def markdown(rows: list[Row], options: argparse.Namespace) -> str:
    """The table people read."""

    def mean_ratio(part: str) -> float:
        pairs = [[getattr(row.distances[program], part) for program in _PROGRAMS] for row in rows]
        return float(np.exp(np.mean([np.log(ours / theirs) for ours, theirs in pairs])))

    return "\n".join(
        [
            f"Kullback-Leibler divergence (nats) from the float64 logits of the same weights, "
            f"{options.n_tokens} random tokens; a ratio below 1: llmcore is nearer.",
            "",
            "| shape | weights | entropy | mean: llmcore | llama.cpp | ratio | median: llmcore | llama.cpp "
            "| ratio | same top: llmcore | llama.cpp |",
            "|---|---|---|---|---|---|---|---|---|---|---|",
            *(line(row) for row in rows),
            "",
            f"Geometric mean of the ratios: {mean_ratio('mean_kl'):.3f} of means, "
            f"{mean_ratio('median_kl'):.3f} of medians.",
        ]
    )


def save(rows: list[Row], options: argparse.Namespace) -> None:
    """Writes the figures so far."""
    report = {
        **heading(),
        "n_tokens": options.n_tokens,
        "seed": options.seed,
        "logit_deviation": options.logit_deviation,
        "rows": [asdict(row) for row in rows],
    }
    options.json.write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")
    options.json.with_suffix(".md").write_text(markdown(rows, options) + "\n", encoding="utf-8")


def main() -> None:
    """Measures and prints."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--shapes", nargs="+", choices=SHAPES, default=list(DEFAULT_SHAPES))
    parser.add_argument("--quants", nargs="+", help="by default Q4_0, Q4_K_M and Q8_0")
    parser.add_argument("--layers", type=int, help="of every model; by default 1, 2 or 6")
    parser.add_argument("--n-tokens", type=int, default=64)
    parser.add_argument("--logit-deviation", type=float, default=4.0)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("-t", "--threads", type=int, default=2)
    parser.add_argument("--folder", type=Path, help="where models are written; they may take 5 GB")
    parser.add_argument("--json", type=Path, help="write the figures here, and the table beside it as .md")
    options = parser.parse_args()
    rows = []
    for row in measure_all(options):
        rows.append(row)
        if options.json:
            save(rows, options)
    print(markdown(rows, options))


if __name__ == "__main__":
    main()
