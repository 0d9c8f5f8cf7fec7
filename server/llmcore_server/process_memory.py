"""This process's memory and its limit, and sizes as the API writes them."""

from __future__ import annotations

import os
from pathlib import Path

_GB = 1024**3
_LIMIT_FILES = ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes")


def resident_bytes() -> int:
    """Return this process's resident set, in bytes; its peak where the system tells no more."""
    try:
        pages = int(Path("/proc/self/statm").read_text().split()[1])
        return pages * os.sysconf("SC_PAGE_SIZE")
    except (OSError, ValueError, IndexError):
        import resource  # noqa: PLC0415 - a fallback, not on every platform
        import sys  # noqa: PLC0415

        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return peak if sys.platform == "darwin" else peak * 1024


def limit_bytes() -> int:
    """Return what this process may use at most: the container's limit or the machine's memory, in bytes."""
    total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    for name in _LIMIT_FILES:
        try:
            return min(total, int(Path(name).read_text()))
        except (OSError, ValueError):
            continue
    return total


def gigabytes(size: int) -> str:
    """Format bytes as the specification does: ``"2.1GB"``, ``"8GB"``; 1 GB is 2**30 bytes."""
    return f"{size / _GB:.1f}".removesuffix(".0") + "GB"


def readable_size(size: int) -> str:
    """Format bytes in GB, or in MB or KB where that says nothing: ``"4.2GB"``, ``"1.1MB"``, ``"0GB"``."""
    if 0 < size < 0.1 * 1024**2:
        return f"{size / 1024:.1f}".removesuffix(".0") + "KB"
    if 0 < size < 0.1 * _GB:
        return f"{size / 1024**2:.1f}".removesuffix(".0") + "MB"
    return gigabytes(size)
