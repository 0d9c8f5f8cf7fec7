"""A decoder in NumPy float64, written from the models' published code: the oracle that logits are judged
against.

It reads a GGUF file with the `gguf` package, expands every weight and imports nothing of llmcore. What a
model does beyond the common block (RMSNorm arXiv:1910.07467, rotary positions arXiv:2104.09864, grouped-query
attention arXiv:2305.13245, SwiGLU arXiv:2002.05202) is told by the tensors that are present, by the metadata,
and by the row of its architecture. Weights are expanded a few at a time, so that a model of real size fits.
Slow and plain on purpose.
"""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from gguf import GGUFReader
from gguf.quants import dequantize

Array = npt.NDArray[np.float64]

_CHUNK_ELEMENTS = 1 << 22
_KEPT_ELEMENTS = 1 << 25  # a model of no more weights is expanded once and kept


@dataclass(frozen=True)
class Style:
    """What neither tensors nor metadata tell of an architecture.

    `global_every`: with a sliding window, every n-th layer sees everything (0: none does). `window` and the
    caps are defaults where the file is silent.
    """

    adjacent_pairs: bool = False
    gelu: bool = False
    scaled_embedding: bool = False
    renormalized_experts: bool = True
    global_every: int = 0
    window: int = 0
    attention_cap: float = 0.0
    logit_cap: float = 0.0
    wide_scale_layers: int = 0  # the size whose scores are scaled by the model's width over its heads
    local_rope_base: float = 0.0  # of the layers with a window, which then take no scaling either
    rounded_yarn: bool = True
    scaled_windows: bool = True  # scalings are for the layers with a window, too
    unturned_every: int = 0  # of so many layers the last has no rotary positions
    turned_windows: bool = False  # where some layers have a window, only they have rotary positions


STYLES = {
    "llama": Style(adjacent_pairs=True),
    "qwen": Style(),
    "qwen2": Style(),
    "qwen2moe": Style(renormalized_experts=False),
    "qwen3": Style(),
    "qwen3moe": Style(),
    "gemma": Style(gelu=True, scaled_embedding=True),
    "gemma2": Style(
        gelu=True, scaled_embedding=True, global_every=2, window=4096, attention_cap=50.0, logit_cap=30.0,
        wide_scale_layers=46,
    ),
    "gemma3": Style(
        gelu=True, scaled_embedding=True, global_every=6, wide_scale_layers=62, local_rope_base=10000.0
    ),
    "phi3": Style(),
    "chatglm": Style(adjacent_pairs=True),
    "glm4": Style(adjacent_pairs=True),
    "gpt-oss": Style(global_every=2, rounded_yarn=False),
    "qwen2vl": Style(),
    "qwen3vl": Style(),
    "qwen3vlmoe": Style(),
    "mistral3": Style(adjacent_pairs=True),
    "smollm3": Style(adjacent_pairs=True, unturned_every=4),
    "seed_oss": Style(),
    "ernie4_5": Style(adjacent_pairs=True),
    "granite": Style(adjacent_pairs=True),
    "granitemoe": Style(adjacent_pairs=True),
    "olmo2": Style(global_every=4, scaled_windows=False),
    "olmoe": Style(renormalized_experts=False),
    "exaone4": Style(global_every=4, turned_windows=True),
}  # fmt: skip


def silu(x: Array) -> Array:
    """x times its logistic function (arXiv:1702.03118)."""
    return x * sigmoid(x)


def sigmoid(x: Array) -> Array:
    """The logistic function; no overflow at either end."""
    return 0.5 * (1.0 + np.tanh(0.5 * x))


def gelu(x: Array) -> Array:
    """The tanh form of GELU (arXiv:1606.08415)."""
    return 0.5 * x * (1.0 + np.tanh(math.sqrt(2.0 / math.pi) * (x + 0.044715 * x**3)))


