"""BERT and Nomic's BERT: names of their tensors, and the numbers that their GGUF files state."""

from __future__ import annotations

from gguf import GGUFWriter

from llmcore.tools.convert.config import Config
from llmcore.tools.convert.errors import unusable
from llmcore.tools.convert.tensor_rules import Rule

Rules = tuple[Rule, ...]


def _pair(target: str, source: str) -> Rules:
    """A weight and its bias."""
    return Rule(f"{target}.weight", f"{source}.weight"), Rule(f"{target}.bias", f"{source}.bias")


def _layer(target: str, source: str) -> Rules:
    return _pair(f"blk.{{i}}.{target}", f"encoder.layer.{{i}}.{source}")


def _nomic_layer(target: str, source: str) -> Rule:
    return Rule(f"blk.{{i}}.{target}.weight", f"encoder.layers.{{i}}.{source}.weight")


BERT: Rules = (
    Rule("token_embd.weight", "embeddings.word_embeddings.weight"),
    Rule("token_types.weight", "embeddings.token_type_embeddings.weight"),
    Rule("position_embd.weight", "embeddings.position_embeddings.weight"),
    *_pair("token_embd_norm", "embeddings.LayerNorm"),
    *_layer("attn_q", "attention.self.query"),
    *_layer("attn_k", "attention.self.key"),
    *_layer("attn_v", "attention.self.value"),
    *_layer("attn_output", "attention.output.dense"),
    *_layer("attn_output_norm", "attention.output.LayerNorm"),
    *_layer("ffn_up", "intermediate.dense"),
    *_layer("ffn_down", "output.dense"),
    *_layer("layer_output_norm", "output.LayerNorm"),
)
NOMIC_BERT: Rules = (
    Rule("token_embd.weight", "embeddings.word_embeddings.weight"),
    Rule("token_types.weight", "embeddings.token_type_embeddings.weight", optional=True),
    *_pair("token_embd_norm", "emb_ln"),
    _nomic_layer("attn_qkv", "attn.Wqkv"),
    _nomic_layer("attn_output", "attn.out_proj"),
    *_pair("blk.{i}.attn_output_norm", "encoder.layers.{i}.norm1"),
    # fc12 goes through the activation, fc11 does not.
    _nomic_layer("ffn_gate", "mlp.fc12"),
    _nomic_layer("ffn_up", "mlp.fc11"),
    _nomic_layer("ffn_down", "mlp.fc2"),
    *_pair("blk.{i}.layer_output_norm", "encoder.layers.{i}.norm2"),
)


def add_bert(writer: GGUFWriter, config: Config) -> None:
    """BERT: each position is a vector of its own."""
    positions = config.find("position_embedding_type")
    if positions not in (None, "absolute"):
        raise unusable("position_embedding_type in config.json", positions, "absolute")
    _add_sizes(writer, config)
    writer.add_context_length(config.size("max_position_embeddings"))
    writer.add_feed_forward_length(config.size("intermediate_size"))
    writer.add_token_type_count(config.size("type_vocab_size"))
    writer.add_layer_norm_eps(config.number("layer_norm_eps"))


def add_nomic_bert(writer: GGUFWriter, config: Config) -> None:
    """Nomic's BERT as nomic-embed-text v1 and v1.5 are configured.

    The context is the trained one: beyond it their code scales RoPE by the length of each text.
    """
    wanted = {
        "activation_function": "swiglu", "prenorm": False, "causal": False, "use_rms_norm": False,
        "parallel_block": False, "qkv_proj_bias": False, "mlp_fc1_bias": False, "mlp_fc2_bias": False,
        "rotary_emb_interleaved": False, "num_experts": 0,
    }  # fmt: skip
    for key, value in wanted.items():
        found = config.find(key)
        if found is not None and found != value:
            raise unusable(f"{key} in config.json", found, value)
    if (share := config.number("rotary_emb_fraction", default=1.0)) != 1.0:
        raise unusable("rotary_emb_fraction in config.json", share, "1")
    width = config.size("n_embd", "hidden_size")
    _add_sizes(writer, config)
    writer.add_context_length(config.size("max_trained_positions", "n_positions", "max_position_embeddings"))
    writer.add_feed_forward_length(config.size("n_inner", "intermediate_size", default=4 * width))
    writer.add_token_type_count(config.size("type_vocab_size", default=1))
    writer.add_layer_norm_eps(config.number("layer_norm_epsilon", "layer_norm_eps"))
    writer.add_rope_freq_base(config.number("rotary_emb_base", default=1000.0))


def _add_sizes(writer: GGUFWriter, config: Config) -> None:
    width, heads = config.size("n_embd", "hidden_size"), config.size("n_head", "num_attention_heads")
    if width % heads != 0:
        raise unusable(
            "hidden_size and num_attention_heads in config.json", f"{width} and {heads}", "whole heads"
        )
    writer.add_block_count(config.size("n_layer", "num_hidden_layers"))
    writer.add_embedding_length(width)
    writer.add_head_count(heads)
    writer.add_causal_attention(False)
