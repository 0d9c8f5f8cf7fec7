"""What becomes of a checkpoint's tensors: which one goes where, and how it is rearranged.

A rearrangement works on views of the mapped file, whatever the numbers' type is; nothing is copied before the
tensor is written.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from llmcore.tools.convert.config import Config
from llmcore.tools.convert.errors import unusable
from llmcore.tools.convert.safetensors_file import Array

Shape = tuple[int, ...]
Transform = Callable[[Array, Config], tuple[Array, Shape]]
"""Takes a tensor and the model's numbers; returns a view whose values, in order, are those of the shape."""


def keep(tensor: Array, config: Config) -> tuple[Array, Shape]:
    """As it is."""
    del config
    return tensor, tensor.shape


def _interleaved_halves(tensor: Array, n_heads: int) -> tuple[Array, Shape]:
    rows = tensor.shape[0] if tensor.ndim else 0
    if rows == 0 or rows % (2 * n_heads) != 0:
        raise unusable("rows of an attention weight", rows, f"a multiple of 2 x {n_heads} heads")
    halves = tensor.reshape(n_heads, 2, rows // n_heads // 2, *tensor.shape[1:])
    return halves.swapaxes(1, 2), tensor.shape


def query_pairs(tensor: Array, config: Config) -> tuple[Array, Shape]:
    """Query rows of each head from (first half, second half) to pairs that RoPE turns side by side."""
    return _interleaved_halves(tensor, config.size("num_attention_heads"))


def key_pairs(tensor: Array, config: Config) -> tuple[Array, Shape]:
    """The same for the heads of keys."""
    heads = config.size("num_attention_heads")
    return _interleaved_halves(tensor, config.size("num_key_value_heads", default=heads))


def first_half(tensor: Array, config: Config) -> tuple[Array, Shape]:
    """The first half of the rows: the gate of gate and up in one tensor."""
    del config
    half = tensor[..., : _half(tensor, -2), :]
    return half, half.shape


def second_half(tensor: Array, config: Config) -> tuple[Array, Shape]:
    """The second half of the rows."""
    del config
    half = tensor[..., _half(tensor, -2) :, :]
    return half, half.shape


def even_columns_as_rows(tensor: Array, config: Config) -> tuple[Array, Shape]:
    """Columns 0, 2, 4 … of experts that are stored as (expert, in, out), as rows."""
    del config
    _half(tensor, -1)
    rows = tensor.swapaxes(-1, -2)[..., ::2, :]
    return rows, rows.shape


def odd_columns_as_rows(tensor: Array, config: Config) -> tuple[Array, Shape]:
    """Columns 1, 3, 5 … as rows."""
    del config
    _half(tensor, -1)
    rows = tensor.swapaxes(-1, -2)[..., 1::2, :]
    return rows, rows.shape


def columns_as_rows(tensor: Array, config: Config) -> tuple[Array, Shape]:
    """Experts that are stored as (expert, in, out), transposed."""
    del config
    _half(tensor, -1)
    rows = tensor.swapaxes(-1, -2)
    return rows, rows.shape


def even_rows(tensor: Array, config: Config) -> tuple[Array, Shape]:
    """Rows 0, 2, 4 … of each expert."""
    del config
    return tensor[:, ::2], tensor[:, ::2].shape


def odd_rows(tensor: Array, config: Config) -> tuple[Array, Shape]:
    """Rows 1, 3, 5 … of each expert."""
    del config
    return tensor[:, 1::2], tensor[:, 1::2].shape


def even_values(tensor: Array, config: Config) -> tuple[Array, Shape]:
    """Values 0, 2, 4 … of the last dimension."""
    del config
    _half(tensor, -1)
    return tensor[..., ::2], tensor[..., ::2].shape


def odd_values(tensor: Array, config: Config) -> tuple[Array, Shape]:
    """Values 1, 3, 5 … of the last dimension."""
    del config
    _half(tensor, -1)
    return tensor[..., 1::2], tensor[..., 1::2].shape


def _half(tensor: Array, axis: int) -> int:
    if tensor.ndim < 2 or tensor.shape[axis] % 2 != 0:
        raise unusable("shape of a tensor that is two in one", list(tensor.shape), "an even size")
    return int(tensor.shape[axis]) // 2


@dataclass(frozen=True)
class Rule:
    """One tensor of the GGUF file and where it comes from.

    `{i}` in the names stands for a layer, `{e}` for an expert: all experts are stacked. Several rules may
    share a target: the first whose source is there counts. `shift` is added to the values.
    """

    target: str
    source: str
    transform: Transform = keep
    optional: bool = False
    shift: float = 0.0
    scales: str = ""
    """Where the source is blocks of MXFP4: the tensor with their scales."""
