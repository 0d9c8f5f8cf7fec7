"""Writes the golden states of every tiny encoder, in float64.

Usage: python make_golden_encoders.py. Needs torch and transformers, which the tests do not; made with
torch 2.13 and transformers 5.24. BERT is transformers' own `BertModel`. Nomic's encoder was published with
modelling code of its own (nomic-ai/nomic-bert-2048), whose mathematics `nomic_states` follows in NumPy;
transformers' later `NomicBertModel`, which rounds its angles to float32, has to agree to that.

A file holds, for each text, the states after the last layer as float32 (n_tokens, d_model), and the
fingerprint of the model they belong to.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from tiny_encoders import ENCODERS, N_VOCAB, TinyEncoder, fingerprint, tensors, texts
from transformers import BertConfig, BertModel, NomicBertConfig, NomicBertModel, logging

HERE = Path(__file__).resolve().parent

Array = npt.NDArray[np.float64]
States = Callable[[list[int]], Array]


def bert_states(encoder: TinyEncoder) -> States:
    """transformers' BERT with the encoder's weights, every parameter set."""
    network = BertModel(
        BertConfig(
            vocab_size=N_VOCAB,
            hidden_size=encoder.d_model,
            num_hidden_layers=encoder.n_layers,
            num_attention_heads=encoder.n_heads,
            intermediate_size=encoder.d_ff,
            max_position_embeddings=encoder.n_ctx,
            type_vocab_size=encoder.n_types,
            layer_norm_eps=encoder.norm_eps,
            hidden_act="gelu",
            attn_implementation="eager",
        ),
        add_pooling_layer=False,
    )
    network = network.double().eval()
    state = {name: torch.from_numpy(values) for name, values in _bert_names(encoder)}
    expected = dict(network.named_parameters())
    if set(state) != set(expected):
        raise SystemExit(f"{encoder.name}: parameters differ: {sorted(set(state) ^ set(expected))}")
    with torch.no_grad():
        for name, parameter in expected.items():
            if parameter.shape != state[name].shape:
                raise SystemExit(f"{encoder.name}: {name}: {parameter.shape}, {state[name].shape}")
            parameter.copy_(state[name])

    def states(ids: list[int]) -> Array:
        with torch.no_grad():
            found: Array = network(torch.tensor([ids])).last_hidden_state[0].numpy()
        return found

    return states


_ENDS = {
    "token_embd": "embeddings.word_embeddings",
    "token_types": "embeddings.token_type_embeddings",
    "position_embd": "embeddings.position_embeddings",
    "token_embd_norm": "embeddings.LayerNorm",
}
_LAYER = {
    "attn_q": "attention.self.query",
    "attn_k": "attention.self.key",
    "attn_v": "attention.self.value",
    "attn_output": "attention.output.dense",
    "attn_output_norm": "attention.output.LayerNorm",
    "ffn_up": "intermediate.dense",
    "ffn_down": "output.dense",
    "layer_output_norm": "output.LayerNorm",
}


def _bert_names(encoder: TinyEncoder) -> Iterator[tuple[str, Array]]:
    for name, stored in tensors(encoder).items():
        values = stored.astype(np.float64)
        stem, kind = name.rsplit(".", 1)
        if not stem.startswith("blk."):
            yield f"{_ENDS[stem]}.{kind}", values
            continue
        _, layer, part = stem.split(".")
        prefix = f"encoder.layer.{layer}."
        if part == "attn_qkv":
            for letter, third in zip("qkv", np.split(values, 3), strict=True):
                yield f"{prefix}{_LAYER['attn_' + letter]}.{kind}", third
        else:
            yield f"{prefix}{_LAYER[part]}.{kind}", values


def nomic_states(encoder: TinyEncoder) -> States:
    """`NomicBertModel` as nomic-embed-text v1 and v1.5 are configured: norms behind sums, rotary halves,
    SwiGLU (`fc11`, the up projection, times the SiLU of `fc12`, the gate), no biases but the norms'."""
    weights = {name: values.astype(np.float64) for name, values in tensors(encoder).items()}

    def norm(x: Array, name: str) -> Array:
        centred = x - x.mean(-1, keepdims=True)
        spread = (centred**2).mean(-1, keepdims=True) + encoder.norm_eps
        found: Array = centred / np.sqrt(spread) * weights[f"{name}.weight"] + weights[f"{name}.bias"]
        return found

    def states(ids: list[int]) -> Array:
        x = weights["token_embd.weight"][ids]
        if encoder.n_types:
            x = x + weights["token_types.weight"][0]
        x = norm(x, "token_embd_norm")
        for layer in range(encoder.n_layers):
            prefix = f"blk.{layer}."
            mixed = x @ weights[f"{prefix}attn_qkv.weight"].T
            attended = _attention(encoder, mixed) @ weights[f"{prefix}attn_output.weight"].T
            x = norm(attended + x, f"{prefix}attn_output_norm")
            gate = x @ weights[f"{prefix}ffn_gate.weight"].T
            up = x @ weights[f"{prefix}ffn_up.weight"].T
            made = (up * gate / (1 + np.exp(-gate))) @ weights[f"{prefix}ffn_down.weight"].T
            x = norm(made + x, f"{prefix}layer_output_norm")
        return x

    return states


