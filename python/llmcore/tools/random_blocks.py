"""Random weights made directly in a tensor format: scales and random codes, nothing to quantize.

Block layouts: the GGUF format (ggml's `ggml-common.h`). Values have zero mean and the spread that is asked
for.
"""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache

import numpy as np
import numpy.typing as npt
from gguf import GGML_QUANT_SIZES
from gguf import GGMLQuantizationType as Type
from gguf.quants import dequantize

Bytes = npt.NDArray[np.uint8]

_CHUNK_BYTES = 8 << 20
_POOL = 1 << 14  # patterns of packed sub-block scales that blocks draw from
_CALIBRATION_BLOCKS = 4096


@dataclass(frozen=True)
class _Recipe:
    """Where a block keeps its scale `d` and offset `m`; everything else is random bytes.

    `m_per_d`: the ratio that centres the values on zero. `signed`: codes are lopsided, so half the scales are
    negative. `sub_scales`: offset of the packed sub-block scales and what makes `n` of them. `codes` makes
    random blocks valid, in place, where not every byte is.
    """

    d_at: int
    m_at: int | None = None
    m_per_d: float = 0.0
    signed: bool = False
    sub_scales: tuple[int, Callable[[np.random.Generator, int], Bytes]] | None = None
    codes: Callable[[Bytes], None] | None = None


def _pack_six_bit_scales_and_mins(rng: np.random.Generator, n: int) -> Bytes:
    """Eight 6-bit scales and eight 6-bit mins close to them, as Q4_K and Q5_K pack them into 12 bytes."""
    scales = rng.integers(32, 61, (n, 8), dtype=np.uint8)
    mins = (scales.astype(np.int16) + rng.integers(-3, 4, (n, 8))).astype(np.uint8)
    low_s, high_s, low_m, high_m = scales[:, :4], scales[:, 4:], mins[:, :4], mins[:, 4:]
    return np.concatenate(
        [low_s | (high_s >> 4 << 6), low_m | (high_m >> 4 << 6), (high_s & 15) | (high_m & 15) << 4], axis=1
    )


def _pack_four_bit_scales_and_mins(rng: np.random.Generator, n: int) -> Bytes:
    """Sixteen bytes of a 4-bit scale and a 4-bit min close to it, as Q2_K packs them."""
    scales = rng.integers(8, 15, (n, 16), dtype=np.uint8)
    mins = (scales.astype(np.int16) + rng.integers(-1, 2, (n, 16))).astype(np.uint8)
    packed: Bytes = scales | (mins << np.uint8(4))
    return packed


def _signed_scales(rng: np.random.Generator, n: int) -> Bytes:
    """Sixteen int8 scales of either sign, as Q6_K has them."""
    magnitudes = rng.integers(64, 128, (n, 16)).astype(np.int8)
    signed: npt.NDArray[np.int8] = magnitudes * rng.choice(np.array([-1, 1], np.int8), (n, 16))
    return signed.view(np.uint8)


def _no_lowest_code(blocks: Bytes) -> None:
    """Q8_0 codes are -127 to 127."""
    codes = blocks[:, 2:].view(np.int8)
    np.maximum(codes, -127, out=codes)


def _only_trits(blocks: Bytes) -> None:
    """TQ2_0's two bits are 0, 1 or 2: a 3 becomes 1."""
    threes = blocks & (blocks >> np.uint8(1)) & np.uint8(0x55)
    blocks &= ~(threes << np.uint8(1))


_RECIPES = {
    Type.Q4_0: _Recipe(0, signed=True),
    Type.Q4_1: _Recipe(0, 2, -7.5),
    Type.Q5_0: _Recipe(0, signed=True),
    Type.Q5_1: _Recipe(0, 2, -15.5),
    Type.Q8_0: _Recipe(0, codes=_no_lowest_code),
    Type.Q2_K: _Recipe(80, 82, 1.5, sub_scales=(0, _pack_four_bit_scales_and_mins)),
    Type.Q3_K: _Recipe(108, signed=True),
    Type.Q4_K: _Recipe(0, 2, 7.5, sub_scales=(4, _pack_six_bit_scales_and_mins)),
    Type.Q5_K: _Recipe(0, 2, 15.5, sub_scales=(4, _pack_six_bit_scales_and_mins)),
    Type.Q6_K: _Recipe(208, signed=True, sub_scales=(192, _signed_scales)),
    Type.IQ4_NL: _Recipe(0, signed=True),
    Type.IQ4_XS: _Recipe(0, signed=True),
    Type.IQ1_S: _Recipe(0, signed=True),
    Type.IQ2_XXS: _Recipe(0),
    Type.IQ2_XS: _Recipe(0),
    Type.IQ2_S: _Recipe(0),
    Type.IQ3_XXS: _Recipe(0),
    Type.IQ3_S: _Recipe(0),
    Type.TQ1_0: _Recipe(52),
    Type.TQ2_0: _Recipe(64, codes=_only_trits),
}


