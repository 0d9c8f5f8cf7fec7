"""The table of supported models: everything that differs from one `model_type` to the next."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
from gguf import GGUFWriter

from llmcore.tools.convert import model_metadata, tensor_maps
from llmcore.tools.convert.config import Config, text_config
from llmcore.tools.convert.encoders import BERT, NOMIC_BERT, add_bert, add_nomic_bert
from llmcore.tools.convert.errors import unusable
from llmcore.tools.convert.tensor_rules import Rule

Vectors = dict[str, npt.NDArray[np.float32]]


def _no_vectors(config: Config) -> Vectors:
    del config
    return {}


def llama3_factors(config: Config) -> Vectors:
    """Divisors of RoPE's frequencies for rope_type llama3, which stretches long waves and leaves short ones.

    Formula: Llama 3.1's published `apply_scaling`.
    """
    rope = config.rope()
    if rope.values["rope_type"].lower() != "llama3":
        return {}
    dims = config.head_dim
    factor = rope.number("factor", default=8.0)
    low, high = rope.number("low_freq_factor", default=1.0), rope.number("high_freq_factor", default=4.0)
    context = rope.number("original_max_position_embeddings", default=8192)
    exponents = np.arange(0, dims, 2, dtype=np.float32) / np.float32(dims)
    frequencies = np.float32(1) / np.float32(rope.number("rope_theta", default=10000.0)) ** exponents
    if not (factor > 0 and low > 0 and high > low and context > 0):
        raise unusable("rope_scaling in config.json", dict(rope.values), "positive factors, low below high")
    waves = context / (2 * math.pi / frequencies.astype(np.float64))  # turns within the original context
    smooth = np.clip((waves - low) / (high - low), 0.0, 1.0)
    return {"rope_freqs.weight": (1.0 / ((1.0 - smooth) / factor + smooth)).astype(np.float32)}


def longrope_factors(config: Config) -> Vectors:
    """Phi-3's divisors for contexts up to the original length and beyond."""
    rope = model_metadata.long_rope(config)
    if rope.short is None or rope.long is None:
        return {}
    return {
        "rope_factors_long.weight": np.array(rope.long, np.float32),
        "rope_factors_short.weight": np.array(rope.short, np.float32),
    }


@dataclass(frozen=True)
class Architecture:
    """How models of one `model_type` are converted.

    `name` is the GGUF file's general.architecture. `defaults` are the numbers that the model's own code
    assumes where config.json is silent. `vectors` are tensors that are computed from the configuration.
    """

    name: str
    rules: tuple[Rule, ...]
    add_metadata: Callable[[GGUFWriter, Config], None]
    defaults: Mapping[str, Any] = field(default_factory=dict)
    vectors: Callable[[Config], Vectors] = _no_vectors
    ties_embeddings: bool = False
    activations: tuple[str, ...] = ("silu", "swish")
    """Names of the activation that readers apply."""
    encodes: bool = False
    """Whether it makes vectors of texts, and has no head."""


# Gemma's code applies the tanh form whatever the older files call it.
_GELU = ("gelu_pytorch_tanh", "gelu_tanh", "gelu")
_LLAMA = {"max_position_embeddings": 2048, "rms_norm_eps": 1e-6}
_QWEN2 = {"max_position_embeddings": 32768, "rms_norm_eps": 1e-6}
_GEMMA2 = {
    "num_key_value_heads": 4, "head_dim": 256, "max_position_embeddings": 8192, "rms_norm_eps": 1e-6,
    "attn_logit_softcapping": 50.0, "final_logit_softcapping": 30.0, "sliding_window": 4096,
}  # fmt: skip
_GEMMA3 = {
    "num_attention_heads": 8, "num_key_value_heads": 4, "head_dim": 256, "vocab_size": 262208,
    "max_position_embeddings": 131072, "rms_norm_eps": 1e-6, "sliding_window": 4096,
    "rope_theta": 1e6, "rope_local_base_freq": 10000.0,
}  # fmt: skip
_gemma3 = Architecture(
    "gemma3", tensor_maps.GEMMA3, model_metadata.add_gemma3, _GEMMA3, ties_embeddings=True, activations=_GELU
)