_NOMIC_LAYER = {
    "attn_output": "self_attn.o_proj",
    "attn_output_norm": "post_attention_layernorm",
    "ffn_gate": "mlp.gate_proj",
    "ffn_up": "mlp.up_proj",
    "ffn_down": "mlp.down_proj",
    "layer_output_norm": "post_mlp_layernorm",
}


def transformers_nomic_states(encoder: TinyEncoder) -> States:
    """The same from transformers."""
    network = NomicBertModel(
        NomicBertConfig(
            vocab_size=N_VOCAB,
            hidden_size=encoder.d_model,
            num_hidden_layers=encoder.n_layers,
            num_attention_heads=encoder.n_heads,
            intermediate_size=encoder.d_ff,
            max_position_embeddings=encoder.n_ctx,
            type_vocab_size=max(1, encoder.n_types),
            layer_norm_eps=encoder.norm_eps,
            rope_parameters={"rope_type": "default", "rope_theta": encoder.rope_base},
            attn_implementation="eager",
        ),
        add_pooling_layer=False,
    )
    network = network.double().eval()
    state = {"embeddings.token_type_embeddings.weight": torch.zeros(1, encoder.d_model)}
    for name, stored in tensors(encoder).items():
        values = torch.from_numpy(stored.astype(np.float64))
        stem, kind = name.rsplit(".", 1)
        if not stem.startswith("blk."):
            state[f"{_ENDS[stem]}.{kind}"] = values
            continue
        _, layer, part = stem.split(".")
        if part == "attn_qkv":
            for letter, third in zip("qkv", values.chunk(3), strict=True):
                state[f"layers.{layer}.self_attn.{letter}_proj.{kind}"] = third
        else:
            state[f"layers.{layer}.{_NOMIC_LAYER[part]}.{kind}"] = values
    network.load_state_dict(state, strict=True)

    def states(ids: list[int]) -> Array:
        with torch.no_grad():
            found: Array = network(torch.tensor([ids])).last_hidden_state[0].numpy()
        return found

    return states


def check_nomic(encoder: TinyEncoder) -> None:
    """Raises SystemExit where the two disagree."""
    one, other = nomic_states(encoder), transformers_nomic_states(encoder)
    for ids in texts(encoder):
        difference = np.abs(one(ids) - other(ids)).max()
        if not difference < 2e-5:
            raise SystemExit(f"{encoder.name}: transformers differs by {difference}")


def _attention(encoder: TinyEncoder, mixed: Array) -> Array:
    n = len(mixed)
    q, k, v = (
        part.reshape(n, encoder.n_heads, encoder.head_dim).transpose(1, 0, 2)
        for part in np.split(mixed, 3, axis=-1)
    )
    dims = encoder.head_dim
    angles = np.outer(np.arange(n), encoder.rope_base ** (-np.arange(0, dims, 2) / dims))

    def rotate(heads: Array) -> Array:
        first, second = np.split(heads, 2, axis=-1)
        cos, sin = np.cos(angles), np.sin(angles)
        return np.concatenate([first * cos - second * sin, second * cos + first * sin], axis=-1)

    scores = rotate(q) @ rotate(k).transpose(0, 2, 1) / np.sqrt(dims)
    shares = np.exp(scores - scores.max(-1, keepdims=True))
    shares /= shares.sum(-1, keepdims=True)
    return (shares @ v).transpose(1, 0, 2).reshape(n, -1)


def main() -> None:
    logging.set_verbosity_error()
    for encoder in ENCODERS:
        if encoder.architecture != "bert":
            check_nomic(encoder)
        states = (bert_states if encoder.architecture == "bert" else nomic_states)(encoder)
        found = {f"states_{i}": states(ids) for i, ids in enumerate(texts(encoder))}
        if not all(np.isfinite(values).all() and values.std() > 0.3 for values in found.values()):
            raise SystemExit(f"{encoder.name}: states are not finite, or hardly differ")
        np.savez_compressed(
            HERE / f"{encoder.name}.npz",
            fingerprint=np.array(fingerprint(encoder)),
            **{name: values.astype(np.float32) for name, values in found.items()},
        )
        print(encoder.name, {name: values.shape for name, values in found.items()})


if __name__ == "__main__":
    main()