@cache
def _scale_pool(qtype: Type) -> Bytes:
    sub_scales = _RECIPES[qtype].sub_scales
    if sub_scales is None:
        raise ValueError(f"{qtype.name} has no packed scales")
    return sub_scales[1](np.random.Generator(np.random.SFC64(int(qtype))), _POOL)


def _random_bytes(rng: np.random.Generator, n: int) -> Bytes:
    words: npt.NDArray[np.uint64] = rng.bit_generator.random_raw((n + 7) // 8)
    return words.view(np.uint8)[:n]


def _scales(rng: np.random.Generator, n: int, unit: float, signed: bool) -> npt.NDArray[np.float32]:
    """Scales within a quarter of `unit`; of either sign if `signed`."""
    scales = rng.random(n, dtype=np.float32)
    scales -= np.float32(0.5)
    signs = np.sign(scales) if signed else None
    if signs is not None:
        scales = np.abs(scales) * np.float32(2) - np.float32(0.5)
    scales *= np.float32(0.5 * unit)
    scales += np.float32(unit)
    if signs is not None:
        scales *= signs
    return scales


def _set_powers_of_two(rng: np.random.Generator, blocks: Bytes, unit: float) -> None:
    """MXFP4's first byte is an exponent: the two powers around `unit`, mixed to its mean square."""
    exponent = math.floor(math.log2(unit))
    share = ((unit / 2.0**exponent) ** 2 - 1.0) / 3.0
    blocks[:, 0] = 127 + exponent + (rng.random(len(blocks)) < share)


def _scatter_scales(halves: npt.NDArray[np.float16], blocks: Bytes) -> None:
    """IQ1_M keeps its scale in the upper four bits of the last four 16-bit words."""
    nibbles = halves.view(np.uint16)[:, None] >> np.array([0, 4, 8, 12], np.uint16) & np.uint16(15)
    words = blocks[:, 48:].view("<u2")
    words &= np.uint16(0x0FFF)
    words |= nibbles << np.uint16(12)


def _blocks(rng: np.random.Generator, qtype: Type, n: int, unit: float) -> Bytes:
    """`n` blocks whose scales are around `unit`, (n, block bytes)."""
    size = GGML_QUANT_SIZES[qtype][1]
    blocks = _random_bytes(rng, n * size).reshape(n, size)
    if qtype is Type.MXFP4:
        _set_powers_of_two(rng, blocks, unit)
        return blocks
    if qtype is Type.IQ1_M:
        _scatter_scales(_scales(rng, n, unit, signed=True).astype("<f2"), blocks)
        return blocks
    recipe = _RECIPES[qtype]
    if recipe.codes is not None:
        recipe.codes(blocks)
    if recipe.sub_scales is not None:
        pool, at = _scale_pool(qtype), recipe.sub_scales[0]
        blocks[:, at : at + pool.shape[1]] = pool[rng.integers(0, _POOL, n, dtype=np.uint16)]
    halves = _scales(rng, n, unit, recipe.signed).astype("<f2")
    blocks[:, recipe.d_at : recipe.d_at + 2] = halves.view(np.uint8).reshape(n, 2)
    if recipe.m_at is not None:
        offsets = (halves.astype(np.float32) * np.float32(recipe.m_per_d)).astype("<f2")
        blocks[:, recipe.m_at : recipe.m_at + 2] = offsets.view(np.uint8).reshape(n, 2)
    return blocks


@cache
def _deviation_of_unit_scale(qtype: Type) -> float:
    rng = np.random.Generator(np.random.SFC64(int(qtype)))
    return float(dequantize(_blocks(rng, qtype, _CALIBRATION_BLOCKS, 1.0), qtype).std(dtype=np.float64))


def _plain_values(rng: np.random.Generator, qtype: Type, n: int, deviation: float) -> Bytes:
    values = rng.random(n, dtype=np.float32)
    values -= np.float32(0.5)
    values *= np.float32(deviation * 12**0.5)
    if qtype is Type.F32:
        return values.view(np.uint8)
    if qtype is Type.F16:
        return values.astype("<f2").view(np.uint8)
    return (values.view(np.uint32) >> 16).astype("<u2").view(np.uint8)  # BF16, truncated


def random_weights(rng: np.random.Generator, qtype: Type, n: int, deviation: float) -> Iterator[Bytes]:
    """Yields the bytes of `n` random weights (a multiple of a block's elements) in chunks of some megabytes.

    The weights have zero mean and the standard deviation `deviation`, uniform codes, and scales that vary
    by a quarter.
    """
    elements, size = GGML_QUANT_SIZES[qtype]
    remaining, per_chunk = n // elements, _CHUNK_BYTES // size
    while remaining > 0:
        count = min(remaining, per_chunk)
        if elements > 1:
            yield _blocks(rng, qtype, count, deviation / _deviation_of_unit_scale(qtype)).reshape(-1)
        else:
            yield _plain_values(rng, qtype, count, deviation)
        remaining -= count
