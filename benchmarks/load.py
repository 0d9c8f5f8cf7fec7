"""How long a model takes until it is ready, against reading its file.

    python -m benchmarks.load MODEL [-r 5] [-t 2] [--json FILE]

Cold: the file's pages are dropped from the system's cache (posix_fadvise) before each sample; warm: they are
there. Reading means one thread that reads the file from end to end into one buffer. Ready means that
`LLM(MODEL)` returns, in a fresh process whose imports do not count; the first token follows. Samples take
turns and medians count.
"""

import argparse
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from datetime import datetime, timezone
from pathlib import Path
from statistics import median
from typing import Any

from llmcore import _core

_BUFFER = 8 << 20


def drop_from_cache(path: Path) -> None:
    """Has the system forget the file's pages; they have to be written for that."""
    with path.open("rb") as file:
        os.fsync(file.fileno())
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def read_here(path: Path) -> dict[str, float]:
    """Seconds in all and of the processor's: one thread, one buffer, from end to end."""
    buffer = bytearray(_BUFFER)
    with path.open("rb", buffering=0) as file:
        start, worked = time.perf_counter(), time.process_time()
        while file.readinto(buffer):
            pass
        return {"ready": time.perf_counter() - start, "cpu": time.process_time() - worked}


def load_here(path: Path, threads: int, mmap: bool) -> dict[str, float]:
    """Seconds until the model is ready, of all threads' work until then, and until its first token."""
    from llmcore import LLM, SamplingParams  # noqa: PLC0415 - before the clock starts

    start, worked = time.perf_counter(), time.process_time()
    with LLM(path, device="cpu", threads=threads, max_batch=1, mmap=mmap) as llm:
        ready, cpu = time.perf_counter() - start, time.process_time() - worked
        llm.generate([[1]], SamplingParams(max_tokens=1, temperature=0.0, ignore_eos=True))
        return {"ready": ready, "cpu": cpu, "first_token": time.perf_counter() - start}


def load_elsewhere(path: Path, threads: int, mmap: bool) -> dict[str, float]:
    """`load_here` in a fresh process."""
    command = [sys.executable, "-m", "benchmarks.load", str(path), "-t", str(threads), "--here"]
    command += ["--mmap"] if mmap else []
    output = subprocess.run(command, stdout=subprocess.PIPE, check=True).stdout
    return {name: float(seconds) for name, seconds in json.loads(output).items()}


def measure(path: Path, threads: int, repetitions: int) -> dict[str, Any]:
    """Medians and samples, in seconds, by state of the cache."""
    ways: dict[str, Callable[[], dict[str, float]]] = {
        "read": lambda: read_here(path),
        "copied": lambda: load_elsewhere(path, threads, mmap=False),
        "mapped": lambda: load_elsewhere(path, threads, mmap=True),
    }
    results: dict[str, Any] = {}
    for state in ("cold", "warm"):
        samples: dict[str, list[dict[str, float]]] = {name: [] for name in ways}
        if state == "warm":
            read_here(path)
        for repetition in range(repetitions):
            names = list(ways) if repetition % 2 == 0 else list(ways)[::-1]
            for name in names:
                if state == "cold":
                    drop_from_cache(path)
                samples[name].append(ways[name]())
        read = median(sample["ready"] for sample in samples["read"])
        results[state] = {
            name: {
                "ready": median(sample["ready"] for sample in taken),
                "cpu": median(sample["cpu"] for sample in taken),
                "of_reading": median(sample["ready"] for sample in taken) / read,
                "samples": taken,
            }
            for name, taken in samples.items()
        }
    return results


def markdown(path: Path, results: dict[str, Any]) -> str:
    """The table people read."""
    lines = [
        f"{path.name}, {path.stat().st_size / 1e9:.2f} GB",
        "",
        "| cache | | seconds until ready | of reading the file | processor seconds | until the first token |",
        "|---|---|---|---|---|---|",
    ]
    for state, ways in results.items():
        for name, found in ways.items():
            firsts = [sample["first_token"] for sample in found["samples"] if "first_token" in sample]
            first = f"{median(firsts):.3f}" if firsts else ""
            figures = f"{found['ready']:.3f} | {found['of_reading']:.2f} | {found['cpu']:.3f} | {first}"
            lines.append(f"| {state} | {name} | {figures} |")
    return "\n".join(lines) + "\n"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("model", type=Path)
    parser.add_argument("-r", "--repetitions", type=int, default=3)
    parser.add_argument("-t", "--threads", type=int, default=_core.machine()["processors"])
    parser.add_argument("--json", type=Path, help="write the figures and all samples here")
    parser.add_argument("--mmap", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--here", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.here:
        print(json.dumps(load_here(options.model, options.threads, options.mmap)))
        return 0
    results = measure(options.model, options.threads, options.repetitions)
    print(markdown(options.model, results), end="")
    if options.json:
        report = {
            "model": options.model.name, "bytes": options.model.stat().st_size,
            "cpu": _core.machine()["cpu"], "threads": options.threads,
            "date": datetime.now(timezone.utc).date().isoformat(), "results": results,
        }  # fmt: skip
        options.json.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
