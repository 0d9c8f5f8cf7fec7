"""Whether GPU kernels keep to their registers: none takes or spills more than the committed baseline says.

    python tests/native/cuda_registers.py build.log [--write]

build.log: what a build with -DLLMCORE_CUDA_RESOURCES=ON printed. --write makes it the baseline. Kernels are
compared for the architectures that the log has, if the compiler is the baseline's.
"""

from __future__ import annotations

import argparse
import re
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

BASELINE = Path(__file__).with_name("cuda_registers.tsv")


class Use(NamedTuple):
    """What a thread of a kernel takes."""

    registers: int
    spilled: int
    """Bytes of registers' contents that are stored and loaded."""

    def __str__(self) -> str:
        return f"{self.registers} spilling {self.spilled}" if self.spilled else str(self.registers)


Uses = dict[tuple[str, str], Use]
"""By kernel and architecture."""

_ENTRY = re.compile(r"Compiling entry function '(\w+)' for '(\w+)'")
_SPILLS = re.compile(r"(\d+) bytes spill stores, (\d+) bytes spill loads")
_USED = re.compile(r"Used (\d+) registers")
_UNNAMED = re.compile(r"\d+_GLOBAL__N__[0-9a-f]{8}_\d+_(\w+?)_cu_[0-9a-f]{8}")
"""The anonymous namespace of a file, which nvcc names after the file and its contents."""


def read_log(text: str) -> Uses:
    """Return what the log tells, by names that say the file and stay when it changes."""
    uses: Uses = {}
    entry, spilled = None, 0
    for line in text.splitlines():
        if found := _ENTRY.search(line):
            entry = (found[1], found[2])
        elif found := _SPILLS.search(line):
            spilled = int(found[1]) + int(found[2])
        elif entry and (found := _USED.search(line)):
            uses[entry] = Use(int(found[1]), spilled)
            entry = None
    names = _readable(sorted({kernel for kernel, _ in uses}))
    return {(names[kernel], arch): use for (kernel, arch), use in uses.items()}


def _readable(mangled: list[str]) -> dict[str, str]:
    standard = "\n".join(_UNNAMED.sub("12_GLOBAL__N_1", name) for name in mangled)
    told = subprocess.run(["c++filt", "-p"], input=standard, capture_output=True, text=True, check=True)
    names = {}
    for name, plain in zip(mangled, told.stdout.splitlines(), strict=True):
        file = _UNNAMED.search(name)
        short = plain.replace("llmcore::cuda::", "").replace("(anonymous namespace)::", "")
        names[name] = f"{file[1]}: {short}" if file else short
    return names


def compiler() -> str:
    """The release of nvcc."""
    told = subprocess.run(["nvcc", "--version"], capture_output=True, text=True, check=True).stdout
    release = re.search(r"release (\S+),", told)
    assert release is not None, told
    return release[1]


def write_baseline(nvcc: str, uses: Uses) -> None:
    """A line a kernel, a column an architecture."""
    archs = sorted({arch for _, arch in uses})
    lines = ["\t".join([f"nvcc {nvcc}", *archs])]
    for name in sorted({name for name, _ in uses}):
        lines.append("\t".join([name, *(str(uses.get((name, arch), "")) for arch in archs)]))
    BASELINE.write_text("\n".join(lines) + "\n", encoding="utf-8")


def read_baseline() -> tuple[str, Uses]:
    """Return the compiler's release, and what `write_baseline` wrote."""
    head, *rows = [line.split("\t") for line in BASELINE.read_text(encoding="utf-8").splitlines()]
    uses: Uses = {}
    for name, *cells in rows:
        for arch, cell in zip(head[1:], cells, strict=True):
            if cell:
                registers, _, spilled = cell.partition(" spilling ")
                uses[name, arch] = Use(int(registers), int(spilled or 0))
    return head[0].removeprefix("nvcc "), uses


def complaints(found: Uses, baseline: Uses) -> list[str]:
    """What takes more than the baseline says, or is not in both."""
    archs = {arch for _, arch in found}
    told = []
    for key in sorted({*found, *(key for key in baseline if key[1] in archs)}):
        now, before = found.get(key), baseline.get(key)
        if now is None or before is None or now.registers > before.registers or now.spilled > before.spilled:
            told.append(f"{' for '.join(key)}: {now or 'not built'}; in the baseline {before or 'missing'}")
    return told


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("log", type=Path)
    parser.add_argument("--write", action="store_true")
    arguments = parser.parse_args()
    found = read_log(arguments.log.read_text(encoding="utf-8"))
    if not found:
        raise SystemExit(f"{arguments.log} tells of no kernels; was it built with LLMCORE_CUDA_RESOURCES?")
    nvcc, baseline = read_baseline()
    if arguments.write:
        if missing := {arch for _, arch in baseline} - {arch for _, arch in found}:
            raise SystemExit(f"nothing written: the log has no kernels for {', '.join(sorted(missing))}")
        write_baseline(compiler(), found)
        nvcc, baseline = read_baseline()
    if nvcc != compiler():
        print(f"kernels' registers not compared: nvcc is {compiler()}, the baseline's {nvcc}")
        return 0
    wrong = complaints(found, baseline)
    print("\n".join(wrong) or f"{len(found)} kernels take no more registers than they did")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
