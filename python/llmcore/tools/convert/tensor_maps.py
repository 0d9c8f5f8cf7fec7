"""Names of the checkpoints' tensors and of the GGUF file's, by family."""

from __future__ import annotations

from dataclasses import replace

from llmcore.tools.convert.tensor_rules import (
    Rule,
    Transform,
    columns_as_rows,
    even_columns_as_rows,
    even_rows,
    even_values,
    first_half,
    keep,
    key_pairs,
    odd_columns_as_rows,
    odd_rows,
    odd_values,
    query_pairs,
    second_half,
)

Rules = tuple[Rule, ...]


def _layer(target: str, source: str, transform: Transform = keep, *, optional: bool = False) -> Rule:
    return Rule(f"blk.{{i}}.{target}", f"model.layers.{{i}}.{source}", transform, optional)


def _projection(target: str, source: str, transform: Transform = keep) -> Rules:
    """A weight, and a bias where the model has one."""
    return (
        _layer(f"{target}.weight", f"{source}.weight", transform),
        _layer(f"{target}.bias", f"{source}.bias", transform, optional=True),
    )


def _attention(query: Transform = keep, key: Transform = keep) -> Rules:
    return (
        *_projection("attn_q", "self_attn.q_proj", query),
        *_projection("attn_k", "self_attn.k_proj", key),
        *_projection("attn_v", "self_attn.v_proj"),
        *_projection("attn_output", "self_attn.o_proj"),
    )


_ENDS = (
    Rule("token_embd.weight", "model.embed_tokens.weight"),
    Rule("output_norm.weight", "model.norm.weight"),
    Rule("output.weight", "lm_head.weight", optional=True),
)
_NORMS = (
    _layer("attn_norm.weight", "input_layernorm.weight"),
    _layer("ffn_norm.weight", "post_attention_layernorm.weight"),
)
_FFN = (
    *_projection("ffn_gate", "mlp.gate_proj"),
    *_projection("ffn_up", "mlp.up_proj"),
    *_projection("ffn_down", "mlp.down_proj"),
)
_QK_NORMS = (
    _layer("attn_q_norm.weight", "self_attn.q_norm.weight"),
    _layer("attn_k_norm.weight", "self_attn.k_norm.weight"),
)
_QWEN_EXPERTS = (
    _layer("ffn_gate_inp.weight", "mlp.gate.weight"),
    _layer("ffn_gate_exps.weight", "mlp.experts.{e}.gate_proj.weight"),
    _layer("ffn_up_exps.weight", "mlp.experts.{e}.up_proj.weight"),
    _layer("ffn_down_exps.weight", "mlp.experts.{e}.down_proj.weight"),
    _layer("ffn_gate_exps.weight", "mlp.experts.gate_up_proj", first_half),
    _layer("ffn_up_exps.weight", "mlp.experts.gate_up_proj", second_half),
    _layer("ffn_down_exps.weight", "mlp.experts.down_proj"),
)
_LLAMA_ATTENTION = _attention(query_pairs, key_pairs)
_SANDWICH_NORMS = (
    _layer("attn_norm.weight", "input_layernorm.weight"),
    _layer("post_attention_norm.weight", "post_attention_layernorm.weight"),
    _layer("ffn_norm.weight", "pre_feedforward_layernorm.weight"),
    _layer("post_ffw_norm.weight", "post_feedforward_layernorm.weight"),
)


def _gemma(rules: Rules) -> Rules:
    """Gemma's norms multiply by 1 + weight; its output is always its embedding."""
    kept = (rule for rule in rules if rule.target != "output.weight")
    return tuple(replace(rule, shift=1.0) if rule.target.endswith("norm.weight") else rule for rule in kept)


LLAMA = (*_ENDS, *_NORMS, *_LLAMA_ATTENTION, *_FFN)
MIXTRAL = (
    *_ENDS,
    *_NORMS,
    *_LLAMA_ATTENTION,
    _layer("ffn_gate_inp.weight", "block_sparse_moe.gate.weight"),
    _layer("ffn_gate_exps.weight", "block_sparse_moe.experts.{e}.w1.weight"),
    _layer("ffn_down_exps.weight", "block_sparse_moe.experts.{e}.w2.weight"),
    _layer("ffn_up_exps.weight", "block_sparse_moe.experts.{e}.w3.weight"),
)
QWEN2 = (*_ENDS, *_NORMS, *_attention(), *_FFN)
QWEN2_MOE = (
    *_ENDS,
    *_NORMS,
    *_attention(),
    *_QWEN_EXPERTS,
    _layer("ffn_gate_inp_shexp.weight", "mlp.shared_expert_gate.weight"),
    _layer("ffn_gate_shexp.weight", "mlp.shared_expert.gate_proj.weight"),
    _layer("ffn_up_shexp.weight", "mlp.shared_expert.up_proj.weight"),
    _layer("ffn_down_shexp.weight", "mlp.shared_expert.down_proj.weight"),
)
QWEN3 = (*_ENDS, *_NORMS, *_attention(), *_QK_NORMS, *_FFN)
QWEN3_MOE = (*_ENDS, *_NORMS, *_attention(), *_QK_NORMS, *_QWEN_EXPERTS)
GEMMA = _gemma((*_ENDS, *_NORMS, *_attention(), *_FFN))
GEMMA2 = _gemma((*_ENDS, *_SANDWICH_NORMS, *_attention(), *_FFN))
GEMMA3 = _gemma((*_ENDS, *_SANDWICH_NORMS, *_attention(), *_QK_NORMS, *_FFN))
PHI3 = (
    *_ENDS,
    *_NORMS,
    *_projection("attn_qkv", "self_attn.qkv_proj"),
    *_projection("attn_output", "self_attn.o_proj"),
    *_projection("ffn_up", "mlp.gate_up_proj"),  # gate and up in one
    *_projection("ffn_down", "mlp.down_proj"),
)
GLM = (
    *_ENDS,
    *_NORMS,
    *_attention(),
    *_projection("ffn_up", "mlp.gate_up_proj"),
    *_projection("ffn_down", "mlp.down_proj"),
)
GLM4 = (
    *GLM,
    _layer("post_attention_norm.weight", "post_self_attn_layernorm.weight"),
    _layer("post_ffw_norm.weight", "post_mlp_layernorm.weight"),
)


