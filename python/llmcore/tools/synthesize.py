"""Writes a GGUF model with random weights: a published model's shape and size without its download.

Such a file runs and is timed as the real one would be, in this project and in others; its text means nothing.
"""

import hashlib
import math
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
from gguf import GGML_QUANT_SIZES, GGUFWriter, RopeScalingType
from gguf import GGMLQuantizationType as Type

from llmcore.errors import InvalidArgumentError
from llmcore.tools.encoder_shapes import ALL_SHAPES, EncoderShape
from llmcore.tools.quant_mix import file_type, tensor_type
from llmcore.tools.random_blocks import random_weights
from llmcore.tools.shapes import LinearRope, LongRope, Role, Shape, TensorSpec, YarnRope, rope_factors
from llmcore.tools.synthetic_vocab import Vocabulary, made_up_vocabulary, made_up_wordpiece

Progress = Callable[[int, int], None]
"""Called with the bytes of weights written so far and in all."""


def find_shape(name: str, n_layers: int | None = None) -> Shape:
    """The shape of that name, cut to `n_layers` if given. Raises InvalidArgumentError if there is none."""
    shape = ALL_SHAPES.get(name)
    if shape is None:
        raise InvalidArgumentError(
            f"[synthesize] unknown shape; got {name!r}; expected one of {', '.join(ALL_SHAPES)}"
        )
    if n_layers is None:
        return shape
    if not 1 <= n_layers <= shape.n_layers:
        raise InvalidArgumentError(
            f"[synthesize] number of layers; got {n_layers}; expected 1 to {shape.n_layers}"
        )
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
    logit_deviation: float = 2.0,
    progress: Progress | None = None,
) -> int:
    """Writes a model of `shape` quantized to `quant`, a name of QUANT_NAMES; returns its weights' bytes.

    The same arguments give the same bytes: each tensor's values depend on `seed` and its own name alone.
    `n_ctx` is the context length the file states, the shape's by default, and an encoder's at most. A
    `vocabulary` sets the number of tokens. `logit_deviation` is about the spread of the logits: the greater,
    the surer the model. Memory use stays at a few megabytes; `out` appears when it is complete. Raises
    InvalidArgumentError for an unknown quantization.
    """
    encodes = isinstance(shape, EncoderShape)
    if vocabulary is None:
        vocabulary = (made_up_wordpiece if encodes else made_up_vocabulary)(shape.n_vocab)
    n_ctx = min(n_ctx or shape.n_ctx, shape.n_ctx) if encodes else n_ctx or shape.n_ctx
    shape = replace(shape, n_vocab=vocabulary.n_tokens, n_ctx=n_ctx)
    tensors = [(tensor, tensor_type(quant, shape, tensor)) for tensor in shape.tensors()]
    out = Path(out)
    partial = out.with_name(out.name + ".part")
    writer = GGUFWriter(partial, shape.architecture)
    # Some programs expect the tokens of the model that a name contains, so it must not be spelt as usual.
    _add_metadata(writer, shape, f"{name} {quant} (random weights)".replace("-", " "), quant)
    vocabulary.write(writer)
    for tensor, qtype in tensors:
        byte_shape = (*tensor.shape[:-1], _row_bytes(tensor, qtype))
        writer.add_tensor_info(
            tensor.name, byte_shape, np.dtype(np.uint8), _tensor_bytes(tensor, qtype), qtype
        )
    try:
        written = _write(writer, tensors, _RandomTensors(shape, seed, logit_deviation), progress)
        os.replace(partial, out)
    finally:
        writer.close()
        partial.unlink(missing_ok=True)
    return written


