"""Values that the command line takes as people write them: sizes and rates."""

from __future__ import annotations

import re

import click

_UNITS = {"": 1, "K": 1 << 10, "M": 1 << 20, "G": 1 << 30, "T": 1 << 40}
_SECONDS = {"second": 1, "minute": 60, "hour": 3600, "day": 86400}


def byte_size(value: str) -> int:
    """Return the bytes of ``8GB``, ``512MB``, ``1.5GiB`` or a number; 1 GB is 2**30, as everywhere in the
    API. Raises `click.BadParameter`."""
    found = re.fullmatch(r"\s*(\d{1,15}(?:\.\d{1,9})?)\s*([KMGT]?)(?:i?B)?\s*", value, re.IGNORECASE)
    size = 0 if found is None else int(float(found[1]) * _UNITS[found[2].upper()])
    if not 0 < size < 1 << 60:
        raise click.BadParameter(f"'{value}' is not a size such as 8GB")
    return size


def rate(value: str) -> tuple[int, int]:
    """Return the number and the seconds of ``100/minute``; also a second, hour or day. Raises
    `click.BadParameter`."""
    found = re.fullmatch(r"\s*(\d{1,12})\s*(?:/|per)\s*(second|minute|hour|day)\s*", value, re.IGNORECASE)
    if found is None or int(found[1]) < 1:
        raise click.BadParameter(f"'{value}' is not a rate such as 100/minute")
    return int(found[1]), _SECONDS[found[2].lower()]


def lifetime(value: str) -> int:
    """Return the seconds of ``90d``, ``12h`` or ``30m``. Raises `click.BadParameter`."""
    found = re.fullmatch(r"\s*(\d{1,6})\s*([mhd])\s*", value, re.IGNORECASE)
    if found is None or int(found[1]) < 1:
        raise click.BadParameter(f"'{value}' is not a time such as 90d")
    return int(found[1]) * {"m": 60, "h": 3600, "d": 86400}[found[2].lower()]