def _packed(target: str, source: str, transform: Transform = keep) -> Rule:
    """Experts in MXFP4."""
    rule = _layer(target, f"mlp.experts.{source}_blocks", transform)
    return replace(rule, scales=f"model.layers.{{i}}.mlp.experts.{source}_scales")


GPT_OSS = (
    *_ENDS,
    _layer("attn_norm.weight", "input_layernorm.weight"),
    _layer("post_attention_norm.weight", "post_attention_layernorm.weight"),
    *_attention(),
    _layer("attn_sinks.weight", "self_attn.sinks"),
    *_projection("ffn_gate_inp", "mlp.router"),
    _layer("ffn_gate_exps.weight", "mlp.experts.gate_up_proj", even_columns_as_rows),
    _layer("ffn_up_exps.weight", "mlp.experts.gate_up_proj", odd_columns_as_rows),
    _layer("ffn_down_exps.weight", "mlp.experts.down_proj", columns_as_rows),
    _packed("ffn_gate_exps.weight", "gate_up_proj", even_rows),
    _packed("ffn_up_exps.weight", "gate_up_proj", odd_rows),
    _packed("ffn_down_exps.weight", "down_proj"),
    _layer("ffn_gate_exps.bias", "mlp.experts.gate_up_proj_bias", even_values),
    _layer("ffn_up_exps.bias", "mlp.experts.gate_up_proj_bias", odd_values),
    _layer("ffn_down_exps.bias", "mlp.experts.down_proj_bias"),
)


def _under(prefix: str, target: str, source: str, *, optional: bool = False) -> Rule:
    return Rule(f"blk.{{i}}.{target}", f"{prefix}.{{i}}.{source}", optional=optional)


_QWEN_LAYER = "transformer.h"
QWEN = (
    Rule("token_embd.weight", "transformer.wte.weight"),
    Rule("output_norm.weight", "transformer.ln_f.weight"),
    Rule("output.weight", "lm_head.weight"),
    _under(_QWEN_LAYER, "attn_norm.weight", "ln_1.weight"),
    _under(_QWEN_LAYER, "attn_qkv.weight", "attn.c_attn.weight"),
    _under(_QWEN_LAYER, "attn_qkv.bias", "attn.c_attn.bias"),
    _under(_QWEN_LAYER, "attn_output.weight", "attn.c_proj.weight"),
    _under(_QWEN_LAYER, "ffn_norm.weight", "ln_2.weight"),
    # w2 goes through the activation, w1 does not.
    _under(_QWEN_LAYER, "ffn_gate.weight", "mlp.w2.weight"),
    _under(_QWEN_LAYER, "ffn_up.weight", "mlp.w1.weight"),
    _under(_QWEN_LAYER, "ffn_down.weight", "mlp.c_proj.weight"),
)
_GLM_LAYER = "transformer.encoder.layers"
CHATGLM = (
    Rule("token_embd.weight", "transformer.embedding.word_embeddings.weight"),
    Rule("output_norm.weight", "transformer.encoder.final_layernorm.weight"),
    Rule("output.weight", "transformer.output_layer.weight"),
    _under(_GLM_LAYER, "attn_norm.weight", "input_layernorm.weight"),
    _under(_GLM_LAYER, "attn_qkv.weight", "self_attention.query_key_value.weight"),
    _under(_GLM_LAYER, "attn_qkv.bias", "self_attention.query_key_value.bias", optional=True),
    _under(_GLM_LAYER, "attn_output.weight", "self_attention.dense.weight"),
    _under(_GLM_LAYER, "ffn_norm.weight", "post_attention_layernorm.weight"),
    _under(_GLM_LAYER, "ffn_up.weight", "mlp.dense_h_to_4h.weight"),  # gate and up in one
    _under(_GLM_LAYER, "ffn_down.weight", "mlp.dense_4h_to_h.weight"),
)

# In checkpoints, but computed or of another part of the model.
IGNORED_ENDINGS = (
    ".rotary_emb.inv_freq",
    ".rotary_pos_emb.inv_freq",
    ".attn.masked_bias",
    ".attn.bias",
    "embeddings.position_ids",
)
IGNORED_BEGINNINGS = (
    "vision_tower.",
    "multi_modal_projector.",
    "model.vision_tower.",
    "model.multi_modal_projector.",
    # BERT's heads for other tasks than embedding.
    "pooler.",
    "bert.pooler.",
    "cls.",
)
# Where checkpoints with more than a language model, or with another head, keep it.
RENAMED_BEGINNINGS = (
    ("language_model.model.", "model."),
    ("language_model.lm_head.", "lm_head."),
    ("model.language_model.", "model."),
    ("bert.", ""),
    ("nomic_bert.", ""),
)
