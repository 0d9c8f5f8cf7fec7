"""Measures prompt and generation speed through the engine that serves, by the engine's own clock."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

from llmcore import _core, explain, tuning
from llmcore.errors import InvalidArgumentError, LLMCoreError
from llmcore.tools.model_context import trained_context
from llmcore.tools.weight_bytes import decode_weight_bytes

_WAIT_SECONDS = 600.0
_SLACK_STEPS = 256  # a small model makes many steps while the other prompts are still being submitted
_ATTEMPTS = 3
_USUAL_PROMPT = 512


@dataclass(frozen=True)
class BenchOptions:
    """What to measure: prefill of `n_prompt` tokens, `n_gen` steps of decode from `depth`, `batch` sequences.

    In a decode test the sequence that starts last is measured. The others may generate more, so that they run
    all the while: prompts are prefilled in turn, in chunks, while those that are through already decode.
    """

    n_prompt: int
    n_gen: int
    batch: int
    depth: int
    repetitions: int

    @property
    def prompt_at_depth(self) -> int:
        """Prompt tokens of a decode test: something has to come first."""
        return max(self.depth, 1)

    @property
    def head_start(self) -> int:
        """Steps by which the first sequence may be ahead of the last."""
        return self.batch * (self.prompt_at_depth // 64 + 2) + _SLACK_STEPS if self.batch > 1 else 0

    @property
    def n_ctx(self) -> int:
        """The context that the longest sequence needs."""
        return max(self.n_prompt + 1, self.prompt_at_depth + self.n_gen + 1 + self.head_start)


def fitting_options(model: Path, n_prompt: int | None, **others: int) -> BenchOptions:
    """The command's options; a prompt of no given length is 512 tokens or what the model's context holds.

    Raises InvalidArgumentError for more than that context, GGUFError for a damaged file.
    """
    context = trained_context(_core.GGUFFile(model))
    usual = _USUAL_PROMPT if context is None else min(_USUAL_PROMPT, context - 1)
    options = BenchOptions(n_prompt=usual if n_prompt is None else n_prompt, **others)
    if context is not None and options.n_ctx > context:
        raise InvalidArgumentError(
            f"[bench] -p {options.n_prompt}, -n {options.n_gen}, -d {options.depth} and -b {options.batch}; "
            f"got a need of {options.n_ctx} tokens; expected at most the model's context, {context}"
        )
    return options


@dataclass(frozen=True)
class _Run:
    """One sequence, in seconds since its submission, which was `submitted` after the first one's."""

    submitted: float
    first_token: float
    total: float
    rank: int
    """How many sequences ended before, as far as can be told."""


class _Bench:
    """Runs random prompts, all different, for a cached prefix would be no measurement."""

    def __init__(self, engine: _core.Engine) -> None:
        self._engine = engine
        self._rng = np.random.default_rng(0)
        self._next_id = 0

    def run(self, n_prompt: int, max_tokens: list[int]) -> list[_Run]:
        """Submits one sequence for each of `max_tokens` at once, until the last of them has ended."""
        n_vocab = int(self._engine.info.n_vocab)
        prompts = self._rng.integers(min(3, n_vocab - 1), n_vocab, (len(max_tokens), n_prompt)).tolist()
        first_id, self._next_id = self._next_id, self._next_id + len(max_tokens)
        last = len(max_tokens) - 1
        submitted = []
        start = time.perf_counter()
        for i, (prompt, limit) in enumerate(zip(prompts, max_tokens, strict=True)):
            submitted.append(time.perf_counter() - start)
            self._engine.submit(first_id + i, prompt, max_tokens=limit, temperature=0.0, ignore_eos=True)
        runs: dict[int, _Run] = {}
        while len(runs) < len(max_tokens):
            outputs = self._engine.wait(_WAIT_SECONDS)
            if not outputs:
                raise LLMCoreError(f"[bench] no token; got {_WAIT_SECONDS:.0f} s of silence; expected a step")
            ended_before = len(runs)
            for output in outputs:
                if output.finish == "error":
                    raise LLMCoreError(output.error_message)
                if output.request_done:
                    i = output.request - first_id
                    runs[i] = _Run(
                        submitted[i], output.first_token_seconds, output.total_seconds, ended_before
                    )
            if last in runs:
                for i in range(last):
                    self._engine.abort(first_id + i)
        return [runs[i] for i in range(len(max_tokens))]

    def prefill(self, options: BenchOptions) -> float:
        """Prompt tokens a second, from the first submission to the last sequence's first token."""
        runs = self.run(options.n_prompt, [1] * options.batch)
        return options.batch * options.n_prompt / max(run.submitted + run.first_token for run in runs)

    def decode(self, options: BenchOptions) -> float:
        """Generated tokens a second, over the `n_gen` steps after the last sequence's first token."""
        longer = options.n_gen + 1 + options.head_start
        limits = [longer] * (options.batch - 1) + [options.n_gen + 1]
        for _ in range(_ATTEMPTS):
            measured = self.run(options.prompt_at_depth, limits)[-1]
            if measured.rank == 0:
                return options.batch * options.n_gen / (measured.total - measured.first_token)
        raise LLMCoreError(
            f"[bench] not all ran at once; got {options.batch}; expected as many as the cache holds"
        )