def softmax(x: Array) -> Array:
    """Over the last axis."""
    weights = np.exp(x - x.max(axis=-1, keepdims=True))
    return weights / weights.sum(axis=-1, keepdims=True)


def soft_cap(x: Array, cap: float) -> Array:
    """Squeezes into (-cap, cap); no cap, no change (Gemma 2, arXiv:2408.00118)."""
    return cap * np.tanh(x / cap) if cap else x


class Weights:
    """The tensors of a file, expanded to float64 when they are asked for."""

    def __init__(self, reader: GGUFReader) -> None:
        self._tensors = {tensor.name: tensor for tensor in reader.tensors}
        total = sum(int(tensor.n_elements) for tensor in reader.tensors)
        self._kept: dict[str, Array] | None = {} if total <= _KEPT_ELEMENTS else None

    def __contains__(self, name: str) -> bool:
        return name in self._tensors

    def shape(self, name: str) -> tuple[int, ...]:
        """As NumPy has it: the length of a row is last."""
        return tuple(int(n) for n in reversed(self._tensors[name].shape))

    def get(self, name: str) -> Array:
        """A whole tensor."""
        if self._kept is None:
            return self._expand(name, ())
        if name not in self._kept:
            self._kept[name] = self._expand(name, ())
        return self._kept[name]

    def rows(self, name: str, ids: list[int]) -> Array:
        """Some rows of a matrix."""
        return self._expand(name, (ids,))

    def product(self, name: str, x: Array, expert: int | None = None) -> Array:
        """x times the transposed matrix, or times that of one expert; a chunk of rows at a time."""
        if self._kept is not None:
            matrix = self.get(name)
            return x @ (matrix if expert is None else matrix[expert]).T
        rows, cols = self.shape(name)[-2:]
        out = np.empty((*x.shape[:-1], rows))
        for part in self._row_chunks(rows, cols):
            out[..., part] = x @ self._expand(name, (part,) if expert is None else (expert, part)).T
        return out

    @staticmethod
    def _row_chunks(rows: int, cols: int) -> Iterator[slice]:
        step = max(1, _CHUNK_ELEMENTS // cols)
        return (slice(start, min(rows, start + step)) for start in range(0, rows, step))

    def _expand(self, name: str, index: tuple[int | slice | list[int], ...]) -> Array:
        tensor = self._tensors[name]
        return dequantize(tensor.data[index], tensor.tensor_type).astype(np.float64)


@dataclass(frozen=True)
class Rope:
    """Rotary positions: radians a position of each pair, and what cosine and sine are multiplied by."""

    frequencies: Array
    amplitude: float
    adjacent_pairs: bool

    def apply(self, x: Array) -> Array:
        """On (tokens, heads, head_dim): pairs are neighbours, or lie half the rotated part apart."""
        half = len(self.frequencies)
        first, second = (slice(0, half), slice(half, 2 * half))
        if self.adjacent_pairs:
            first, second = (slice(0, 2 * half, 2), slice(1, 2 * half, 2))
        angles = np.arange(len(x))[:, None, None] * self.frequencies
        cos, sin = np.cos(angles) * self.amplitude, np.sin(angles) * self.amplitude
        a, b = x[..., first], x[..., second]
        rotated = x.copy()
        rotated[..., first] = a * cos - b * sin
        rotated[..., second] = a * sin + b * cos
        return rotated


class ReferenceDecoder:
    """A whole model in float64; `logits` runs a sequence from its beginning."""

    def __init__(self, path: Path | str) -> None:
        reader = GGUFReader(path)
        self.weights = Weights(reader)
        self.metadata = {key: field.contents() for key, field in reader.fields.items() if "." in key}
        self.architecture: str = self.metadata["general.architecture"]
        if self.architecture not in STYLES:
            raise ValueError(f"the reference decoder knows {', '.join(STYLES)}, not {self.architecture}")
        self.style = STYLES[self.architecture]
        self.n_layers: int = self._number("block_count")
        self.n_heads: int = self._number("attention.head_count")
        self.n_kv_heads: int = self._number("attention.head_count_kv", self.n_heads)
        self.eps: float = self._number("attention.layer_norm_rms_epsilon")
        self.d_model: int = self._number("embedding_length")
        self.head_dim: int = self._number("attention.key_length", self.d_model // self.n_heads)
        self.rope_dims: int = self._number("rope.dimension_count", self.head_dim)
        self.window: int = self._number("attention.sliding_window", self.style.window)
        wide = self.style.wide_scale_layers == self.n_layers
        width = self.d_model // self.n_heads if wide else self.head_dim
        self.scale: float = self._number("attention.scale", 1.0 / math.sqrt(width))

    def _number(self, key, default=None):
        return self.metadata.get(f"{self.architecture}.{key}", default)

    def logits(self, ids: list[int]) -> Array:
        """Logits of every position, (n_tokens, n_vocab)."""
        hidden = self.weights.rows("token_embd.weight", ids) * self._number("embedding_scale", 1.0)
        if self.style.scaled_embedding:
            hidden = hidden * math.sqrt(self.d_model)
        for layer in range(self.n_layers):
            hidden = self.layer(layer, hidden)
        head = "output" if "output.weight" in self.weights else "token_embd"
        logits = self._linear(head, self._norm("output_norm", hidden)) / self._number("logit_scale", 1.0)
        return soft_cap(logits, self._number("final_logit_softcapping", self.style.logit_cap))

    def greedy(self, ids: list[int], n: int) -> list[int]:
        """The `n` tokens that follow `ids` when the likeliest is always taken."""
        sequence = list(ids)
        for _ in range(n):
            sequence.append(int(self.logits(sequence)[-1].argmax()))
        return sequence[len(ids) :]

    def layer(self, index: int, hidden: Array) -> Array:
        """One block: attention and a feed-forward network, each added to what came in."""
        block = f"blk.{index}."
        after_attention, after_ffn = block + "post_attention_norm", block + "post_ffw_norm"
        before_attention, before_ffn = block + "attn_norm", block + "ffn_norm"
        if before_ffn + ".weight" not in self.weights and before_attention + ".weight" in self.weights:
            before_ffn, after_attention = after_attention, ""  # gpt-oss names it so
        scale: float = self._number("residual_scale", 1.0)
        mixed = self._attention(index, self._norm_if_there(before_attention, hidden))
        hidden = hidden + scale * self._norm_if_there(after_attention, mixed)
        x = self._norm_if_there(before_ffn, hidden)
        has_experts = block + "ffn_gate_inp.weight" in self.weights
        fed = self._experts(block, x) if has_experts else self._feed_forward(block, x)
        return hidden + scale * self._norm_if_there(after_ffn, fed)

    def _linear(self, name: str, x: Array, expert: int | None = None) -> Array:
        y = self.weights.product(name + ".weight", x, expert)
        if name + ".bias" in self.weights:
            bias = self.weights.get(name + ".bias")
            y = y + (bias if expert is None else bias[expert])
        return y

    def _norm(self, name: str, x: Array) -> Array:
        mean_square = np.mean(x * x, axis=-1, keepdims=True)
        return x / np.sqrt(mean_square + self.eps) * self.weights.get(name + ".weight")

    def _norm_if_there(self, name: str, x: Array) -> Array:
        return self._norm(name, x) if name + ".weight" in self.weights else x

    def _gated(self, gate: Array, up: Array) -> Array:
        if self.architecture == "gpt-oss":  # clamped, and up is off by one (GptOssExperts)
            gate, up = np.minimum(gate, 7.0), np.clip(up, -7.0, 7.0)
            return gate * sigmoid(1.702 * gate) * (up + 1.0)
        activation: Callable[[Array], Array] = gelu if self.style.gelu else silu
        return activation(gate) * up

    def _feed_forward(self, block: str, x: Array, suffix: str = "", expert: int | None = None) -> Array:
        up = self._linear(block + "ffn_up" + suffix, x, expert)
        if block + f"ffn_gate{suffix}.weight" in self.weights:
            gate = self._linear(block + "ffn_gate" + suffix, x, expert)
        else:
            gate, up = np.split(up, 2, axis=-1)
        return self._linear(block + "ffn_down" + suffix, self._gated(gate, up), expert)

    def _experts(self, block: str, x: Array) -> Array:
        """The best experts of each token, weighted by the router, and the shared one if there is one."""
        n_used: int = self._number("expert_used_count")
        total: float = self._number("expert_weights_scale", 1.0)
        scores = self._linear(block + "ffn_gate_inp", x)
        chosen = np.argsort(-scores, axis=-1, kind="stable")[:, :n_used]
        if self._number("expert_weights_norm", self.style.renormalized_experts):
            shares = total * softmax(np.take_along_axis(scores, chosen, -1))
        else:
            shares = total * np.take_along_axis(softmax(scores), chosen, -1)
        out = np.zeros_like(x)
        for expert in np.unique(chosen).tolist():
            tokens, ranks = np.nonzero(chosen == expert)
            fed = self._feed_forward(block, x[tokens], "_exps", expert)
            out[tokens] += shares[tokens, ranks][:, None] * fed
        if block + "ffn_up_shexp.weight" in self.weights:
            shared = self._feed_forward(block, x, "_shexp")
            if block + "ffn_gate_inp_shexp.weight" in self.weights:
                gate = self.weights.get(block + "ffn_gate_inp_shexp.weight").reshape(-1)
                shared *= sigmoid(x @ gate)[:, None]
            out += shared
        return out

    def is_turned(self, layer: int) -> bool:
        """Whether the layer has rotary positions."""
        if self.style.turned_windows and self.window:
            return self.is_local(layer)
        every = self.style.unturned_every
        return every == 0 or layer % every < every - 1

    def is_local(self, layer: int) -> bool:
        """Whether the layer sees only the last `window` tokens."""
        pattern = self._number("attention.sliding_window_pattern", self.style.global_every)
        if not self.window:
            return False
        if isinstance(pattern, list):
            return bool(pattern[layer])
        return pattern == 0 or layer % pattern < pattern - 1

    def rope(self, layer: int, n_tokens: int) -> Rope:
        """Rotary positions of one layer, in a sequence of that length."""
        base: float = self._number("rope.freq_base", 10000.0)
        half = self.rope_dims // 2
        local_base = self._number("rope.freq_base_swa", self.style.local_rope_base)
        if self.is_local(layer) and local_base:
            base = local_base
        frequencies, amplitude = base ** (-np.arange(half) / half), 1.0
        if not self.is_local(layer) or (self.style.scaled_windows and not self.style.local_rope_base):
            frequencies, amplitude = self._scaled(frequencies, base)
        return Rope(self._divided(frequencies, n_tokens), amplitude, self.style.adjacent_pairs)

    def _divided(self, frequencies: Array, n_tokens: int) -> Array:
        """By the factors the file holds: one set, or one for short sequences and one for long (LongRoPE,
        arXiv:2402.13753).
        """
        if "rope_factors_long.weight" in self.weights:
            trained = self._number("rope.scaling.original_context_length", self._number("context_length"))
            length = "long" if n_tokens > trained else "short"
            return frequencies / self.weights.get(f"rope_factors_{length}.weight")
        if "rope_freqs.weight" in self.weights:
            return frequencies / self.weights.get("rope_freqs.weight")
        return frequencies

    def _scaled(self, frequencies: Array, base: float) -> tuple[Array, float]:
        """Frequencies and amplitude after linear scaling or YaRN (arXiv:2309.00071)."""
        kind: str = self._number("rope.scaling.type", "linear")
        factor: float = self._number("rope.scaling.factor", self._number("rope.scale_linear", 1.0)) or 1.0
        amplitude: float = self._number("rope.scaling.attn_factor", 1.0)
        if kind == "linear":
            return frequencies / factor, amplitude
        if kind != "yarn":
            return frequencies, amplitude
        trained: int = self._number("rope.scaling.original_context_length", self._number("context_length"))

        def pair_of(turns: float) -> float:
            """Which pair turns so often within the trained context."""
            return self.rope_dims * math.log(trained / (turns * 2 * math.pi)) / (2 * math.log(base))

        first = pair_of(self._number("rope.scaling.yarn_beta_fast", 32.0))
        last = pair_of(self._number("rope.scaling.yarn_beta_slow", 1.0))
        if self.style.rounded_yarn:
            first, last = math.floor(first), math.ceil(last)
        first, last = max(first, 0), min(last, self.rope_dims - 1)
        strength: float = self._number("rope.scaling.yarn_ext_factor", 1.0)
        ramp = np.clip((np.arange(len(frequencies)) - first) / max(last - first, 0.001), 0.0, 1.0)
        growth = 0.1 * math.log(factor) if factor > 1.0 else 0.0
        magnitude = (1.0 + growth) / (1.0 + growth * self._number("rope.scaling.yarn_log_multiplier", 0.0))
        magnitude = self._number("rope.scaling.yarn_attn_factor", magnitude)
        kept = strength * (1.0 - ramp)
        return frequencies * (kept + (1.0 - kept) / factor), amplitude * magnitude

    def _queries_keys_values(self, block: str, x: Array) -> list[Array]:
        n, sizes = len(x), [self.n_heads, self.n_kv_heads, self.n_kv_heads]
        if block + "attn_qkv.weight" in self.weights:
            ends = np.cumsum(sizes)[:2] * self.head_dim
            parts = np.split(self._linear(block + "attn_qkv", x), ends, axis=-1)
        else:
            parts = [self._linear(block + "attn_" + part, x) for part in "qkv"]
        for i, name in enumerate((block + "attn_q_norm", block + "attn_k_norm")):
            if name + ".weight" in self.weights:  # of each head, or of all together
                width = self.weights.shape(name + ".weight")[-1]
                parts[i] = self._norm(name, parts[i].reshape(n, -1, width)).reshape(n, -1)
        return [part.reshape(n, size, self.head_dim) for part, size in zip(parts, sizes, strict=True)]

    def _hidden_from(self, layer: int, n: int) -> npt.NDArray[np.bool_]:
        """(query, key): the future, and in a local layer what lies a window or more back."""
        distance = np.arange(n)[:, None] - np.arange(n)[None, :]
        hidden: npt.NDArray[np.bool_] = distance < 0
        return hidden | (distance >= self.window) if self.is_local(layer) else hidden

    def _attention(self, layer: int, x: Array) -> Array:
        n, block = len(x), f"blk.{layer}."
        q, k, v = self._queries_keys_values(block, x)
        if self.is_turned(layer):
            rope = self.rope(layer, n)
            q, k = rope.apply(q), rope.apply(k)
        hidden = self._hidden_from(layer, n)
        cap: float = self._number("attn_logit_softcapping", self.style.attention_cap)
        mixed = np.empty_like(q)
        for head in range(self.n_heads):
            source = head // (self.n_heads // self.n_kv_heads)
            scores = soft_cap(q[:, head] @ k[:, source].T * self.scale, cap)
            scores[hidden] = -np.inf
            if block + "attn_sinks.weight" in self.weights:  # takes part of the attention, gives nothing
                sink = np.full((n, 1), self.weights.get(block + "attn_sinks.weight")[head])
                scores = np.concatenate([scores, sink], axis=1)
            mixed[:, head] = softmax(scores)[:, :n] @ v[:, source]
        return self._linear(block + "attn_output", mixed.reshape(n, -1))
