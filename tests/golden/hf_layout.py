"""A tiny model as transformers has it: its configuration, and its weights in the layout of transformers."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import numpy.typing as npt
from tiny_models import (
    N_VOCAB,
    NORMS_AFTER_ONLY,
    ROPE_SECTIONS,
    SCALES,
    Experts,
    TinyModel,
    longrope_factors,
    tensors,
)
from transformers import (
    Ernie4_5Config,
    Exaone4Config,
    Gemma2Config,
    Gemma3TextConfig,
    GemmaConfig,
    Glm4Config,
    GlmConfig,
    GptOssConfig,
    GraniteConfig,
    GraniteMoeConfig,
    GraniteMoeSharedConfig,
    LlamaConfig,
    Ministral3Config,
    MistralConfig,
    MixtralConfig,
    Olmo2Config,
    Olmo3Config,
    OlmoeConfig,
    Phi3Config,
    Qwen2_5_VLTextConfig,
    Qwen2Config,
    Qwen2MoeConfig,
    Qwen3Config,
    Qwen3MoeConfig,
    Qwen3VLMoeTextConfig,
    Qwen3VLTextConfig,
    SeedOssConfig,
    SmolLM3Config,
)

Array = npt.NDArray[np.float64]
Named = Iterator[tuple[str, Array]]


# --- configuration ---------------------------------------------------------------------------------------


def config_of(model: TinyModel) -> Any:
    """The transformers configuration of a model."""
    common = {
        "vocab_size": N_VOCAB,
        "hidden_size": model.d_model,
        "intermediate_size": model.d_ff,
        "num_hidden_layers": model.n_layers,
        "num_attention_heads": model.n_heads,
        "num_key_value_heads": model.n_kv_heads,
        "rms_norm_eps": model.norm_eps,
        "max_position_embeddings": model.n_ctx_train,
        "tie_word_embeddings": model.tied,
        "rope_parameters": _rope(model),
        "pad_token_id": 0,
        "bos_token_id": 1,
        "eos_token_id": 2,
    }
    return _FAMILIES[model.family](model, common)


def _rope(model: TinyModel) -> dict[str, Any]:
    rope: dict[str, Any] = {"rope_type": "default", "rope_theta": model.rope_base}
    if model.rope_dims != model.head_dim:
        rope["partial_rotary_factor"] = model.rope_dims / model.head_dim
    scaling = model.rope_scaling
    if scaling is None:
        return rope
    rope["rope_type"] = scaling.kind
    if scaling.kind in ("linear", "llama3", "yarn"):
        rope["factor"] = scaling.factor
    if scaling.kind != "linear":
        rope["original_max_position_embeddings"] = scaling.original_context
    if scaling.kind == "llama3":
        rope |= {"low_freq_factor": 1.0, "high_freq_factor": 4.0}
    if scaling.kind == "longrope":
        long, short = longrope_factors(model)
        rope |= {"long_factor": long.tolist(), "short_factor": short.tolist()}
    if scaling.betas is not None:
        rope["beta_fast"], rope["beta_slow"] = scaling.betas
    if model.family == "gpt_oss":
        rope["truncate"] = False
    if model.family == "ministral3":
        rope |= {"mscale": 1.0, "mscale_all_dim": 1.0, "llama_4_scaling_beta": 0.1}
    return rope


def _llama(model: TinyModel, common: dict[str, Any]) -> Any:
    if model.qkv_bias != model.output_bias:
        raise ValueError("llama has biases on all four projections or on none")
    return LlamaConfig(
        **common, head_dim=model.head_dim, attention_bias=model.qkv_bias, mlp_bias=model.ffn_bias
    )


def _mistral(model: TinyModel, common: dict[str, Any]) -> Any:
    return MistralConfig(**common, head_dim=model.head_dim, sliding_window=model.window or None)


def _mixtral(model: TinyModel, common: dict[str, Any]) -> Any:
    experts = _experts(model)
    return MixtralConfig(
        **common, num_local_experts=experts.n, num_experts_per_tok=experts.n_used, sliding_window=None
    )


def _qwen2_moe(model: TinyModel, common: dict[str, Any]) -> Any:
    experts = _experts(model)
    return Qwen2MoeConfig(
        **common,
        num_experts=experts.n,
        num_experts_per_tok=experts.n_used,
        moe_intermediate_size=experts.d_ff,
        shared_expert_intermediate_size=experts.d_shared,
        norm_topk_prob=experts.normalized,
    )


def _qwen3_moe(model: TinyModel, common: dict[str, Any]) -> Any:
    experts = _experts(model)
    return Qwen3MoeConfig(
        **common,
        head_dim=model.head_dim,
        num_experts=experts.n,
        num_experts_per_tok=experts.n_used,
        moe_intermediate_size=experts.d_ff,
        norm_topk_prob=experts.normalized,
    )


def _gemma2(model: TinyModel, common: dict[str, Any]) -> Any:
    return Gemma2Config(
        **common,
        head_dim=model.head_dim,
        query_pre_attn_scalar=_score_width(model),
        sliding_window=model.window,
        layer_types=_layer_types(model),
        attn_logit_softcapping=model.attention_softcap,
        final_logit_softcapping=model.final_softcap,
    )


def _gemma3(model: TinyModel, common: dict[str, Any]) -> Any:
    local = {"rope_type": "default", "rope_theta": model.rope_base_window or 10000.0}
    rope = {"full_attention": common["rope_parameters"], "sliding_attention": local}
    return Gemma3TextConfig(
        **{**common, "rope_parameters": rope},
        head_dim=model.head_dim,
        query_pre_attn_scalar=_score_width(model),
        sliding_window=model.window,
        layer_types=_layer_types(model),
    )


def _phi3(model: TinyModel, common: dict[str, Any]) -> Any:
    scaling = model.rope_scaling
    return Phi3Config(
        **common,
        original_max_position_embeddings=scaling.original_context if scaling else model.n_ctx_train,
        partial_rotary_factor=model.rope_dims / model.head_dim,
        sliding_window=model.window or None,
    )


def _glm(config: type[Any]) -> Callable[[TinyModel, dict[str, Any]], Any]:
    return lambda model, common: config(**common, head_dim=model.head_dim, attention_bias=model.qkv_bias)


def _gpt_oss(model: TinyModel, common: dict[str, Any]) -> Any:
    experts = _experts(model)
    return GptOssConfig(
        **{**common, "intermediate_size": experts.d_ff},
        head_dim=model.head_dim,
        num_local_experts=experts.n,
        num_experts_per_tok=experts.n_used,
        sliding_window=model.window,
        layer_types=_layer_types(model),
    )


def _vision(config: type[Any]) -> Callable[[TinyModel, dict[str, Any]], Any]:
    def make(model: TinyModel, common: dict[str, Any]) -> Any:
        sections = {"mrope_section": list(ROPE_SECTIONS[model.architecture])}
        if model.architecture.startswith("qwen3"):
            sections["mrope_interleaved"] = True
            common = {**common, "head_dim": model.head_dim}
        if model.experts is not None:
            common |= {
                "num_experts": model.experts.n,
                "num_experts_per_tok": model.experts.n_used,
                "moe_intermediate_size": model.experts.d_ff,
            }
        return config(**{**common, "rope_parameters": common["rope_parameters"] | sections})

    return make


def _granite(config: type[Any]) -> Callable[[TinyModel, dict[str, Any]], Any]:
    def make(model: TinyModel, common: dict[str, Any]) -> Any:
        scales = SCALES[model.architecture]
        if (experts := model.experts) is not None:
            common |= {"num_local_experts": experts.n, "num_experts_per_tok": experts.n_used}
            common |= {"intermediate_size": experts.d_ff}
            common |= {"shared_intermediate_size": experts.d_shared} if experts.d_shared else {}
        return config(
            **common,
            embedding_multiplier=scales.embedding,
            attention_multiplier=scales.attention,
            residual_multiplier=scales.residual,
            logits_scaling=scales.logits,
        )

    return make


def _olmo3(model: TinyModel, common: dict[str, Any]) -> Any:
    local = {"rope_type": "default", "rope_theta": model.rope_base}
    rope = {"full_attention": common["rope_parameters"], "sliding_attention": local}
    return Olmo3Config(
        **{**common, "rope_parameters": rope}, sliding_window=model.window, layer_types=_layer_types(model)
    )


def _olmoe(model: TinyModel, common: dict[str, Any]) -> Any:
    experts = _experts(model)
    return OlmoeConfig(
        **{**common, "intermediate_size": experts.d_ff},
        num_experts=experts.n,
        num_experts_per_tok=experts.n_used,
        norm_topk_prob=experts.normalized,
    )


def _exaone4(model: TinyModel, common: dict[str, Any]) -> Any:
    return Exaone4Config(
        **common,
        head_dim=model.head_dim,
        sliding_window=model.window or None,
        layer_types=_layer_types(model),
    )


def _score_width(model: TinyModel) -> int:
    return model.d_model // model.n_heads if model.wide_scale else model.head_dim


def _experts(model: TinyModel) -> Experts:
    if model.experts is None:
        raise ValueError(f"{model.name} has no experts")
    return model.experts


def _layer_types(model: TinyModel) -> list[str]:
    windows = [model.layer_window(layer) for layer in range(model.n_layers)]
    return ["sliding_attention" if window else "full_attention" for window in windows]


_FAMILIES: dict[str, Callable[[TinyModel, dict[str, Any]], Any]] = {
    "llama": _llama,
    "mistral": _mistral,
    "mixtral": _mixtral,
    "qwen2": lambda _, common: Qwen2Config(**common),
    "qwen2_moe": _qwen2_moe,
    "qwen3": lambda model, common: Qwen3Config(**common, head_dim=model.head_dim),
    "qwen3_moe": _qwen3_moe,
    "gemma": lambda model, common: GemmaConfig(**common, head_dim=model.head_dim),
    "gemma2": _gemma2,
    "gemma3": _gemma3,
    "phi3": _phi3,
    "glm": _glm(GlmConfig),
    "glm4": _glm(Glm4Config),
    "gpt_oss": _gpt_oss,
    "qwen2_5_vl": _vision(Qwen2_5_VLTextConfig),
    "qwen3_vl": _vision(Qwen3VLTextConfig),
    "qwen3_vl_moe": _vision(Qwen3VLMoeTextConfig),
    "ministral3": lambda model, common: Ministral3Config(**common, head_dim=model.head_dim),
    "smollm3": lambda _, common: SmolLM3Config(**common),
    "seed_oss": lambda model, common: SeedOssConfig(
        **common, head_dim=model.head_dim, attention_bias=True, attention_out_bias=False
    ),
    "ernie4_5": lambda model, common: Ernie4_5Config(**common, head_dim=model.head_dim),
    "granite": _granite(GraniteConfig),
    "granitemoe": _granite(GraniteMoeConfig),
    "granitemoeshared": _granite(GraniteMoeSharedConfig),
    "olmo2": lambda _, common: Olmo2Config(**common),
    "olmo3": _olmo3,
    "olmoe": _olmoe,
    "exaone4": _exaone4,
}


# --- weights ---------------------------------------------------------------------------------------------


def state_dict_of(model: TinyModel) -> dict[str, Array]:
    """Every parameter of the transformers model, float64, by its name there."""
    weights = {name: values.astype(np.float64) for name, values in tensors(model).items()}
    state = {"model.embed_tokens.weight": weights["token_embd.weight"]}
    state["model.norm.weight"] = _norm(model, weights["output_norm.weight"])
    if not model.tied:
        state["lm_head.weight"] = weights["output.weight"]
    for layer in range(model.n_layers):
        prefix = f"blk.{layer}."
        own = {name[len(prefix) :]: values for name, values in weights.items() if name.startswith(prefix)}
        named = (*_norms(model, own), *_projections(model, own), *_feed_forward(model, own))
        for name, values in named:
            state[f"model.layers.{layer}.{name}"] = values
    return state


def _norm(model: TinyModel, values: Array) -> Array:
    """Gemma's published weights are what is added to 1, GGUF's the sum."""
    return values - 1.0 if model.family.startswith("gemma") else values


def _norms(model: TinyModel, own: dict[str, Array]) -> Named:
    names = {"attn_norm": "input_layernorm", "ffn_norm": "post_attention_layernorm"}
    if model.family in ("gemma2", "gemma3"):
        names |= {
            "post_attention_norm": "post_attention_layernorm",
            "ffn_norm": "pre_feedforward_layernorm",
            "post_ffw_norm": "post_feedforward_layernorm",
        }
    if model.family == "glm4":
        names |= {"post_attention_norm": "post_self_attn_layernorm", "post_ffw_norm": "post_mlp_layernorm"}
    if model.family in ("gpt_oss", "seed_oss"):
        names = {"attn_norm": "input_layernorm", "post_attention_norm": "post_attention_layernorm"}
    if model.architecture in NORMS_AFTER_ONLY:
        names = {
            "post_attention_norm": "post_attention_layernorm",
            "post_ffw_norm": "post_feedforward_layernorm",
        }
    if model.qk_norm:
        names |= {"attn_q_norm": "self_attn.q_norm", "attn_k_norm": "self_attn.k_norm"}
    for name, hf_name in names.items():
        yield f"{hf_name}.weight", _norm(model, own[f"{name}.weight"])


def _projections(model: TinyModel, own: dict[str, Array]) -> Named:
    for end in ("weight", "bias"):
        if f"attn_output.{end}" in own:
            yield f"self_attn.o_proj.{end}", own[f"attn_output.{end}"]
        if f"attn_qkv.{end}" in own and model.family == "phi3":
            yield f"self_attn.qkv_proj.{end}", own[f"attn_qkv.{end}"]
        elif f"attn_qkv.{end}" in own or f"attn_q.{end}" in own:
            for letter, values in zip("qkv", _split_qkv(model, own, end), strict=True):
                yield f"self_attn.{letter}_proj.{end}", values
    if model.family == "gpt_oss":
        yield "self_attn.sinks", own["attn_sinks.weight"]


def _split_qkv(model: TinyModel, own: dict[str, Array], end: str) -> list[Array]:
    if f"attn_qkv.{end}" in own:
        q_end = model.n_heads * model.head_dim
        k_end = q_end + model.n_kv_heads * model.head_dim
        return np.split(own[f"attn_qkv.{end}"], [q_end, k_end])
    q, k, v = (own[f"attn_{letter}.{end}"] for letter in "qkv")
    if model.architecture in ("llama", "mistral3", "smollm3", "granite", "granitemoe"):
        q, k = _from_neighbours(q, model.head_dim), _from_neighbours(k, model.head_dim)
    return [q, k, v]


def _from_neighbours(rows: Array, head_dim: int) -> Array:
    """GGUF's llama turns neighbouring rows of a head, transformers its first half with its second."""
    heads = rows.reshape(-1, head_dim // 2, 2, *rows.shape[1:])
    return np.ascontiguousarray(heads.swapaxes(1, 2)).reshape(rows.shape)


def _feed_forward(model: TinyModel, own: dict[str, Array]) -> Named:
    if model.family == "gpt_oss":
        yield from _gpt_oss_experts(own)
    elif model.experts is not None:
        granite = model.architecture == "granitemoe"
        block = "block_sparse_moe" if granite else "mlp"
        yield f"{block}.{'router' if granite else 'gate'}.weight", own["ffn_gate_inp.weight"]
        gate_up = np.concatenate([own["ffn_gate_exps.weight"], own["ffn_up_exps.weight"]], axis=1)
        yield f"{block}.experts.gate_up_proj", gate_up
        yield f"{block}.experts.down_proj", own["ffn_down_exps.weight"]
        if model.experts.d_shared and granite:
            both = np.concatenate([own["ffn_gate_shexp.weight"], own["ffn_up_shexp.weight"]])
            yield "shared_mlp.input_linear.weight", both
            yield "shared_mlp.output_linear.weight", own["ffn_down_shexp.weight"]
        elif model.experts.d_shared:
            yield "mlp.shared_expert_gate.weight", own["ffn_gate_inp_shexp.weight"][None, :]
            for part in ("gate", "up", "down"):
                yield f"mlp.shared_expert.{part}_proj.weight", own[f"ffn_{part}_shexp.weight"]
    elif model.fused_gate_up:
        yield "mlp.gate_up_proj.weight", own["ffn_up.weight"]
        yield "mlp.down_proj.weight", own["ffn_down.weight"]
    else:
        for part in ("gate", "up", "down"):
            yield f"mlp.{part}_proj.weight", own[f"ffn_{part}.weight"]
            if model.ffn_bias:
                yield f"mlp.{part}_proj.bias", own[f"ffn_{part}.bias"]


def _gpt_oss_experts(own: dict[str, Array]) -> Named:
    """Columns where GGUF has rows; gate and up alternate."""
    yield "mlp.router.weight", own["ffn_gate_inp.weight"]
    yield "mlp.router.bias", own["ffn_gate_inp.bias"]
    for end, suffix in (("weight", ""), ("bias", "_bias")):
        gate, up = own[f"ffn_gate_exps.{end}"], own[f"ffn_up_exps.{end}"]
        both = np.stack([gate, up], axis=2).reshape(gate.shape[0], -1, *gate.shape[2:])
        down = own[f"ffn_down_exps.{end}"]
        if end == "weight":
            both, down = both.swapaxes(1, 2), down.swapaxes(1, 2)
        yield f"mlp.experts.gate_up_proj{suffix}", np.ascontiguousarray(both)
        yield f"mlp.experts.down_proj{suffix}", np.ascontiguousarray(down)
