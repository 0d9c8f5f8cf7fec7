"""Shapes of published encoders, whose states become embeddings."""

from collections.abc import Iterator
from dataclasses import dataclass, replace

from gguf import GGUFWriter, PoolingType

from llmcore.tools.shapes import SHAPES, Role, Shape, TensorSpec


@dataclass(frozen=True)
class EncoderShape(Shape):
    """A BERT, or Nomic's, which has RoPE, gates and no biases but the norms'."""

    pooling: PoolingType = PoolingType.MEAN
    n_types: int = 2

    @property
    def _is_bert(self) -> bool:
        return self.architecture == "bert"

    def tensors(self) -> Iterator[TensorSpec]:
        """Yields every tensor of the model, in the order of the file."""
        yield TensorSpec("token_embd.weight", (self.n_vocab, self.d_model), Role.EMBEDDING)
        yield TensorSpec("token_types.weight", (self.n_types, self.d_model), Role.ADDED)
        if self._is_bert:
            yield TensorSpec("position_embd.weight", (self.n_ctx, self.d_model), Role.ADDED)
        yield from self._layer_norm("token_embd_norm")
        for layer in range(self.n_layers):
            for tensor in self._layer_tensors():
                yield replace(tensor, name=f"blk.{layer}.{tensor.name}", layer=layer)

    def _layer_tensors(self) -> Iterator[TensorSpec]:
        d, ff = self.d_model, self.d_ff
        parts = [(Role.Q, d), (Role.K, d), (Role.V, d)] if self._is_bert else [(Role.QKV, 3 * d)]
        for role, rows in parts:
            yield from self._linear(role, rows, d)
        yield from self._linear(Role.ATTENTION_OUT, d, d)
        yield from self._layer_norm("attn_output_norm")
        if not self._is_bert:
            yield from self._linear(Role.GATE, ff, d)
        yield from self._linear(Role.UP, ff, d)
        yield from self._linear(Role.DOWN, d, ff)
        yield from self._layer_norm("layer_output_norm")

    def _linear(self, role: Role, rows: int, columns: int) -> Iterator[TensorSpec]:
        yield TensorSpec(f"{role.value}.weight", (rows, columns), role)
        if self._is_bert:
            yield TensorSpec(f"{role.value}.bias", (rows,), Role.BIAS)

    def _layer_norm(self, name: str) -> Iterator[TensorSpec]:
        yield TensorSpec(f"{name}.weight", (self.d_model,), Role.NORM)
        yield TensorSpec(f"{name}.bias", (self.d_model,), Role.BIAS)

    def add_metadata(self, writer: GGUFWriter) -> None:
        """What their files state and others' do not."""
        writer.add_layer_norm_eps(self.norm_eps)
        writer.add_causal_attention(False)
        writer.add_pooling_type(self.pooling)
        writer.add_token_type_count(self.n_types)
        if not self._is_bert:
            writer.add_rope_freq_base(self.rope_base)


def _bert(d_model: int, n_layers: int, n_heads: int, pooling: PoolingType) -> EncoderShape:
    """Quantization counts the embedding as a head, as of every file without one."""
    return EncoderShape(
        "bert", d_model, n_layers, n_heads, n_heads, d_model // n_heads, 4 * d_model, 30522, 512,
        norm_eps=1e-12, tied_embeddings=True, pooling=pooling,
    )  # fmt: skip


ENCODER_SHAPES: dict[str, EncoderShape] = {
    "all-minilm-l6-v2": _bert(384, 6, 12, PoolingType.MEAN),
    "bge-small": _bert(384, 12, 12, PoolingType.CLS),
    "bge-base": _bert(768, 12, 12, PoolingType.CLS),
    "bge-large": _bert(1024, 24, 16, PoolingType.CLS),
    "nomic-embed-text-v1.5": EncoderShape(
        "nomic-bert", 768, 12, 12, 12, 64, 3072, 30528, 2048, rope_base=1000.0, norm_eps=1e-12,
        tied_embeddings=True,
    ),
}  # fmt: skip

ALL_SHAPES: dict[str, Shape] = {**SHAPES, **ENCODER_SHAPES}
