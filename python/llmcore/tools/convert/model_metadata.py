"""The numbers of a model that its GGUF file states, by family, under the keys that GGUF readers expect."""

from __future__ import annotations

import math
from dataclasses import dataclass

from gguf import GGUFWriter, RopeScalingType

from llmcore.tools.convert.config import Config
from llmcore.tools.convert.errors import unusable


def _add_sizes(writer: GGUFWriter, config: Config) -> None:
    heads = config.size("num_attention_heads")
    writer.add_block_count(config.size("num_hidden_layers"))
    writer.add_context_length(config.size("max_position_embeddings"))
    writer.add_embedding_length(config.size("hidden_size"))
    writer.add_feed_forward_length(config.size("intermediate_size"))
    writer.add_head_count(heads)
    writer.add_head_count_kv(config.size("num_key_value_heads", default=heads))
    writer.add_layer_norm_rms_eps(config.number("rms_norm_eps"))
    if config.find("head_dim") is not None:
        writer.add_key_length(config.head_dim)
        writer.add_value_length(config.head_dim)
    if (experts := config.find("num_local_experts", "num_experts")) is not None:
        writer.add_expert_count(config.size("num_local_experts", "num_experts", default=experts))
        writer.add_expert_used_count(config.size("num_experts_per_tok"))


def _add_rope(writer: GGUFWriter, config: Config, share: float = 1.0, *, rounds_yarn: bool = True) -> None:
    """RoPE's base and scaling; `share` of a head's dimensions is what the family's readers turn.
    rounds_yarn: whether they round the borders of YaRN's ramp."""
    rope = config.rope()
    if (found := config.rotary_share(share)) != share:
        raise unusable("partial_rotary_factor in config.json", found, share)
    writer.add_rope_freq_base(rope.number("rope_theta", default=10000.0))
    match rope.values["rope_type"].lower():
        # llama3's factors are a tensor; dynamic scaling begins beyond the context that the file states.
        case "default" | "llama3" | "dynamic":
            pass
        case "linear":
            writer.add_rope_scaling_type(RopeScalingType.LINEAR)
            writer.add_rope_scaling_factor(rope.number("factor"))
        case "yarn":
            if (found := rope.flag("truncate", default=True)) != rounds_yarn:
                raise unusable("truncate of YaRN in config.json", found, rounds_yarn)
            _add_yarn(writer, rope)
        case other:
            raise unusable("rope_type in config.json", other, "default, linear, llama3 or yarn")


def _add_yarn(writer: GGUFWriter, rope: Config) -> None:
    writer.add_rope_scaling_type(RopeScalingType.YARN)
    writer.add_rope_scaling_factor(rope.number("factor"))
    writer.add_rope_scaling_orig_ctx_len(rope.size("original_max_position_embeddings"))
    if rope.find("extrapolation_factor") is not None:
        writer.add_rope_scaling_yarn_ext_factor(rope.number("extrapolation_factor"))
    if (relative := _yarn_magnitude(rope)) != 1.0:
        writer.add_rope_scaling_attn_factors(relative)
    if rope.find("beta_fast") is not None:
        writer.add_rope_scaling_yarn_beta_fast(rope.number("beta_fast"))
    if rope.find("beta_slow") is not None:
        writer.add_rope_scaling_yarn_beta_slow(rope.number("beta_slow"))


def _yarn_magnitude(rope: Config) -> float:
    """How much larger than 1 + 0.1 ln(factor), which readers apply, the model wants its vectors."""

    def magnitude(scale: float) -> float:
        return 0.1 * scale * math.log(factor) + 1.0 if factor > 1.0 else 1.0

    factor = rope.number("factor")
    if rope.find("attention_factor", "attn_factor") is not None:
        wanted = rope.number("attention_factor", "attn_factor")
    elif rope.find("mscale") and rope.find("mscale_all_dim"):
        scale, all_dims = rope.number("mscale"), rope.number("mscale_all_dim")
        if scale < 0 or all_dims < 0:
            raise unusable("mscale in config.json", f"{scale} and {all_dims}", "positive numbers")
        wanted = magnitude(scale) / magnitude(all_dims)
    else:
        return 1.0
    return wanted / magnitude(1.0)


def _windowed_layers(config: Config, period: int) -> list[bool]:
    """Which layers have a sliding window: all but every `period`-th, or all for 0, unless the file says."""
    n_layers = config.size("num_hidden_layers")
    kinds = config.find("layer_types")
    if kinds is None:
        return [period == 0 or (layer + 1) % period != 0 for layer in range(n_layers)]
    known = {"sliding_attention": True, "full_attention": False}
    sound = isinstance(kinds, list) and len(kinds) == n_layers
    if not sound or not all(isinstance(kind, str) and kind in known for kind in kinds):
        raise unusable("layer_types in config.json", kinds, f"{n_layers} of {' or '.join(known)}")
    return [known[kind] for kind in kinds]


