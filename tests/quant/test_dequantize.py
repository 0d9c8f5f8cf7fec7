"""Scalar dequantization, bit for bit against the gguf package's reference."""

import numpy as np
import pytest
from gguf import GGML_QUANT_SIZES, GGMLQuantizationType
from gguf.quants import dequantize as reference_dequantize

from llmcore import _core
from llmcore.errors import InvalidArgumentError, ModelError

DEQUANTIZABLE = [
    "F32", "F16", "BF16", "Q4_0", "Q4_1", "Q5_0", "Q5_1", "Q8_0",
    "Q2_K", "Q3_K", "Q4_K", "Q5_K", "Q6_K", "IQ4_NL", "IQ4_XS",
    "IQ1_S", "IQ1_M", "IQ2_XXS", "IQ2_XS", "IQ2_S", "IQ3_XXS", "IQ3_S", "TQ1_0", "TQ2_0", "MXFP4",
]  # fmt: skip

# Byte offsets of the float16 scales in a block.
HALF_OFFSETS = {
    "Q4_0": [0], "Q4_1": [0, 2], "Q5_0": [0], "Q5_1": [0, 2], "Q8_0": [0], "Q2_K": [80, 82], "Q3_K": [108],
    "Q4_K": [0, 2], "Q5_K": [0, 2], "Q6_K": [208], "IQ4_NL": [0], "IQ4_XS": [0],
    "IQ1_S": [0], "IQ2_XXS": [0], "IQ2_XS": [0], "IQ2_S": [0], "IQ3_XXS": [0], "IQ3_S": [0],
    "TQ1_0": [52], "TQ2_0": [64],
}  # fmt: skip

# Zeros, the smallest and largest subnormals, one, the largest finite values, of both signs.
SPECIAL_HALVES = np.array(
    [0x0000, 0x8000, 0x0001, 0x8001, 0x03FF, 0x83FF, 0x0400, 0x3C00, 0xBC00, 0x7BFF, 0xFBFF], dtype=np.uint16
)


def random_finite_halves(rng: np.random.Generator, n: int) -> np.ndarray:
    sign = rng.integers(0, 2, n, dtype=np.uint16) << 15
    exponent = rng.integers(0, 31, n, dtype=np.uint16) << 10  # 31 would be infinity or NaN
    halves = sign | exponent | rng.integers(0, 1024, n, dtype=np.uint16)
    halves[: len(SPECIAL_HALVES)] = SPECIAL_HALVES[: min(n, len(SPECIAL_HALVES))]
    return halves


def random_blocks(name: str, n_blocks: int, seed: int) -> np.ndarray:
    """Random bytes with finite scales, uint8 of shape (n_blocks, block bytes)."""
    rng = np.random.default_rng(seed)
    block_bytes = GGML_QUANT_SIZES[GGMLQuantizationType[name]][1]
    if name == "F32":
        values = rng.standard_normal(n_blocks).astype(np.float32)
        values[: min(2, n_blocks)] = [-0.0, 1e-40][:n_blocks]
        return values.view(np.uint8).reshape(n_blocks, 4)
    if name == "F16":
        return random_finite_halves(rng, n_blocks).view(np.uint8).reshape(n_blocks, 2)
    blocks = rng.integers(0, 256, (n_blocks, block_bytes), dtype=np.uint8)
    if name == "BF16":
        blocks[:, 1] &= 0xBF  # keeps the exponent below infinity's
    if name == "MXFP4":
        blocks[:, 0] = np.minimum(blocks[:, 0], 251)  # 12 * 2^(252 - 128) would be infinite
    if name == "IQ1_M":  # a nibble of the scale on top of each of four words
        d = random_finite_halves(rng, n_blocks).reshape(n_blocks, 1)
        words = blocks[:, 48:56].view(np.uint16)
        words[...] = (words & 0x0FFF) | ((d >> np.array([0, 4, 8, 12], dtype=np.uint16)) << 12)
    for offset in HALF_OFFSETS.get(name, []):
        scales = random_finite_halves(rng, n_blocks).view(np.uint8).reshape(n_blocks, 2)
        blocks[:, offset : offset + 2] = scales
    return blocks


@pytest.mark.parametrize("name", DEQUANTIZABLE)
@pytest.mark.parametrize("n_blocks", [1, 2, 257])
def test_equals_the_reference_bit_for_bit(name: str, n_blocks: int) -> None:
    qtype = GGMLQuantizationType[name]
    blocks = random_blocks(name, n_blocks, seed=n_blocks)
    expected = reference_dequantize(blocks.reshape(-1), qtype).astype(np.float32).reshape(-1)

    actual = _core.dequantize(name, blocks.reshape(-1), expected.size)

    assert actual.dtype == np.float32
    assert np.isfinite(expected).all()
    np.testing.assert_array_equal(actual.view(np.uint32), expected.view(np.uint32))


