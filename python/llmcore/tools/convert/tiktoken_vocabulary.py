"""Vocabularies in tiktoken's text format, a line a token: its bytes in base64 and its rank.

The merges that GGUF files list follow from the ranks: a token is what its bytes become under the merges of
lower rank, one step earlier.
"""

from __future__ import annotations

import base64
import binascii
from pathlib import Path

from llmcore.tools.convert.errors import unusable
from llmcore.tools.convert.json_file import read_text

_LONGEST = 1024  # the longest tokens in use are runs of 128 spaces


def is_tiktoken(path: Path) -> bool:
    """Whether a file is in this format, by its first line."""
    with path.open("rb") as file:
        line = file.readline(4 * _LONGEST)
    parts = line.split()
    if len(parts) != 2 or not parts[1].isdigit():
        return False
    try:
        return bool(base64.b64decode(parts[0], validate=True))
    except binascii.Error:
        return False


def read_ranks(path: Path) -> dict[bytes, int]:
    """Ranks by token. Raises ModelError for a damaged file, and for ranks that are not 0, 1, 2 and so on."""
    ranks: dict[bytes, int] = {}
    for number, line in enumerate(read_text(path).splitlines(), 1):
        if not line:
            continue
        try:
            text, rank = line.split()
            token = base64.b64decode(text, validate=True)
            ranks[token] = int(rank)
        except ValueError as error:
            raise unusable(f"line {number} of {path.name}", repr(line[:60]), "base64 and a rank") from error
        if not 1 <= len(token) <= _LONGEST:
            raise unusable(
                f"token in line {number} of {path.name}", f"{len(token)} bytes", f"1 to {_LONGEST}"
            )
    if sorted(ranks.values()) != list(range(len(ranks))):
        raise unusable(f"ranks of {path.name}", f"{len(ranks)} tokens", "each rank once, from 0 on")
    return ranks


def merges_of(ranks: dict[bytes, int]) -> list[tuple[bytes, bytes]]:
    """The two parts each longer token is merged from, in order of rank."""
    merges = []
    for token, rank in sorted(ranks.items(), key=lambda entry: entry[1]):
        if len(token) > 1 and len(parts := _parts(token, rank, ranks)) == 2:
            merges.append((parts[0], parts[1]))
    return merges


def _parts(token: bytes, below: int, ranks: dict[bytes, int]) -> list[bytes]:
    """What a token's bytes are merged into by all merges of rank lower than `below`."""
    parts = [token[i : i + 1] for i in range(len(token))]
    while len(parts) > 2:
        candidates = [ranks.get(parts[i] + parts[i + 1], below) for i in range(len(parts) - 1)]
        best = min(candidates)
        if best >= below:
            break
        i = candidates.index(best)
        parts[i : i + 2] = [parts[i] + parts[i + 1]]
    return parts


def _printable_bytes() -> list[str]:
    """GPT-2's alphabet: bytes that print stand for themselves, the others for characters from 256 on."""
    kept = {*range(ord("!"), ord("~") + 1), *range(0xA1, 0xAD), *range(0xAE, 0x100)}
    others = iter(range(256, 512))
    return [chr(byte) if byte in kept else chr(next(others)) for byte in range(256)]


_ALPHABET = _printable_bytes()


def spelled(token: bytes) -> str:
    """A token in the alphabet of byte-level vocabularies."""
    return "".join(_ALPHABET[byte] for byte in token)