def _add_windows(writer: GGUFWriter, config: Config, period: int, usual: int | None = None) -> None:
    """Readers assume `usual` periods, `period` by default; a file whose layers are otherwise lists them."""
    layers = _windowed_layers(config, period)
    if config.find("sliding_window") is None or not any(layers):
        return
    writer.add_sliding_window(config.size("sliding_window"))
    usual = period if usual is None else usual
    if layers != [usual == 0 or (layer + 1) % usual != 0 for layer in range(len(layers))]:
        writer.add_sliding_window_pattern(layers)


def add_qwen2(writer: GGUFWriter, config: Config) -> None:
    """Qwen2 and Qwen3; a sliding window, where one is used, begins at a layer."""
    _add_sizes(writer, config)
    _add_rope(writer, config)
    if config.flag("use_sliding_window") and config.find("sliding_window") is not None:
        first = config.number("max_window_layers", default=28)
        if config.find("layer_types") is None:
            n_layers = config.size("num_hidden_layers")
            kinds = ["sliding_attention" if layer >= first else "full_attention" for layer in range(n_layers)]
            config = Config({**config.values, "layer_types": kinds})
        _add_windows(writer, config, period=0)


def add_llama(writer: GGUFWriter, config: Config) -> None:
    """Llama, Mistral and Mixtral."""
    _add_sizes(writer, config)
    _add_rope(writer, config)
    writer.add_vocab_size(config.size("vocab_size"))
    writer.add_rope_dimension_count(config.head_dim)
    _add_windows(writer, config, period=0)


def add_qwen_moe(writer: GGUFWriter, config: Config) -> None:
    """Qwen2-MoE and Qwen3-MoE, whose every layer has experts."""
    if config.find("mlp_only_layers") or config.size("decoder_sparse_step", default=1) != 1:
        raise unusable("layers without experts (mlp_only_layers, decoder_sparse_step in config.json)")
    add_qwen2(writer, config)
    writer.add_expert_feed_forward_length(config.size("moe_intermediate_size"))
    normalizes = config.flag("norm_topk_prob")
    if normalizes != (config.values["model_type"] == "qwen3_moe"):  # what readers assume
        writer.add_expert_weights_norm(normalizes)
    if config.find("shared_expert_intermediate_size") is not None:
        writer.add_expert_shared_feed_forward_length(config.size("shared_expert_intermediate_size"))