def every_byte_at(name: str, offset: int, seed: int) -> np.ndarray:
    """Random blocks whose byte at `offset` takes all 256 values."""
    blocks = random_blocks(name, 256, seed)
    blocks[:, offset] = np.arange(256)
    return blocks


# The byte of the packed digits, of the exponent, and those that carry the high bits of grid indices.
@pytest.mark.parametrize(
    ("name", "offset"),
    [("TQ1_0", 0), ("TQ1_0", 33), ("TQ1_0", 48), ("MXFP4", 0), ("MXFP4", 16), ("IQ1_S", 34), ("IQ1_S", 35),
     ("IQ1_M", 32), ("IQ2_XS", 3), ("IQ2_S", 66), ("IQ3_S", 66), ("IQ2_XXS", 9), ("IQ3_XXS", 69)],
)  # fmt: skip
def test_every_value_of_a_byte(name: str, offset: int) -> None:
    blocks = every_byte_at(name, offset, seed=5)
    with np.errstate(over="ignore"):
        expected = reference_dequantize(blocks.reshape(-1), GGMLQuantizationType[name]).reshape(-1)

    actual = _core.dequantize(name, blocks.reshape(-1), expected.size)

    np.testing.assert_array_equal(actual.view(np.uint32), expected.view(np.uint32))


@pytest.mark.parametrize(
    ("name", "n_vectors"), [("IQ2_XS", 512), ("IQ2_S", 1024), ("IQ3_S", 512), ("IQ1_S", 2048)]
)
def test_every_vector_of_a_grid(name: str, n_vectors: int) -> None:
    n_bits, length = (1, 4) if name == "IQ3_S" else ({"IQ2_S": 2, "IQ1_S": 3}.get(name, 0), 8)
    per_block = 256 // length
    index = np.arange(n_vectors, dtype=np.uint16).reshape(-1, per_block)
    blocks = random_blocks(name, len(index), seed=6)
    if name == "IQ2_XS":
        words = blocks[:, 2:66].view(np.uint16)
        words[...] = (words & 0xFE00) | index
    else:
        blocks[:, 2 : 2 + per_block] = index & 0xFF
        at = 2 + per_block + (32 if name == "IQ2_S" else 0)
        dtype = np.dtype(np.uint16 if name == "IQ1_S" else np.uint8)
        per_word = 4 if n_bits > 1 else 8
        high = (index >> 8).reshape(len(index), -1, per_word) << (n_bits * np.arange(per_word))
        words = blocks[:, at : at + high.shape[1] * dtype.itemsize].view(dtype)
        words[...] = high.sum(axis=2) | (words & 0xF000 if name == "IQ1_S" else 0)
    expected = reference_dequantize(blocks.reshape(-1), GGMLQuantizationType[name]).reshape(-1)

    actual = _core.dequantize(name, blocks.reshape(-1), expected.size)

    np.testing.assert_array_equal(actual.view(np.uint32), expected.view(np.uint32))


def test_every_half_expands_as_numpy_does() -> None:
    halves = np.arange(1 << 16, dtype=np.uint32).astype(np.uint16)
    expected = halves.view(np.float16).astype(np.float32)

    actual = _core.dequantize("f16", halves.view(np.uint8), halves.size)

    number = ~np.isnan(expected)
    np.testing.assert_array_equal(actual[number].view(np.uint32), expected[number].view(np.uint32))
    assert np.isnan(actual[~number]).all()


def test_format_table_agrees_with_the_gguf_package() -> None:
    formats = {entry["name"]: entry for entry in _core.formats()}
    # The gguf package gives Q8_1 two float32 scales; the C structure has two float16. Files hold neither.
    for qtype, (elements, n_bytes) in GGML_QUANT_SIZES.items():
        if qtype.name not in formats or qtype.name == "Q8_1":
            continue
        entry = formats[qtype.name]
        assert entry["type"] == qtype.value
        assert (entry["block_elements"], entry["block_bytes"]) == (elements, n_bytes)
    assert {name for name, entry in formats.items() if entry["can_dequantize"]} == set(DEQUANTIZABLE)
    assert len(formats) >= 32


def test_refuses_what_it_cannot_do() -> None:
    data = np.zeros(18, dtype=np.uint8)
    with pytest.raises(InvalidArgumentError, match="unknown tensor format"):
        _core.dequantize("Q9_9", data, 32)
    with pytest.raises(InvalidArgumentError, match="not whole blocks"):
        _core.dequantize("Q4_0", data, 31)
    with pytest.raises(InvalidArgumentError, match="does not hold"):
        _core.dequantize("Q4_0", data, 64)
    with pytest.raises(InvalidArgumentError, match="does not hold"):
        _core.dequantize("Q4_0", data, 2**62)
    with pytest.raises(ModelError, match="Q8_K"):
        _core.dequantize("Q8_K", np.zeros(292, dtype=np.uint8), 256)
