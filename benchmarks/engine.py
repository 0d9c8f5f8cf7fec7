"""One model through the engine that serves: prefill, decode, and decode of 1 to 32 sequences at once.

    python -m benchmarks.engine MODEL [-p 512] [-n 32] [-b 1 -b 8] [--json FILE] [--plot FILE.svg]

Nothing is timed before the engine's output was checked (`benchmarks.sanity`). The memory's read bandwidth is
measured before every sample; a step of decode reads every weight once, so bandwidth over weights bounds the
steps a second, and a figure above the bound is void.
"""

import argparse
import json
import os
import sys
from pathlib import Path
from typing import Any

from benchmarks import plots
from benchmarks.peak import read_bandwidth
from benchmarks.report import heading
from benchmarks.sanity import check
from llmcore import _core
from llmcore.tools.speed import BenchOptions, measure_all

_BATCHES = (1, 2, 4, 8, 16, 32)


def measure(options: argparse.Namespace) -> dict[str, Any]:
    """The report that --json writes: `llmcore bench`'s results with each one's share of the bandwidth."""
    check(options.model, options.threads)
    load = os.getloadavg()[0]
    batches = options.batch or _BATCHES
    sweep = [
        # One prompt is enough to know prefill: it fills a step's rows by itself.
        BenchOptions(
            options.n_prompt if index == 0 else 0, options.n_gen, batch, options.depth, options.repetitions
        )
        for index, batch in enumerate(batches)
    ]
    sweeps: list[float] = []
    outcome = measure_all(
        options.model,
        sweep,
        threads=options.threads,
        device="cpu",
        report=lambda line: print(line, file=sys.stderr),
        explains=options.explain,
        before_sample=lambda: sweeps.append(read_bandwidth(options.threads)),
    )
    bandwidth = max(sweeps)
    for result in outcome["results"]:
        read = result["weight_gb_s"]
        result["percent_of_bandwidth"] = None if read is None else 100 * read / bandwidth
        result["void"] = read is not None and read > bandwidth
    return {
        **outcome,
        "model": options.model.name,
        **heading(),
        "load_before": load,
        "bandwidth_gb_s": bandwidth,
        "bandwidth_samples": sweeps,
    }


def markdown(report: dict[str, Any]) -> str:
    """The table people read."""
    lines = [
        f"{report['model']}, {report['cpu']} ({report['isa']}), {report['threads']} threads; memory read at "
        f"{report['bandwidth_gb_s']:.1f} GB/s",
        "",
        "| test | sequences | tok/s | a sequence | weights GB/s | of bandwidth |",
        "|---|---|---|---|---|---|",
    ]
    for result in report["results"]:
        what = (
            f"prefill of {result['n_prompt']}"
            if result["test"] == "prefill"
            else f"decode at {result['depth']}"
        )
        weights = "" if result["weight_gb_s"] is None else f"{result['weight_gb_s']:.1f}"
        share = result["percent_of_bandwidth"]
        of_bandwidth = "" if share is None else f"{share:.0f} %" + (" (void)" if result["void"] else "")
        speeds = f"{result['tps']:.1f} | {result['tps'] / result['batch']:.1f}"
        lines.append(f"| {what} | {result['batch']} | {speeds} | {weights} | {of_bandwidth} |")
    return "\n".join(lines) + "\n"


def plot(report: dict[str, Any], path: Path) -> None:
    """Tokens a second over sequences, below what the bandwidth allows."""
    decode = [result for result in report["results"] if result["test"] == "decode"]
    figure, axes = plots.axes_of_a_figure()
    batches = [result["batch"] for result in decode]
    limits = [result["tps"] * report["bandwidth_gb_s"] / result["weight_gb_s"] for result in decode]
    axes.plot(batches, limits, "--", label="weights at the memory's bandwidth", lw=1)
    axes.plot(batches, [result["tps"] for result in decode], "o-", label="decode")
    for result in report["results"]:
        if result["test"] == "prefill":
            axes.axhline(result["tps"], color="gray", lw=1, label=f"prefill of {result['n_prompt']}")
    axes.set(xscale="log", yscale="log", xlabel="sequences at once", ylabel="tokens/s", title=report["model"])
    axes.set_xticks(batches, [str(batch) for batch in batches])
    axes.set_xticks([], minor=True)
    axes.legend()
    plots.save(figure, path)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("model", type=Path)
    parser.add_argument("-p", "--n-prompt", type=int, default=512, help="0: no prefill")
    parser.add_argument("-n", "--n-gen", type=int, default=32)
    parser.add_argument("-b", "--batch", type=int, action="append", help="sequences; may be repeated")
    parser.add_argument("-d", "--depth", type=int, default=0, help="tokens cached before decoding")
    parser.add_argument("-t", "--threads", type=int, default=_core.machine()["processors"])
    parser.add_argument("-r", "--repetitions", type=int, default=3)
    parser.add_argument("--explain", action="store_true", help="print the kernels that ran")
    parser.add_argument("--json", type=Path, help="write figures and all samples here")
    parser.add_argument("--markdown", type=Path, help="write the table here too")
    parser.add_argument("--plot", type=Path, help="draw here (.svg, .png)")
    options = parser.parse_args()
    report = measure(options)
    table = markdown(report)
    print(table, end="")
    if options.json:
        options.json.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
    if options.markdown:
        options.markdown.write_text(table, encoding="utf-8")
    if options.plot:
        plot(report, options.plot)
    return 1 if any(result["void"] for result in report["results"]) else 0


if __name__ == "__main__":
    sys.exit(main())