def add_qwen(writer: GGUFWriter, config: Config) -> None:
    """The first Qwen. Its intermediate_size counts gate and up together, as the key does."""
    heads, width = config.size("num_attention_heads"), config.size("hidden_size")
    writer.add_block_count(config.size("num_hidden_layers"))
    writer.add_context_length(config.size("max_position_embeddings", "seq_length"))
    writer.add_embedding_length(width)
    writer.add_feed_forward_length(config.size("intermediate_size"))
    writer.add_head_count(heads)
    writer.add_rope_freq_base(config.number("rotary_emb_base", default=10000.0))
    writer.add_rope_dimension_count(width // heads)
    writer.add_layer_norm_rms_eps(config.number("layer_norm_epsilon", default=1e-6))


def add_gemma(writer: GGUFWriter, config: Config) -> None:
    """Gemma."""
    _add_sizes(writer, config)
    _add_rope(writer, config)


def add_gemma2(writer: GGUFWriter, config: Config) -> None:
    """Gemma 2: every other layer has a sliding window, and scores and logits are capped."""
    add_gemma(writer, config)
    _add_query_scale(writer, config)
    writer.add_attn_logit_softcapping(config.number("attn_logit_softcapping", default=0.0))
    writer.add_final_logit_softcapping(config.number("final_logit_softcapping", default=0.0))
    _add_windows(writer, config, period=2)


def _add_query_scale(writer: GGUFWriter, config: Config) -> None:
    scalar = config.number("query_pre_attn_scalar", default=256)
    if scalar <= 0:
        raise unusable("query_pre_attn_scalar in config.json", scalar, "a positive number")
    if scalar != config.head_dim:
        writer.add_attention_scale(1.0 / math.sqrt(scalar))


def add_gemma3(writer: GGUFWriter, config: Config) -> None:
    """Gemma 3: every sixth layer sees everything and has its own base of RoPE."""
    if config.find("attn_logit_softcapping") is not None:
        raise unusable("attn_logit_softcapping in config.json", config.find("attn_logit_softcapping"), "none")
    _add_sizes(writer, config)
    _add_rope(writer, config)
    if (local := config.local_rope_theta()) is not None:
        writer.add_rope_freq_base_swa(local)
    if config.find("final_logit_softcapping") is not None:
        writer.add_final_logit_softcapping(config.number("final_logit_softcapping"))
    _add_query_scale(writer, config)
    _add_windows(writer, config, config.size("sliding_window_pattern", default=6), usual=6)


@dataclass(frozen=True)
class LongRope:
    """Phi-3's position factors: `original` context, RoPE's dimensions, and the factors of both ranges."""

    original: int
    dimensions: int
    short: list[float] | None
    long: list[float] | None
    attention_factor: float | None


def long_rope(config: Config) -> LongRope:
    """Reads `rope_scaling` of Phi-3; the factors are None where the model has none."""
    rope = config.rope()
    longest = config.size("max_position_embeddings")
    original = rope.size("original_max_position_embeddings", default=longest)
    if original < 2:
        raise unusable("original_max_position_embeddings in config.json", original, "2 or more")
    dimensions = int(config.rotary_share(1.0) * config.size("hidden_size")) // config.size(
        "num_attention_heads"
    )
    if not rope.find("long_factor"):
        return LongRope(original, dimensions, None, None, None)
    scale = longest / original
    attention = 1.0
    match rope.values["rope_type"].lower():
        case "su" | "longrope":
            if scale > 1.0:
                attention = math.sqrt(1 + math.log(scale) / math.log(original))
        case "yarn":
            if scale > 1.0:
                attention = 0.1 * math.log(scale) + 1.0
        case other:
            raise unusable("rope_type in config.json", other, "longrope, su or yarn")
    short = rope.numbers("short_factor", dimensions // 2)
    return LongRope(
        original,
        dimensions,
        short,
        rope.numbers("long_factor", dimensions // 2),
        rope.number("attention_factor", default=attention),
    )


def add_phi3(writer: GGUFWriter, config: Config) -> None:
    """Phi-3 and Phi-4: a window of 0 says that there is none."""
    rope = long_rope(config)
    heads = config.size("num_attention_heads")
    writer.add_block_count(config.size("num_hidden_layers"))
    writer.add_context_length(config.size("max_position_embeddings"))
    writer.add_rope_scaling_orig_ctx_len(rope.original)
    writer.add_embedding_length(config.size("hidden_size"))
    writer.add_feed_forward_length(config.size("intermediate_size"))
    writer.add_head_count(heads)
    writer.add_head_count_kv(config.size("num_key_value_heads", default=heads))
    writer.add_layer_norm_rms_eps(config.number("rms_norm_eps"))
    writer.add_rope_dimension_count(rope.dimensions)
    writer.add_rope_freq_base(config.rope().number("rope_theta", default=10000.0))
    window = config.find("sliding_window")
    writer.add_sliding_window(0 if window is None else config.size("sliding_window"))
    if rope.attention_factor is not None:
        writer.add_rope_scaling_attn_factors(rope.attention_factor)


def add_chatglm(writer: GGUFWriter, config: Config) -> None:
    """ChatGLM 2, 3 and GLM-4 with their own code, and GLM-4 as the library has it: half of a head turns."""
    width = config.size("hidden_size")
    heads = config.size("num_attention_heads")
    groups = config.size("multi_query_group_num", "num_key_value_heads", default=heads)
    if config.flag("apply_residual_connection_post_layernorm"):
        raise unusable("apply_residual_connection_post_layernorm in config.json", True, False)
    writer.add_block_count(config.size("num_hidden_layers", "num_layers"))
    writer.add_context_length(config.size("seq_length", "max_position_embeddings"))
    writer.add_embedding_length(width)
    writer.add_feed_forward_length(config.size("ffn_hidden_size", "intermediate_size"))
    writer.add_head_count(heads)
    writer.add_head_count_kv(groups if config.flag("multi_query_attention", default=True) else heads)
    writer.add_layer_norm_rms_eps(config.number("layernorm_epsilon", "rms_norm_eps", default=1e-5))
    rope = config.rope()
    head_dim = config.size("kv_channels", "head_dim", default=width // heads)
    if head_dim * heads != width:
        writer.add_key_length(head_dim)
        writer.add_value_length(head_dim)
    writer.add_rope_dimension_count(int(head_dim * config.rotary_share(0.5)))
    base = rope.number("rope_theta", default=10000.0)
    writer.add_rope_freq_base(base * config.number("rope_ratio", default=1.0))


def add_glm4(writer: GGUFWriter, config: Config) -> None:
    """GLM-4-0414."""
    _add_sizes(writer, config)
    share = config.rotary_share(0.5)
    _add_rope(writer, config, share)
    writer.add_rope_dimension_count(int(config.head_dim * share))


def add_gpt_oss(writer: GGUFWriter, config: Config) -> None:
    """gpt-oss: every other layer has a sliding window."""
    _add_sizes(writer, config)
    _add_rope(writer, config, rounds_yarn=False)
    _add_windows(writer, config, period=2)
    writer.add_expert_feed_forward_length(config.size("intermediate_size"))
