"""gpt-oss's experts: 4-bit values with a shared scale for 32 of them (OCP Microscaling, MXFP4).

The checkpoint has values 2i and 2i + 1 in byte i of a block and the scales apart; a GGUF block is the scale
and then 16 bytes with values i and i + 16. The values and the scales themselves are the same.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

from llmcore.tools.convert.errors import unusable
from llmcore.tools.convert.safetensors_file import Array
from llmcore.tools.convert.tensor_rules import Shape

_BLOCK = 32


def unpacked_shape(blocks: Array, scales: Array) -> Shape:
    """Experts, rows and columns of weights: `blocks` (…, columns / 32, 16), `scales` (…, columns / 32)."""
    sound = blocks.dtype == scales.dtype == np.uint8 and blocks.ndim == 4 and blocks.shape[-1] * 2 == _BLOCK
    if not sound or blocks.shape[:-1] != scales.shape:
        raise unusable(
            "shapes of MXFP4 blocks and scales",
            f"{list(blocks.shape)} and {list(scales.shape)}",
            "(experts, rows, n, 16) and (experts, rows, n) of U8",
        )
    return (*blocks.shape[:2], blocks.shape[2] * _BLOCK)


def repacked(blocks: Array, scales: Array) -> Iterator[npt.NDArray[np.uint8]]:
    """GGUF's bytes, (rows, columns / 32 * 17), one expert after the other."""
    for block, scale in zip(blocks, scales, strict=True):
        values = np.empty((*block.shape[:-1], _BLOCK), np.uint8)
        values[..., ::2] = block & 15
        values[..., 1::2] = block >> 4
        halves = values[..., : _BLOCK // 2] | values[..., _BLOCK // 2 :] << 4
        yield np.concatenate((scale[..., np.newaxis], halves), axis=-1).reshape(block.shape[0], -1)
