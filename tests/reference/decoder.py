"""A decoder in NumPy float64, written from the models' papers: the oracle that logits are judged against.

It reads a GGUF file with the `gguf` package, expands every weight and imports nothing of llmcore. It knows
the architectures llama and qwen2: RMSNorm (arXiv:1910.07467), rotary positions (arXiv:2104.09864),
grouped-query attention (arXiv:2305.13245) and SwiGLU (arXiv:2002.05202). Slow and plain on purpose.
"""

from pathlib import Path

import numpy as np
import numpy.typing as npt
from gguf import GGUFReader
from gguf.quants import dequantize

Array = npt.NDArray[np.float64]


class ReferenceDecoder:
    """A whole model in float64; `logits` runs a sequence from its beginning."""

    def __init__(self, path: Path) -> None:
        reader = GGUFReader(path)
        self.weights: dict[str, Array] = {
            tensor.name: dequantize(tensor.data, tensor.tensor_type).astype(np.float64)
            for tensor in reader.tensors
        }
        self.metadata = {key: field.contents() for key, field in reader.fields.items() if "." in key}
        self.architecture = self.metadata["general.architecture"]
        if self.architecture not in ("llama", "qwen2"):
            raise ValueError(f"the reference decoder knows llama and qwen2, not {self.architecture}")
        self.n_layers: int = self._number("block_count")
        self.n_heads: int = self._number("attention.head_count")
        self.n_kv_heads: int = self._number("attention.head_count_kv", self.n_heads)
        self.eps: float = self._number("attention.layer_norm_rms_epsilon")
        self.head_dim: int = self._number(
            "attention.key_length", self.weights["token_embd.weight"].shape[1] // self.n_heads
        )
        self.rope_dims: int = self._number("rope.dimension_count", self.head_dim)
        self.rope_base: float = self._number("rope.freq_base", 10000.0)

    def _number(self, key, default=None):
        return self.metadata.get(f"{self.architecture}.{key}", default)

    def logits(self, ids: list[int]) -> Array:
        """Logits of every position, (n_tokens, n_vocab)."""
        hidden = self.weights["token_embd.weight"][ids]
        for layer in range(self.n_layers):
            block = f"blk.{layer}."
            hidden = hidden + self._attention(block, self._norm(block + "attn_norm", hidden))
            hidden = hidden + self._feed_forward(block, self._norm(block + "ffn_norm", hidden))
        head = "output" if "output.weight" in self.weights else "token_embd"
        return self._linear(head, self._norm("output_norm", hidden))

    def greedy(self, ids: list[int], n: int) -> list[int]:
        """The `n` tokens that follow `ids` when the likeliest is always taken."""
        sequence = list(ids)
        for _ in range(n):
            sequence.append(int(self.logits(sequence)[-1].argmax()))
        return sequence[len(ids) :]

    def _linear(self, name: str, x: Array) -> Array:
        y = x @ self.weights[name + ".weight"].T
        return y + self.weights[name + ".bias"] if name + ".bias" in self.weights else y

    def _norm(self, name: str, x: Array) -> Array:
        mean_square = np.mean(x * x, axis=-1, keepdims=True)
        return x / np.sqrt(mean_square + self.eps) * self.weights[name + ".weight"]

    def _feed_forward(self, block: str, x: Array) -> Array:
        gate = self._linear(block + "ffn_gate", x)
        return self._linear(
            block + "ffn_down", gate / (1.0 + np.exp(-gate)) * self._linear(block + "ffn_up", x)
        )

    def _rotate(self, x: Array) -> Array:
        """Rotary positions on (tokens, heads, head_dim): pairs are neighbours in llama, halves apart in
        qwen2.
        """
        half = self.rope_dims // 2
        frequencies = self.rope_base ** (-np.arange(half) / half)
        if "rope_freqs.weight" in self.weights:
            frequencies = frequencies / self.weights["rope_freqs.weight"]
        angles = np.arange(len(x))[:, None, None] * frequencies
        first, second = (slice(0, half), slice(half, 2 * half))
        if self.architecture == "llama":
            first, second = (slice(0, 2 * half, 2), slice(1, 2 * half, 2))
        a, b = x[..., first], x[..., second]
        rotated = x.copy()
        rotated[..., first] = a * np.cos(angles) - b * np.sin(angles)
        rotated[..., second] = a * np.sin(angles) + b * np.cos(angles)
        return rotated

    def _attention(self, block: str, x: Array) -> Array:
        n = len(x)
        q = self._rotate(self._linear(block + "attn_q", x).reshape(n, self.n_heads, self.head_dim))
        k = self._rotate(self._linear(block + "attn_k", x).reshape(n, self.n_kv_heads, self.head_dim))
        v = self._linear(block + "attn_v", x).reshape(n, self.n_kv_heads, self.head_dim)
        future = np.triu(np.ones((n, n), dtype=bool), 1)
        mixed = np.empty_like(q)
        for head in range(self.n_heads):
            source = head // (self.n_heads // self.n_kv_heads)
            scores = q[:, head] @ k[:, source].T / np.sqrt(self.head_dim)
            scores[future] = -np.inf
            weights = np.exp(scores - scores.max(axis=1, keepdims=True))
            mixed[:, head] = weights / weights.sum(axis=1, keepdims=True) @ v[:, source]
        return self._linear(block + "attn_output", mixed.reshape(n, -1))
