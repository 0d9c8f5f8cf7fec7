"""llmcore beside llama.cpp, and OpenVINO GenAI where it is installed, on one model.

    python -m benchmarks.compare MODEL --llama-bin FOLDER -p 512 -n 32 -t 2 -r 5
        [--batch 4 --batch 8 --batch 16] [--depth 4000] [--json FILE] [--markdown FILE] [--plot FILE.svg]

The programs take turns, a process a sample, and medians are compared. The memory's read bandwidth is measured
before every sample: decoding reads all weights once a step, so that a figure above it is void. Before
anything is timed, llmcore's own output is checked (`benchmarks.sanity`). --depth adds a prompt of so many
tokens and decoding behind it.
"""

import argparse
import json
import os
import sys
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks import plots
from benchmarks.peak import read_bandwidth
from benchmarks.peers import LlamaBatchedBench, LlamaBench, Llmcore, OpenVino, Peer, Test
from benchmarks.report import heading
from benchmarks.sanity import check
from llmcore.tokenizer import Tokenizer
from llmcore.tools.weight_bytes import decode_weight_bytes

_OURS = "llmcore"
_BATCH_DEPTH = 128  # tokens cached before several sequences decode


@dataclass(frozen=True)
class Row:
    """One test: each program's samples in tokens a second, and what llmcore's decoding took of the memory's
    bandwidth.
    """

    test: Test
    samples: dict[str, list[float]]
    weight_gb_s: float | None
    percent_of_bandwidth: float | None

    @property
    def medians(self) -> dict[str, float]:
        return {name: median(values) for name, values in self.samples.items()}

    @property
    def ratios(self) -> dict[str, float]:
        """llmcore's speed as a multiple of each other program's."""
        ours = self.medians[_OURS]
        return {name: ours / theirs for name, theirs in self.medians.items() if name != _OURS}

    @property
    def void(self) -> bool:
        """More than the memory can deliver was measured: the run is no measurement."""
        return self.percent_of_bandwidth is not None and self.percent_of_bandwidth > 100


def peers_for(options: argparse.Namespace) -> list[Peer]:
    """llmcore and what there is to compare it with."""
    model, threads = options.model, options.threads
    peers: list[Peer] = [Llmcore(model, threads)]
    if options.llama_bin:
        peers += [LlamaBench(options.llama_bin / "llama-bench", model, threads)]
        if (options.llama_bin / "llama-batched-bench").exists():
            peers += [LlamaBatchedBench(options.llama_bin / "llama-batched-bench", model, threads)]
    if options.openvino_python or (OpenVino.is_installed() and not options.no_openvino):
        python = str(options.openvino_python or sys.executable)
        openvino = OpenVino(model, threads, Tokenizer.from_gguf(model).vocab_size, python)
        if why := openvino.why_not():
            print(f"OpenVINO GenAI is left out, it cannot run this file: {why}", file=sys.stderr)
        else:
            peers.append(openvino)
    return peers


def tests_for(options: argparse.Namespace) -> list[Test]:
    """What the command line asks for."""
    tests = [Test("prefill", n_prompt=options.n_prompt), Test("decode", n_gen=options.n_gen)]
    tests += [
        Test("decode", n_gen=options.n_gen, batch=batch, depth=_BATCH_DEPTH) for batch in options.batch or ()
    ]
    if options.depth:
        tests += [
            Test("prefill", n_prompt=options.depth),
            Test("decode", n_gen=options.n_gen, depth=options.depth),
        ]
    return [test for test in tests if test.n_prompt or test.n_gen]


def measure(options: argparse.Namespace, peers: list[Peer]) -> tuple[list[Row], float]:
    """Alternates the programs, a bandwidth sweep before each sample; returns the rows and the best sweep in
    GB/s."""
    tests = tests_for(options)
    sweeps: list[float] = []
    samples: list[dict[str, list[float]]] = []
    for test in tests:
        runners = [peer for peer in peers if peer.supports(test)]
        found: dict[str, list[float]] = {peer.name: [] for peer in runners}
        for repetition in range(options.repetitions):
            for peer in runners if repetition % 2 == 0 else runners[::-1]:
                sweeps.append(read_bandwidth(options.threads))
                found[peer.name].append(peer.run(test))
                print(
                    f"{test.name}, {repetition + 1}/{options.repetitions}, {peer.name}: "
                    f"{found[peer.name][-1]:.2f}", file=sys.stderr,
                )  # fmt: skip
        samples.append(found)
    bandwidth = max(sweeps)
    step_gigabytes = decode_weight_bytes(options.model) / 1e9
    rows = []
    for test, found in zip(tests, samples, strict=True):
        read = step_gigabytes * median(found[_OURS]) / test.batch if test.kind == "decode" else None
        rows.append(Row(test, found, read, None if read is None else 100 * read / bandwidth))
    return rows, bandwidth