def measure(
    model: Path,
    options: BenchOptions,
    *,
    threads: int,
    device: str,
    report: Callable[[str], None],
    mmap: bool = False,
    explains: bool = False,
    gpu_layers: str = "auto",
) -> dict[str, Any]:
    """Loads the model, warms up and measures; `report` gets lines of progress. Returns what --json prints.

    `threads`: 0 for one a processor. `explains`: the kernels that ran are reported too. Raises GGUFError,
    ModelError or InvalidArgumentError.
    """
    return measure_all(
        model,
        [options],
        threads=threads,
        device=device,
        report=report,
        mmap=mmap,
        explains=explains,
        gpu_layers=gpu_layers,
    )


def measure_all(
    model: Path,
    sweep: Sequence[BenchOptions],
    *,
    threads: int,
    device: str,
    report: Callable[[str], None],
    mmap: bool = False,
    explains: bool = False,
    gpu_layers: str = "auto",
    before_sample: Callable[[], None] = lambda: None,
) -> dict[str, Any]:
    """As `measure`, several sets of options on one engine; `before_sample` is called before each sample."""
    step_gigabytes = decode_weight_bytes(model) / 1e9
    report(f"loading {model.name}")
    tuned = tuning.load()
    engine = _core.Engine(
        model,
        device=device,
        gpu_layers=gpu_layers,
        threads=threads,
        n_ctx=max(options.n_ctx for options in sweep),
        max_batch=max(options.batch for options in sweep),
        prefix_cache=False,
        mmap=mmap,
        tuned=list(tuned.choices),
    )
    try:
        bench = _Bench(engine)
        if engine.info.gpu_layers:
            report(engine.info.placement)
        report("warming up")
        first = sweep[0]
        bench.run(min(max(first.n_prompt, 1), first.n_ctx - 1), [1])
        results = []
        for options in sweep:
            tests = [("prefill", options.n_prompt, bench.prefill), ("decode", options.n_gen, bench.decode)]
            for test, wanted, sample in tests:
                if not wanted:
                    continue
                samples = []
                for repetition in range(options.repetitions):
                    before_sample()
                    samples.append(sample(options))
                    report(f"{test} {repetition + 1}/{options.repetitions}: {samples[-1]:.2f} tokens/s")
                results.append(_result(test, options, samples, step_gigabytes))
        info = engine.info
        if explains:
            report(explain.report(engine, tuned.description, mmap))
    finally:
        engine.close()
    speeds = {result["test"]: result["tps"] for result in reversed(results)}
    return {
        "model": str(model),
        "device": info.device,
        "gpu_layers": info.gpu_layers,
        "threads": info.threads,
        "prefill_tps": speeds.get("prefill"),
        "decode_tps": speeds.get("decode"),
        "results": results,
    }


def _result(test: str, options: BenchOptions, samples: list[float], step_gigabytes: float) -> dict[str, Any]:
    """`tps` is the median. A step of decode reads every weight once, whatever the batch."""
    tps = median(samples)
    decode = test == "decode"
    return {
        "test": test,
        "n_prompt": 0 if decode else options.n_prompt,
        "n_gen": options.n_gen if decode else 0,
        "batch": options.batch,
        "depth": options.depth if decode else 0,
        "tps": tps,
        "samples": samples,
        "weight_gb_s": step_gigabytes * tps / options.batch if decode else None,
    }
