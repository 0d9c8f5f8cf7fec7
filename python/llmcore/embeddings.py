"""What embedding returns, and how a text becomes one vector."""

from __future__ import annotations

from typing import Literal

import msgspec
import numpy as np
import numpy.typing as npt

Pooling = Literal["mean", "cls", "last"]
"""What is made of the states of a text's tokens: their mean, the first one's, or the last one's."""


class Embedding(msgspec.Struct, frozen=True):
    """The embedding of one text."""

    vector: npt.NDArray[np.float32]
    """Of shape (d_model,)."""
    prompt_tokens: int


def scaled_to_unit(vectors: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """Vectors along the last axis at length 1; those of length 0 stay."""
    length = np.linalg.norm(vectors, axis=-1, keepdims=True)
    scaled: npt.NDArray[np.float32] = (vectors / np.maximum(length, 1e-12)).astype(np.float32)
    return scaled
