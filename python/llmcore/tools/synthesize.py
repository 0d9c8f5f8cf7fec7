"""Writes a GGUF model with random weights: a published model's shape and size without its download.

Such a file runs and is timed as the real one would be, in this project and in others; its text means nothing.
"""

import hashlib
import math
import os
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
from gguf import GGML_QUANT_SIZES, GGUFWriter
from gguf import GGMLQuantizationType as Type

from llmcore.errors import InvalidArgumentError
from llmcore.tools.quant_mix import file_type, tensor_type
from llmcore.tools.random_blocks import random_weights
from llmcore.tools.shapes import SHAPES, Role, Shape, TensorSpec, rope_factors
from llmcore.tools.synthetic_vocab import Vocabulary, made_up_vocabulary

Progress = Callable[[int, int], None]
"""Called with the bytes of weights written so far and in all."""

_LOGIT_DEVIATION = 2.0


def find_shape(name: str, n_layers: int | None = None) -> Shape:
    """The shape of that name, cut to `n_layers` if given. Raises InvalidArgumentError if there is none."""
    shape = SHAPES.get(name)
    if shape is None:
        raise InvalidArgumentError(
            f"[synthesize] unknown shape; got {name!r}; expected one of {', '.join(SHAPES)}"
        )
    if n_layers is None:
        return shape
    if n_layers < 1:
        raise InvalidArgumentError(f"[synthesize] number of layers; got {n_layers}; expected 1 or more")
    return replace(shape, n_layers=n_layers)


def synthesize(
    out: Path | str,
    shape: Shape,
    quant: str,
    *,
    name: str = "synthetic",
    n_ctx: int | None = None,
    seed: int = 1,
    vocabulary: Vocabulary | None = None,
    progress: Progress | None = None,
) -> int:
    """Writes a model of `shape` quantized to `quant`, a name of QUANT_NAMES; returns its weights' bytes.

    The same arguments give the same bytes: each tensor's values depend on `seed` and its own name alone.
    `n_ctx` is the context length the file states, the shape's by default. A `vocabulary` sets the number of
    tokens. Memory use stays at a few megabytes; `out` appears when it is complete. Raises
    InvalidArgumentError for an unknown quantization.
    """
    vocabulary = vocabulary or made_up_vocabulary(shape.n_vocab)
    shape = replace(shape, n_vocab=vocabulary.n_tokens, n_ctx=n_ctx or shape.n_ctx)
    tensors = [(tensor, tensor_type(quant, shape, tensor)) for tensor in shape.tensors()]
    out = Path(out)
    partial = out.with_name(out.name + ".part")
    writer = GGUFWriter(partial, shape.architecture)
    _add_metadata(writer, shape, f"{name} {quant} (random weights)", quant)
    vocabulary.write(writer)
    for tensor, qtype in tensors:
        byte_shape = (*tensor.shape[:-1], _row_bytes(tensor, qtype))
        writer.add_tensor_info(
            tensor.name, byte_shape, np.dtype(np.uint8), _tensor_bytes(tensor, qtype), qtype
        )
    try:
        written = _write(writer, shape, tensors, seed, progress)
        os.replace(partial, out)
    finally:
        writer.close()
        partial.unlink(missing_ok=True)
    return written


def _write(
    writer: GGUFWriter,
    shape: Shape,
    tensors: list[tuple[TensorSpec, Type]],
    seed: int,
    progress: Progress | None,
) -> int:
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_ti_data_to_file()
    assert writer.fout is not None
    (file,) = writer.fout
    writer.write_padding(file, file.tell())
    total = sum(_tensor_bytes(tensor, qtype) for tensor, qtype in tensors)
    written = 0
    for tensor, qtype in tensors:
        start = written
        for chunk in _values(shape, tensor, qtype, seed):
            file.write(chunk.data)
            written += chunk.nbytes
            if progress is not None:
                progress(written, total)
        writer.write_padding(file, written - start)
    writer.close()
    return written


def _add_metadata(writer: GGUFWriter, shape: Shape, name: str, quant: str) -> None:
    writer.add_name(name)
    writer.add_type("model")
    writer.add_file_type(file_type(quant))
    writer.add_quantization_version(2)
    writer.add_context_length(shape.n_ctx)
    writer.add_embedding_length(shape.d_model)
    writer.add_block_count(shape.n_layers)
    writer.add_feed_forward_length(shape.d_ff * shape.feed_forward_key_scale)
    writer.add_head_count(shape.n_heads)
    writer.add_head_count_kv(shape.n_kv_heads)
    if shape.head_dim * shape.n_heads != shape.d_model or shape.architecture in ("gemma", "qwen3"):
        writer.add_key_length(shape.head_dim)
        writer.add_value_length(shape.head_dim)
    writer.add_layer_norm_rms_eps(shape.norm_eps)
    writer.add_rope_dimension_count(shape.rope_dimensions)
    writer.add_rope_freq_base(shape.rope_base)
    writer.add_vocab_size(shape.n_vocab)


def _row_bytes(tensor: TensorSpec, qtype: Type) -> int:
    elements, size = GGML_QUANT_SIZES[qtype]
    return tensor.shape[-1] // elements * size


def _tensor_bytes(tensor: TensorSpec, qtype: Type) -> int:
    return int(np.prod(tensor.shape[:-1], dtype=np.int64)) * _row_bytes(tensor, qtype)


def _values(shape: Shape, tensor: TensorSpec, qtype: Type, seed: int) -> Iterator[npt.NDArray[np.uint8]]:
    key = int.from_bytes(hashlib.sha256(f"{seed}/{tensor.name}".encode()).digest(), "little")
    rng = np.random.Generator(np.random.SFC64(key))
    n = int(np.prod(tensor.shape, dtype=np.int64))
    if tensor.role is Role.ROPE_FACTORS:
        yield rope_factors(shape).view(np.uint8)
    elif tensor.role is Role.NORM:
        yield rng.uniform(0.8, 1.2, n).astype("<f4").view(np.uint8)
    elif tensor.role is Role.BIAS:
        yield rng.normal(0.0, 0.2, n).astype("<f4").view(np.uint8)
    else:
        yield from random_weights(rng, qtype, n, _deviation(shape, tensor))


def _deviation(shape: Shape, tensor: TensorSpec) -> float:
    """Keeps activations near 1 at every layer and logits spread over a few units."""
    if tensor.role is Role.EMBEDDING and not shape.tied_embeddings:
        return 1.0
    is_head = tensor.role in (Role.EMBEDDING, Role.OUTPUT)
    return (_LOGIT_DEVIATION if is_head else 1.0) / math.sqrt(tensor.shape[-1])
