"""llmcore beside llama.cpp on one model: runs alternate, medians are compared, the memory's limit is
measured too.

    python -m benchmarks.compare --llama-bench PATH MODEL -p 512 -n 32 -t 2 -r 3

Prints a Markdown table, and writes JSON with --json FILE. Before anything is timed, llmcore's own result is
checked: finite logits, and the same tokens from two fresh engines.
"""

import argparse
import json
import os
import subprocess
import sys
from dataclasses import asdict, dataclass
from datetime import datetime, timezone
from pathlib import Path
from statistics import median

import numpy as np

from benchmarks.peak import read_bandwidth
from llmcore import LLM, SamplingParams, _core
from llmcore.tools.weight_bytes import decode_weight_bytes

_CHECK_PROMPT = [1, *range(300, 340)]
_CHECK_TOKENS = 16


@dataclass(frozen=True)
class Row:
    """One test: medians in tokens a second, and what share of the memory's bandwidth llmcore's decoding
    took.
    """

    test: str
    llmcore: float
    llama_cpp: float
    ratio: float
    llmcore_samples: list[float]
    llama_cpp_samples: list[float]
    weight_gb_s: float | None = None
    percent_of_bandwidth: float | None = None

    @property
    def void(self) -> bool:
        """More than the memory can deliver was measured: the run is no measurement."""
        return self.percent_of_bandwidth is not None and self.percent_of_bandwidth > 100


def check(model: Path, threads: int) -> None:
    """Raises SystemExit unless two fresh engines agree on a greedy continuation and all logits are finite."""
    continuations = []
    for _ in range(2):
        with LLM(str(model), threads=threads, n_ctx=256, max_batch=1) as llm:
            if not np.isfinite(llm.logits(_CHECK_PROMPT)).all():
                raise SystemExit("llmcore's logits are not finite: nothing was timed")
            params = SamplingParams(max_tokens=_CHECK_TOKENS, temperature=0.0, ignore_eos=True)
            continuations.append(list(llm.generate([_CHECK_PROMPT], params)[0].token_ids))
    if continuations[0] != continuations[1] or len(continuations[0]) != _CHECK_TOKENS:
        raise SystemExit(f"llmcore's greedy tokens differ between two runs: {continuations}")


def run_llmcore(options: argparse.Namespace) -> dict[str, float]:
    """Tokens a second by test, from `llmcore bench`."""
    command = [sys.executable, "-m", "llmcore", "bench", str(options.model), "-r", "1", "--json"]
    command += ["-p", str(options.n_prompt), "-n", str(options.n_gen), "-t", str(options.threads)]
    report = json.loads(subprocess.run(command, stdout=subprocess.PIPE, check=True).stdout)
    return {result["test"]: result["tps"] for result in report["results"]}


def run_llama_bench(options: argparse.Namespace) -> dict[str, float]:
    """Tokens a second by test, from llama.cpp's llama-bench."""
    command = [str(options.llama_bench), "-m", str(options.model), "-r", "1", "-o", "json"]
    command += ["-p", str(options.n_prompt), "-n", str(options.n_gen), "-t", str(options.threads)]
    output = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, check=True).stdout
    return {"decode" if entry["n_gen"] else "prefill": entry["avg_ts"] for entry in json.loads(output)}


def measure(options: argparse.Namespace) -> tuple[list[Row], float]:
    """Alternates the two programs, a bandwidth sweep before each; returns the rows and the best sweep in
    GB/s.
    """
    samples: dict[str, list[dict[str, float]]] = {"llmcore": [], "llama.cpp": []}
    runners = [("llmcore", run_llmcore), ("llama.cpp", run_llama_bench)]
    sweeps = []
    for repetition in range(options.repetitions):
        for name, runner in runners if repetition % 2 == 0 else runners[::-1]:
            sweeps.append(read_bandwidth(options.threads))
            samples[name].append(runner(options))
            print(f"{repetition + 1}/{options.repetitions} {name}: {samples[name][-1]}", file=sys.stderr)
    bandwidth = max(sweeps)
    rows = []
    for test in ("prefill", "decode"):
        ours = [sample[test] for sample in samples["llmcore"] if test in sample]
        theirs = [sample[test] for sample in samples["llama.cpp"] if test in sample]
        if not ours or not theirs:
            continue
        weight_gb_s = decode_weight_bytes(options.model) * median(ours) / 1e9 if test == "decode" else None
        percent = None if weight_gb_s is None else 100 * weight_gb_s / bandwidth
        ratio = median(ours) / median(theirs)
        rows.append(Row(test, median(ours), median(theirs), ratio, ours, theirs, weight_gb_s, percent))
    return rows, bandwidth


def markdown(options: argparse.Namespace, rows: list[Row], bandwidth: float) -> str:
    """The table people read."""
    lines = [
        f"{options.model.name}, {options.threads} threads, {options.n_prompt} + {options.n_gen} tokens, "
        f"median of {options.repetitions}; memory read at {bandwidth:.1f} GB/s",
        "",
        "| test | llmcore tok/s | llama.cpp tok/s | ratio | weights GB/s | of bandwidth |",
        "|---|---|---|---|---|---|",
    ]
    for row in rows:
        weights = "" if row.weight_gb_s is None else f"{row.weight_gb_s:.1f}"
        share = "" if row.percent_of_bandwidth is None else f"{row.percent_of_bandwidth:.0f} %"
        share += " (void)" if row.void else ""
        speeds = f"{row.llmcore:.1f} | {row.llama_cpp:.1f} | {row.ratio:.2f}"
        lines.append(f"| {row.test} | {speeds} | {weights} | {share} |")
    return "\n".join(lines)


def main() -> None:
    """Checks, measures and prints."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("model", type=Path)
    parser.add_argument("--llama-bench", type=Path, required=True, help="llama.cpp's llama-bench")
    parser.add_argument("-p", "--n-prompt", type=int, default=512)
    parser.add_argument("-n", "--n-gen", type=int, default=32)
    parser.add_argument("-t", "--threads", type=int, default=2)
    parser.add_argument("-r", "--repetitions", type=int, default=3)
    parser.add_argument("--json", type=Path, help="write the figures and all samples here")
    options = parser.parse_args()
    load = os.getloadavg()[0]
    if load > 0.5:
        print(
            f"warning: the machine is busy (load {load:.1f}): these figures compare nothing", file=sys.stderr
        )
    check(options.model, options.threads)
    rows, bandwidth = measure(options)
    print(markdown(options, rows, bandwidth))
    if options.json:
        report = {
            "model": options.model.name,
            "cpu": _core.machine()["cpu"],
            "isa": _core.machine()["isa_ceiling"],
            "date": datetime.now(timezone.utc).date().isoformat(),
            "threads": options.threads,
            "n_prompt": options.n_prompt,
            "n_gen": options.n_gen,
            "load_before": load,
            "bandwidth_gb_s": bandwidth,
            "rows": [{**asdict(row), "void": row.void} for row in rows],
        }
        options.json.write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