def _write(
    writer: GGUFWriter,
    tensors: list[tuple[TensorSpec, Type]],
    values: "_RandomTensors",
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
        for chunk in values.of(tensor, qtype):
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
    if isinstance(shape, EncoderShape):
        shape.add_metadata(writer)
        return
    writer.add_head_count_kv(shape.n_kv_heads)
    if shape.head_dim * shape.n_heads != shape.d_model or shape.architecture.startswith(("gemma", "qwen3")):
        writer.add_key_length(shape.head_dim)
        writer.add_value_length(shape.head_dim)
    writer.add_layer_norm_rms_eps(shape.norm_eps)
    writer.add_rope_dimension_count(shape.rope_dimensions)
    writer.add_rope_freq_base(shape.rope_base)
    writer.add_vocab_size(shape.n_vocab)
    if shape.sliding_window:
        writer.add_sliding_window(shape.sliding_window)
    if shape.attention_cap:
        writer.add_attn_logit_softcapping(shape.attention_cap)
    if shape.logit_cap:
        writer.add_final_logit_softcapping(shape.logit_cap)
    _add_rope_scaling(writer, shape)
    _add_experts(writer, shape)


def _add_rope_scaling(writer: GGUFWriter, shape: Shape) -> None:
    """What is no tensor of it."""
    scaling = shape.rope_scaling
    if isinstance(scaling, LinearRope):
        writer.add_rope_scaling_type(RopeScalingType.LINEAR)
        writer.add_rope_scaling_factor(scaling.factor)
    elif isinstance(scaling, YarnRope):
        writer.add_rope_scaling_type(RopeScalingType.YARN)
        writer.add_rope_scaling_factor(scaling.factor)
        writer.add_rope_scaling_orig_ctx_len(scaling.original_context)
    elif isinstance(scaling, LongRope):
        writer.add_rope_scaling_orig_ctx_len(scaling.original_context)
        writer.add_rope_scaling_attn_factors(scaling.amplitude)


def _add_experts(writer: GGUFWriter, shape: Shape) -> None:
    if shape.experts is None:
        return
    writer.add_expert_count(shape.experts.n)
    writer.add_expert_used_count(shape.experts.n_used)
    if shape.experts.d_ff != shape.d_ff or shape.architecture == "gpt-oss":
        writer.add_expert_feed_forward_length(shape.experts.d_ff)
    if shape.experts.shared_d_ff:
        writer.add_expert_shared_feed_forward_length(shape.experts.shared_d_ff)


def _row_bytes(tensor: TensorSpec, qtype: Type) -> int:
    elements, size = GGML_QUANT_SIZES[qtype]
    return tensor.shape[-1] // elements * size


def _tensor_bytes(tensor: TensorSpec, qtype: Type) -> int:
    return int(np.prod(tensor.shape[:-1], dtype=np.int64)) * _row_bytes(tensor, qtype)


# Routers are sure of their first choices, as trained ones are: among close ones rounding would decide.
_ROUTER_GAIN = 4.0


@dataclass(frozen=True)
class _RandomTensors:
    """Values of a model's tensors, each from a random stream of its own."""

    shape: Shape
    seed: int
    logit_deviation: float

    def of(self, tensor: TensorSpec, qtype: Type) -> Iterator[npt.NDArray[np.uint8]]:
        """Yields the tensor's bytes in chunks."""
        key = int.from_bytes(hashlib.sha256(f"{self.seed}/{tensor.name}".encode()).digest(), "little")
        rng = np.random.Generator(np.random.SFC64(key))
        n = int(np.prod(tensor.shape, dtype=np.int64))
        if tensor.role is Role.ROPE_FACTORS:
            yield rope_factors(self.shape, tensor.name).view(np.uint8)
        elif tensor.role in (Role.NORM, Role.POST_NORM):
            gain = self._branch_gain() if tensor.role is Role.POST_NORM else 1.0
            yield (gain * rng.uniform(0.8, 1.2, n)).astype("<f4").view(np.uint8)
        elif tensor.role is Role.BIAS:
            yield rng.normal(0.0, 0.2, n).astype("<f4").view(np.uint8)
        elif tensor.role is Role.SINKS:
            yield rng.normal(0.0, 1.0, n).astype("<f4").view(np.uint8)
        else:
            yield from random_weights(rng, qtype, n, self._deviation(tensor))

    def _deviation(self, tensor: TensorSpec) -> float:
        """Keeps activations near 1 at every layer and logits as spread as was asked for."""
        if tensor.role is Role.EMBEDDING and not self.shape.tied_embeddings:
            return 1.0
        gain = 1.0
        if tensor.role in (Role.EMBEDDING, Role.OUTPUT):
            gain = self.logit_deviation
        elif tensor.role is Role.ROUTER:
            gain = _ROUTER_GAIN
        elif tensor.role in (Role.ATTENTION_OUT, Role.DOWN) and not self.shape.post_norms:
            gain = self._branch_gain()
        return gain / math.sqrt(tensor.shape[-1])

    def _branch_gain(self) -> float:
        """Of what a layer adds, where embeddings are scaled: they would outweigh it, and a model whose head
        is its embedding would be sure to repeat its input.
        """
        return math.sqrt(self.shape.d_model) if self.shape.scales_embeddings else 1.0