def markdown(options: argparse.Namespace, rows: list[Row], bandwidth: float) -> str:
    """The table people read."""
    others = sorted({name for row in rows for name in row.samples} - {_OURS})
    heads = [
        "test",
        "llmcore",
        *(head for name in others for head in (name, "ratio")),
        "weights GB/s",
        "of bandwidth",
    ]
    lines = [
        f"{options.model.name}, {options.threads} threads, tokens a second, median of {options.repetitions}; "
        f"memory read at {bandwidth:.1f} GB/s",
        "",
        f"| {' | '.join(heads)} |",
        f"|{'---|' * len(heads)}",
    ]
    for row in rows:
        cells = [row.test.name, f"{row.medians[_OURS]:.1f}"]
        for name in others:
            has = name in row.samples
            cells += [f"{row.medians[name]:.1f}", f"{row.ratios[name]:.2f}"] if has else ["", ""]
        cells.append("" if row.weight_gb_s is None else f"{row.weight_gb_s:.1f}")
        share = "" if row.percent_of_bandwidth is None else f"{row.percent_of_bandwidth:.0f} %"
        cells.append(share + (" (void)" if row.void else ""))
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def plot(title: str, rows: list[Row], path: Path) -> None:
    """Bars: each program's speed in each test, of llmcore's."""
    names = list(dict.fromkeys(name for row in rows for name in row.samples))
    figure, axes = plots.axes_of_a_figure(2 + 1.6 * len(rows), 5)
    width = 0.8 / len(names)
    for place, name in enumerate(names):
        at = [index + place * width for index, row in enumerate(rows) if name in row.samples]
        of_ours = [row.medians[name] / row.medians[_OURS] for row in rows if name in row.samples]
        bars = axes.bar(at, of_ours, width, label=name)
        axes.bar_label(
            bars, [f"{row.medians[name]:.0f}" for row in rows if name in row.samples], fontsize="small"
        )
    axes.set_xticks([index + 0.4 - width / 2 for index in range(len(rows))], [row.test.name for row in rows])
    axes.tick_params(axis="x", labelrotation=20)
    axes.margins(y=0.1)
    axes.set(ylabel="speed, of llmcore's (figures: tokens/s)", title=title)
    axes.legend(loc="upper left", bbox_to_anchor=(1, 1))
    plots.save(figure, path)


def report_of(options: argparse.Namespace, rows: list[Row], bandwidth: float, load: float) -> dict[str, Any]:
    """What --json writes."""
    return {
        "model": options.model.name,
        **heading(),
        "threads": options.threads,
        "load_before": load,
        "bandwidth_gb_s": bandwidth,
        "rows": [
            {
                **asdict(row), "name": row.test.name, "medians": row.medians, "ratios": row.ratios,
                "void": row.void,
            }
            for row in rows
        ],
    }  # fmt: skip


def main() -> int:
    """Checks, measures and prints; 1 if a row is void."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("model", type=Path)
    parser.add_argument(
        "--llama-bin", type=Path, help="where llama.cpp's llama-bench and llama-batched-bench are"
    )
    parser.add_argument("--openvino-python", type=Path, help="an interpreter that has openvino_genai")
    parser.add_argument("--no-openvino", action="store_true", help="leave OpenVINO GenAI out")
    parser.add_argument("-p", "--n-prompt", type=int, default=512)
    parser.add_argument("-n", "--n-gen", type=int, default=32)
    parser.add_argument(
        "-b", "--batch", type=int, action="append", help="sequences that decode at once; may be repeated"
    )
    parser.add_argument(
        "-d", "--depth", type=int, default=0, help="also a prompt of so many tokens, and decoding behind it"
    )
    parser.add_argument("-t", "--threads", type=int, default=2)
    parser.add_argument("-r", "--repetitions", type=int, default=3)
    parser.add_argument("--json", type=Path, help="write the figures and all samples here")
    parser.add_argument("--markdown", type=Path, help="write the table here too")
    parser.add_argument("--plot", type=Path, help="draw here (.svg, .png)")
    options = parser.parse_args()
    load = os.getloadavg()[0]
    if load > 0.5:
        print(
            f"warning: the machine is busy (load {load:.1f}): these figures compare nothing", file=sys.stderr
        )
    peers = peers_for(options)
    if len(peers) == 1:
        parser.error("nothing to compare with: --llama-bin, or OpenVINO GenAI beside llmcore")
    check(options.model, options.threads)
    rows, bandwidth = measure(options, peers)
    table = markdown(options, rows, bandwidth)
    print(table, end="")
    if options.json:
        text = json.dumps(report_of(options, rows, bandwidth, load), indent=1)
        options.json.write_text(text + "\n", encoding="utf-8")
    if options.markdown:
        options.markdown.write_text(table, encoding="utf-8")
    if options.plot:
        plot(options.model.name, rows, options.plot)
    return 1 if any(row.void for row in rows) else 0


if __name__ == "__main__":
    sys.exit(main())
