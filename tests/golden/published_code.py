"""Qwen-7B and ChatGLM3-6B in float64 NumPy.

Both were published with modelling code of their own, which transformers does not include; this follows that
code's mathematics. Weights are those of the GGUF file, which keeps both models' fused layouts.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
import numpy.typing as npt
from tiny_models import TinyModel

Array = npt.NDArray[np.float64]
Rotation = Callable[[Array, Array], Array]


def qwen_logits(model: TinyModel, weights: Mapping[str, npt.NDArray[np.float32]], ids: list[int]) -> Array:
    """`QWenLMHeadModel` below its trained length, where neither dynamic NTK nor log-n scaling applies.

    (n_tokens, n_vocab). Its `w1` is GGUF's up projection, `w2`, which the activation is applied to, the gate.
    """

    def feed_forward(x: Array, weight: Callable[[str], Array]) -> Array:
        a1 = x @ weight("ffn_up.weight").T
        a2 = x @ weight("ffn_gate.weight").T
        return (a1 * _silu(a2)) @ weight("ffn_down.weight").T

    return _logits(model, weights, ids, _rotate_halves, feed_forward)


def chatglm3_logits(
    model: TinyModel, weights: Mapping[str, npt.NDArray[np.float32]], ids: list[int]
) -> Array:
    """`ChatGLMForConditionalGeneration` of ChatGLM3, multi-query groups, (n_tokens, n_vocab).

    The first half of each head turns, in pairs of neighbours.
    """

    def feed_forward(x: Array, weight: Callable[[str], Array]) -> Array:
        gate, up = np.split(x @ weight("ffn_up.weight").T, 2, axis=-1)
        return (_silu(gate) * up) @ weight("ffn_down.weight").T

    return _logits(model, weights, ids, _rotate_neighbours, feed_forward)


def _logits(
    model: TinyModel,
    weights: Mapping[str, npt.NDArray[np.float32]],
    ids: list[int],
    rotate: Rotation,
    feed_forward: Callable[[Array, Callable[[str], Array]], Array],
) -> Array:
    exact = {name: values.astype(np.float64) for name, values in weights.items()}
    hidden = exact["token_embd.weight"][ids]
    for layer in range(model.n_layers):

        def weight(name: str, layer: int = layer) -> Array:
            return exact[f"blk.{layer}.{name}"]

        normed = _rms_norm(hidden, weight("attn_norm.weight"), model.norm_eps)
        hidden = hidden + _attention(model, normed, weight, rotate)
        normed = _rms_norm(hidden, weight("ffn_norm.weight"), model.norm_eps)
        hidden = hidden + feed_forward(normed, weight)
    return _rms_norm(hidden, exact["output_norm.weight"], model.norm_eps) @ exact["output.weight"].T


def _attention(model: TinyModel, x: Array, weight: Callable[[str], Array], rotate: Rotation) -> Array:
    n_tokens, group = len(x), model.n_heads // model.n_kv_heads
    mixed = x @ weight("attn_qkv.weight").T + weight("attn_qkv.bias")
    q_end = model.n_heads * model.head_dim
    k_end = q_end + model.n_kv_heads * model.head_dim
    q, k, v = (
        part.reshape(n_tokens, -1, model.head_dim).transpose(1, 0, 2)
        for part in np.split(mixed, [q_end, k_end], axis=-1)
    )
    angles = np.outer(
        np.arange(n_tokens), model.rope_base ** (-np.arange(0, model.rope_dims, 2) / model.rope_dims)
    )
    q, k = rotate(q, angles), np.repeat(rotate(k, angles), group, axis=0)
    scores = q @ k.transpose(0, 2, 1) / np.sqrt(model.head_dim)
    scores = np.where(np.tri(n_tokens, dtype=bool), scores, -np.inf)
    scores = np.exp(scores - scores.max(axis=-1, keepdims=True))
    probabilities = scores / scores.sum(axis=-1, keepdims=True)
    heads = probabilities @ np.repeat(v, group, axis=0)
    return heads.transpose(1, 0, 2).reshape(n_tokens, -1) @ weight("attn_output.weight").T


def _rotate_halves(x: Array, angles: Array) -> Array:
    """Turns the pairs (i, i + n) of the first 2 n elements, n columns of `angles`."""
    n = angles.shape[-1]
    first, second = x[..., :n], x[..., n : 2 * n]
    cos, sin = np.cos(angles), np.sin(angles)
    return np.concatenate([first * cos - second * sin, second * cos + first * sin, x[..., 2 * n :]], axis=-1)


def _rotate_neighbours(x: Array, angles: Array) -> Array:
    """Turns the pairs (2 i, 2 i + 1) of the first 2 n elements, n columns of `angles`."""
    n = angles.shape[-1]
    turned = x.copy()
    even, odd = x[..., 0 : 2 * n : 2], x[..., 1 : 2 * n : 2]
    turned[..., 0 : 2 * n : 2] = even * np.cos(angles) - odd * np.sin(angles)
    turned[..., 1 : 2 * n : 2] = odd * np.cos(angles) + even * np.sin(angles)
    return turned


def _rms_norm(x: Array, weight: Array, eps: float) -> Array:
    return x / np.sqrt((x**2).mean(axis=-1, keepdims=True) + eps) * weight


def _silu(x: Array) -> Array:
    return x / (1.0 + np.exp(-x))