ARCHITECTURES: dict[str, Architecture] = {
    "llama": Architecture("llama", tensor_maps.LLAMA, model_metadata.add_llama, _LLAMA, llama3_factors),
    "mistral": Architecture(
        "llama",
        tensor_maps.LLAMA,
        model_metadata.add_llama,
        {"num_key_value_heads": 8, "max_position_embeddings": 131072, "rms_norm_eps": 1e-6},
        llama3_factors,
    ),
    "mixtral": Architecture(
        "llama",
        tensor_maps.MIXTRAL,
        model_metadata.add_llama,
        {
            "num_key_value_heads": 8,
            "max_position_embeddings": 131072,
            "rms_norm_eps": 1e-5,
            "rope_theta": 1e6,
            "num_local_experts": 8,
            "num_experts_per_tok": 2,
        },
        llama3_factors,
    ),
    "qwen": Architecture("qwen", tensor_maps.QWEN, model_metadata.add_qwen),
    "qwen2": Architecture("qwen2", tensor_maps.QWEN2, model_metadata.add_qwen2, _QWEN2),
    "qwen2_moe": Architecture(
        "qwen2moe",
        tensor_maps.QWEN2_MOE,
        model_metadata.add_qwen_moe,
        {**_QWEN2, "num_experts": 60, "num_experts_per_tok": 4, "moe_intermediate_size": 1408},
    ),
    "qwen3": Architecture("qwen3", tensor_maps.QWEN3, model_metadata.add_qwen2, {**_QWEN2, "head_dim": 128}),
    "qwen3_moe": Architecture(
        "qwen3moe",
        tensor_maps.QWEN3_MOE,
        model_metadata.add_qwen_moe,
        {**_QWEN2, "num_experts": 128, "num_experts_per_tok": 8, "moe_intermediate_size": 768},
    ),
    "gemma": Architecture(
        "gemma",
        tensor_maps.GEMMA,
        model_metadata.add_gemma,
        {"head_dim": 256, "max_position_embeddings": 8192, "rms_norm_eps": 1e-6},
        ties_embeddings=True,
        activations=_GELU,
    ),
    "gemma2": Architecture(
        "gemma2",
        tensor_maps.GEMMA2,
        model_metadata.add_gemma2,
        _GEMMA2,
        ties_embeddings=True,
        activations=_GELU,
    ),
    "gemma3": _gemma3,
    "gemma3_text": _gemma3,
    "phi3": Architecture(
        "phi3",
        tensor_maps.PHI3,
        model_metadata.add_phi3,
        {"max_position_embeddings": 4096, "rms_norm_eps": 1e-5, "original_max_position_embeddings": 4096},
        longrope_factors,
    ),
    "chatglm": Architecture("chatglm", tensor_maps.CHATGLM, model_metadata.add_chatglm),
    "glm": Architecture(
        "chatglm",
        tensor_maps.GLM,
        model_metadata.add_chatglm,
        {"max_position_embeddings": 131072, "rms_norm_eps": 1.5625e-7, "head_dim": 128},
    ),
    "glm4": Architecture(
        "glm4",
        tensor_maps.GLM4,
        model_metadata.add_glm4,
        {"max_position_embeddings": 131072, "rms_norm_eps": 1.5625e-7, "head_dim": 128},
    ),
    "gpt_oss": Architecture(
        "gpt-oss",
        tensor_maps.GPT_OSS,
        model_metadata.add_gpt_oss,
        {
            "max_position_embeddings": 131072,
            "rms_norm_eps": 1e-5,
            "sliding_window": 128,
            "rope_theta": 150000.0,
        },
    ),
    "bert": Architecture(
        "bert",
        BERT,
        add_bert,
        {"max_position_embeddings": 512, "layer_norm_eps": 1e-12, "type_vocab_size": 2},
        activations=("gelu",),
        encodes=True,
    ),
    "nomic_bert": Architecture(
        "nomic-bert", NOMIC_BERT, add_nomic_bert, {"layer_norm_epsilon": 1e-12}, encodes=True
    ),
}


def find_architecture(values: Mapping[str, Any]) -> tuple[Architecture, Config]:
    """The table's row for a configuration, and its numbers with defaults filled in.

    Raises ModelError for a model that is not in the table, and for a quantized checkpoint.
    """
    model_type = values.get("model_type")
    architecture = ARCHITECTURES.get(model_type) if isinstance(model_type, str) else None
    if architecture is None:
        raise unusable("model_type in config.json", repr(model_type), f"one of {', '.join(ARCHITECTURES)}")
    quantized = values.get("quantization_config")
    method = quantized.get("quant_method") if isinstance(quantized, dict) else quantized
    if quantized and (method, model_type) != ("mxfp4", "gpt_oss"):
        raise unusable("the checkpoint is quantized", method, "the original weights, f32, f16 or bf16")
    activation = text_config(values).get("hidden_activation") or text_config(values).get("hidden_act")
    if activation is not None and activation not in architecture.activations:
        raise unusable("hidden_act in config.json", activation, " or ".join(architecture.activations))
    own = {key: value for key, value in text_config(values).items() if value is not None}
    merged = {**architecture.defaults, **own}
    # A number that is null means what the model's code makes of it, not the default of an absent one.
    merged.update({key: None for key, value in text_config(values).items() if value is None})
    return architecture, Config(merged)
