"""More than 10,000 damaged files: each opens and can be read whole, or is GGUFError. Never a crash."""

from __future__ import annotations

import random
import struct
from collections.abc import Callable, Iterator

import pytest

from llmcore._core import GGUFFile
from llmcore.errors import GGUFError

EXTREMES = [0, 1, 2, 7, 8, 31, 33, 255, 2**15, 2**16, 2**31 - 1, 2**31, 2**32 - 1, 2**32]
EXTREMES += [2**61, 2**62, 2**63 - 1, 2**63, 2**64 - 64, 2**64 - 32, 2**64 - 1]


def truncations(data: bytes) -> Iterator[bytes]:
    for size in range(len(data)):
        yield data[:size]


def bit_flips(data: bytes) -> Iterator[bytes]:
    for bit in range(8 * len(data)):
        flipped = bytearray(data)
        flipped[bit // 8] ^= 1 << bit % 8
        yield bytes(flipped)


def lies(data: bytes) -> Iterator[bytes]:
    """Counts, lengths, offsets, types: at every place, an extreme number of 4 and of 8 bytes."""
    for at in range(4, len(data) - 8):
        for number in EXTREMES:
            yield data[:at] + struct.pack("<Q", number) + data[at + 8 :]
        yield data[:at] + struct.pack("<I", 0xFFFFFFFF) + data[at + 4 :]


def splices(data: bytes) -> Iterator[bytes]:
    """Pieces of the file moved, doubled, dropped or replaced by noise."""
    rng = random.Random(20)
    for _ in range(4000):
        mutated = bytearray(data)
        for _ in range(rng.randint(1, 4)):
            start, target = rng.randrange(len(mutated)), rng.randrange(len(mutated))
            size = rng.randint(0, 24)
            piece = rng.choice([mutated[start : start + size], rng.randbytes(size), b""])
            mutated[target : target + rng.choice([0, size, len(piece)])] = piece
            if not mutated:
                mutated = bytearray(data)
        yield bytes(mutated)


def read_whole(data: bytes) -> int:
    """Reads every value and every tensor byte; the number of bytes of tensors."""
    file = GGUFFile.from_bytes(data)
    assert len(file.metadata) == len(file.keys())
    total = 0
    for info in file.tensors:
        repr(info)
        total += len(file.tensor_bytes(info.name).tobytes())
    assert total <= len(data)
    return total


MUTATIONS = [(truncations, 500), (bit_flips, 5000), (lies, 10000), (splices, 4000)]


@pytest.mark.parametrize(("mutate", "least"), MUTATIONS)
def test_mutations(mutate: Callable[[bytes], Iterator[bytes]], least: int, sample: bytes) -> None:
    opened, refusals = 0, []
    for data in mutate(sample):
        try:
            read_whole(data)
            opened += 1
        except GGUFError as error:
            refusals.append(str(error))
    assert opened + len(refusals) >= least
    assert all(message.startswith("[gguf] <memory>") for message in refusals)
    # Damage to a name or to data goes unseen, damage to the structure must not.
    assert len(refusals) > 100
