"""Which kernels a loaded model runs on, and why: what `--explain` prints."""

from __future__ import annotations

import os
from pathlib import Path

import msgspec

from llmcore import _core

__all__ = ["KernelUse", "kernel_uses", "report"]


class KernelUse(msgspec.Struct, frozen=True):
    """The kernel that one kind of operation gets, for some numbers of rows."""

    op: str
    format: str | None
    """Of the weights, or of the cache."""
    n: int
    """linear: weight rows; norm, glu: a row's length; otherwise 0."""
    k: int
    """linear, pack: columns; otherwise 0."""
    head_dim: int
    rows: tuple[int, int]
    """Of a step, first and last; a last of 0 stands for any number."""
    kernel: str
    reason: str
    """built-in (the cheapest by its own estimate), tuned (the fastest measured here) or forced (by name)."""
    ran: bool
    """Whether a step of so many rows has come."""

    @property
    def shape(self) -> str:
        if self.n and self.k:
            return f"{self.n} x {self.k}"
        return str(self.n or self.k or f"heads of {self.head_dim}")

    @property
    def rows_text(self) -> str:
        first, last = self.rows
        return "any" if last == 0 else str(first) if first == last else f"{first}-{last}"


def kernel_uses(core: _core.Engine) -> list[KernelUse]:
    """What has run so far, for all sizes of steps; empty on a device that is not the CPU."""
    return [msgspec.convert(use, KernelUse) for use in core.kernel_uses()]


def report(core: _core.Engine, tuning: str, mmap: bool) -> str:
    """The text of `--explain`. tuning: where measured choices came from, in words."""
    info = core.info
    uses = kernel_uses(core)
    cache = next((use.format for use in uses if use.op == "attention"), None)
    lines = [
        f"{info.device}, {info.threads} threads, instruction set {_core.machine()['isa_ceiling']}; "
        f"KV cache {cache or 'not used yet'}",
        info.placement,
        f"weights: {info.weight_bytes / 2**20:.0f} MB "
        + ("in the file's own pages" if mmap else f"in memory of this process, {_huge_pages()}"),
        f"choice of kernels: {tuning}",
    ]
    unused = _forced_names() - {use.kernel for use in uses if use.reason == "forced"}
    lines += [f"forced, but nothing here runs on it: {name}" for name in sorted(unused)]
    return "\n".join([*lines, *_table(uses)])


def _table(uses: list[KernelUse]) -> list[str]:
    heads = ("operation", "format", "shape", "rows", "kernel", "why", "ran")
    rows = [
        (
            *(use.op, use.format or "", use.shape, use.rows_text, use.kernel, use.reason),
            "yes" if use.ran else "no",
        )
        for use in uses
    ]
    widths = [max(map(len, column)) for column in zip(heads, *rows, strict=True)]
    return [
        "  ".join(f"{cell:{width}}" for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in [heads, *rows]
    ]


def _forced_names() -> set[str]:
    return {name for name in os.environ.get("LLMCORE_KERNEL", "").split(",") if name}


def _huge_pages() -> str:
    """How much of this process's memory the system has put on huge pages."""
    try:
        lines = Path("/proc/self/smaps_rollup").read_text(encoding="ascii").splitlines()
    except OSError:
        return "huge pages unknown"
    kilobytes = {
        name: int(value.split()[0]) for name, _, value in (line.partition(":") for line in lines[1:])
    }
    huge, anonymous = kilobytes.get("AnonHugePages", 0), kilobytes.get("Anonymous", 0)
    return f"huge pages hold {huge / 1024:.0f} of {anonymous / 1024:.0f} MB"
