"""Writes tiny model folders: configurations, random weights under the published names, tokenizers."""

from __future__ import annotations

import json
import struct
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from tiny_tokenizers import byte_level_json, sentencepiece_proto, tiktoken_text

VOCAB, WIDTH, HEADS, KV_HEADS, FF, LAYERS, EXPERTS, EXPERT_FF = 320, 64, 4, 2, 96, 2, 4, 32
HEAD_DIM = 32  # not WIDTH / HEADS, where the model has a key for it

_BASE = {
    "vocab_size": VOCAB,
    "hidden_size": WIDTH,
    "intermediate_size": FF,
    "num_hidden_layers": LAYERS,
    "num_attention_heads": HEADS,
    "num_key_value_heads": KV_HEADS,
    "max_position_embeddings": 256,
    "rms_norm_eps": 1e-5,
    "tie_word_embeddings": False,
}
_MOE = {"num_experts": EXPERTS, "num_experts_per_tok": 2, "moe_intermediate_size": EXPERT_FF}

CONFIGS: dict[str, dict[str, Any]] = {
    "llama": {**_BASE, "rope_theta": 500000.0, "bos_token_id": 316, "eos_token_id": [317, 319]},
    "mistral": {**_BASE, "sliding_window": 8, "head_dim": HEAD_DIM, "rope_theta": 10000.0},
    "mixtral": {**_BASE, "num_local_experts": EXPERTS, "num_experts_per_tok": 2, "rope_theta": 1e6},
    "qwen2": {**_BASE, "rope_theta": 1e6, "tie_word_embeddings": True, "use_sliding_window": False},
    "qwen2_moe": {**_BASE, **_MOE, "shared_expert_intermediate_size": FF, "rope_theta": 1e6},
    "qwen3": {**_BASE, "head_dim": HEAD_DIM, "rope_theta": 1e6},
    "qwen3_moe": {**_BASE, **_MOE, "head_dim": HEAD_DIM, "rope_theta": 1e6, "norm_topk_prob": True},
    "gemma": {**_BASE, "head_dim": HEAD_DIM, "tie_word_embeddings": True},
    "gemma2": {
        **_BASE, "head_dim": HEAD_DIM, "sliding_window": 8, "attn_logit_softcapping": 50.0,
        "final_logit_softcapping": 30.0, "query_pre_attn_scalar": HEAD_DIM, "tie_word_embeddings": True,
    },
    "gemma3_text": {
        **_BASE, "head_dim": HEAD_DIM, "sliding_window": 8, "rope_theta": 1e6,
        "rope_local_base_freq": 10000.0, "query_pre_attn_scalar": HEAD_DIM, "tie_word_embeddings": True,
    },
    "phi3": {
        **_BASE, "sliding_window": None, "rope_theta": 10000.0, "original_max_position_embeddings": 64,
        "rope_scaling": {
            "type": "longrope", "short_factor": [1.0 + i / 8 for i in range(8)],
            "long_factor": [2.0 + i for i in range(8)],
        },
    },
    "glm": {**_BASE, "head_dim": 16, "partial_rotary_factor": 0.5, "rope_theta": 10000.0},
    "glm4": {**_BASE, "head_dim": 16, "partial_rotary_factor": 0.5, "rope_theta": 10000.0},
    "gpt_oss": {
        **_BASE, "head_dim": HEAD_DIM, "num_local_experts": EXPERTS, "num_experts_per_tok": 2,
        "sliding_window": 8, "rope_theta": 150000.0,
        "rope_scaling": {
            "rope_type": "yarn", "factor": 32.0, "beta_fast": 32.0, "beta_slow": 1.0,
            "original_max_position_embeddings": 64, "truncate": False,
        },
    },
    "qwen": {
        "vocab_size": VOCAB + 200, "hidden_size": WIDTH, "intermediate_size": 2 * FF,
        "num_hidden_layers": LAYERS, "num_attention_heads": HEADS, "kv_channels": 16, "seq_length": 128,
        "layer_norm_epsilon": 1e-6, "rotary_emb_base": 10000, "max_position_embeddings": 256,
    },
    "chatglm": {
        "padded_vocab_size": VOCAB, "hidden_size": WIDTH, "ffn_hidden_size": FF, "num_layers": LAYERS,
        "num_attention_heads": HEADS, "multi_query_attention": True, "multi_query_group_num": KV_HEADS,
        "kv_channels": 16, "layernorm_epsilon": 1e-5, "seq_length": 128, "rope_ratio": 50,
    },
}  # fmt: skip


def bfloat16_bits(values: np.ndarray) -> np.ndarray:
    """The upper half of float32's bits, which is bfloat16 where the lower half is 0."""
    return (np.ascontiguousarray(values, np.float32).view(np.uint32) >> 16).astype(np.uint16)


def write_safetensors(path: Path, tensors: dict[str, np.ndarray], *, bfloat16: bool = False) -> None:
    """Writes the format: float32, float16 or uint8 by NumPy's type, or all float32 ones as bfloat16."""
    header: dict[str, Any] = {"__metadata__": {"format": "pt"}}
    data = b""
    for name, array in tensors.items():
        dtype = {"float32": "F32", "float16": "F16", "uint8": "U8", "int64": "I64"}[array.dtype.name]
        content = array
        if bfloat16 and dtype == "F32":
            dtype, content = "BF16", bfloat16_bits(array)
        begin = len(data)
        data += np.ascontiguousarray(content).tobytes()
        header[name] = {"dtype": dtype, "shape": list(array.shape), "data_offsets": [begin, len(data)]}
    text = json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text + data)


@dataclass
class ModelFolder:
    """What a folder holds; `write` puts it on disk."""

    config: dict[str, Any]
    tensors: dict[str, np.ndarray]
    files: dict[str, Any] = field(default_factory=dict)
    """Other files: text, bytes, or an object for JSON."""
    bfloat16: bool = False
    path: Path = Path()

    def write(self, path: Path) -> Path:
        path.mkdir(exist_ok=True)
        self.path = path
        (path / "config.json").write_text(json.dumps(self.config))
        write_safetensors(path / "model.safetensors", self.tensors, bfloat16=self.bfloat16)
        for name, content in self.files.items():
            if isinstance(content, bytes):
                (path / name).write_bytes(content)
            else:
                text = content if isinstance(content, str) else json.dumps(content)
                (path / name).write_text(text)
        return path

    def write_shards(self, path: Path) -> Path:
        """The same with the weights in two files and an index."""
        self.write(path)
        (path / "model.safetensors").unlink()
        names = sorted(self.tensors)
        shards = {
            "model-00001-of-00002.safetensors": names[::2],
            "model-00002-of-00002.safetensors": names[1::2],
        }
        for file, held in shards.items():
            write_safetensors(path / file, {name: self.tensors[name] for name in held})
        index = {"weight_map": {name: file for file, held in shards.items() for name in held}}
        (path / "model.safetensors.index.json").write_text(json.dumps(index))
        return path


def _dense(source: str, heads: dict[str, int], ff: int = FF) -> dict[str, tuple[int, ...]]:
    return {
        f"{source}.self_attn.q_proj.weight": (heads["q"], WIDTH),
        f"{source}.self_attn.k_proj.weight": (heads["k"], WIDTH),
        f"{source}.self_attn.v_proj.weight": (heads["k"], WIDTH),
        f"{source}.self_attn.o_proj.weight": (WIDTH, heads["q"]),
    } | _gated(f"{source}.mlp", ff)


def _gated(source: str, ff: int) -> dict[str, tuple[int, ...]]:
    return {
        f"{source}.gate_proj.weight": (ff, WIDTH),
        f"{source}.up_proj.weight": (ff, WIDTH),
        f"{source}.down_proj.weight": (WIDTH, ff),
    }


def _layer_shapes(model_type: str, source: str, head_dim: int) -> dict[str, tuple[int, ...]]:  # noqa: PLR0912
    heads = {"q": HEADS * head_dim, "k": KV_HEADS * head_dim}
    shapes = _dense(source, heads)
    norms = ["input_layernorm", "post_attention_layernorm"]
    experts: dict[str, tuple[int, ...]] = {}
    match model_type:
        case "mixtral":
            for e in range(EXPERTS):
                expert = f"{source}.block_sparse_moe.experts.{e}"
                experts |= {f"{expert}.{w}.weight": (FF, WIDTH) for w in ("w1", "w3")}
                experts[f"{expert}.w2.weight"] = (WIDTH, FF)
            experts[f"{source}.block_sparse_moe.gate.weight"] = (EXPERTS, WIDTH)
        case "qwen2_moe" | "qwen3_moe":
            for e in range(EXPERTS):
                experts |= _gated(f"{source}.mlp.experts.{e}", EXPERT_FF)
            experts[f"{source}.mlp.gate.weight"] = (EXPERTS, WIDTH)
        case "gpt_oss":
            experts = {
                f"{source}.mlp.router.weight": (EXPERTS, WIDTH),
                f"{source}.mlp.router.bias": (EXPERTS,),
                f"{source}.mlp.experts.gate_up_proj": (EXPERTS, WIDTH, 2 * FF),
                f"{source}.mlp.experts.gate_up_proj_bias": (EXPERTS, 2 * FF),
                f"{source}.mlp.experts.down_proj": (EXPERTS, FF, WIDTH),
                f"{source}.mlp.experts.down_proj_bias": (EXPERTS, WIDTH),
                f"{source}.self_attn.sinks": (HEADS,),
            }
        case "phi3" | "glm" | "glm4":
            fused = {
                f"{source}.mlp.gate_up_proj.weight": (2 * FF, WIDTH),
                f"{source}.mlp.down_proj.weight": (WIDTH, FF),
            }
            shapes = {name: shape for name, shape in shapes.items() if ".mlp." not in name} | fused
        case "gemma2" | "gemma3_text":
            norms += ["pre_feedforward_layernorm", "post_feedforward_layernorm"]
    if experts:
        shapes = {name: shape for name, shape in shapes.items() if ".mlp." not in name} | experts
    if model_type == "qwen2_moe":
        shapes |= _gated(f"{source}.mlp.shared_expert", FF)
        shapes[f"{source}.mlp.shared_expert_gate.weight"] = (1, WIDTH)
    if model_type == "phi3":
        shapes = {
            name: shape for name, shape in shapes.items() if "_proj.weight" not in name or "mlp" in name
        }
        shapes[f"{source}.self_attn.qkv_proj.weight"] = (heads["q"] + 2 * heads["k"], WIDTH)
        shapes[f"{source}.self_attn.o_proj.weight"] = (WIDTH, heads["q"])
    if model_type in ("qwen2", "qwen2_moe", "gpt_oss"):
        biased = {"q": heads["q"], "k": heads["k"], "v": heads["k"]}
        shapes |= {f"{source}.self_attn.{part}_proj.bias": (rows,) for part, rows in biased.items()}
    if model_type in ("qwen3", "qwen3_moe", "gemma3_text"):
        shapes |= {f"{source}.self_attn.{part}_norm.weight": (head_dim,) for part in "qk"}
    if model_type == "glm4":
        norms += ["post_self_attn_layernorm", "post_mlp_layernorm"]
    return shapes | {f"{source}.{norm}.weight": (WIDTH,) for norm in norms}


def _shapes(model_type: str, config: dict[str, Any]) -> dict[str, tuple[int, ...]]:
    if model_type == "qwen":
        return _qwen_shapes(config["vocab_size"])
    if model_type == "chatglm":
        return _chatglm_shapes()
    shapes: dict[str, tuple[int, ...]] = {
        "model.embed_tokens.weight": (VOCAB, WIDTH),
        "model.norm.weight": (WIDTH,),
    }
    if not config["tie_word_embeddings"]:
        shapes["lm_head.weight"] = (VOCAB, WIDTH)
    head_dim = config.get("head_dim") or WIDTH // HEADS
    for i in range(config["num_hidden_layers"]):
        shapes |= _layer_shapes(model_type, f"model.layers.{i}", head_dim)
    return shapes


def _qwen_shapes(vocab: int) -> dict[str, tuple[int, ...]]:
    shapes: dict[str, tuple[int, ...]] = {
        "transformer.wte.weight": (vocab, WIDTH),
        "transformer.ln_f.weight": (WIDTH,),
        "lm_head.weight": (vocab, WIDTH),
    }
    for i in range(LAYERS):
        shapes |= {
            f"transformer.h.{i}.ln_1.weight": (WIDTH,),
            f"transformer.h.{i}.attn.c_attn.weight": (3 * WIDTH, WIDTH),
            f"transformer.h.{i}.attn.c_attn.bias": (3 * WIDTH,),
            f"transformer.h.{i}.attn.c_proj.weight": (WIDTH, WIDTH),
            f"transformer.h.{i}.ln_2.weight": (WIDTH,),
            f"transformer.h.{i}.mlp.w1.weight": (FF, WIDTH),
            f"transformer.h.{i}.mlp.w2.weight": (FF, WIDTH),
            f"transformer.h.{i}.mlp.c_proj.weight": (WIDTH, FF),
        }
    return shapes


def _chatglm_shapes() -> dict[str, tuple[int, ...]]:
    rows = (HEADS + 2 * KV_HEADS) * 16
    shapes: dict[str, tuple[int, ...]] = {
        "transformer.embedding.word_embeddings.weight": (VOCAB, WIDTH),
        "transformer.rotary_pos_emb.inv_freq": (4,),
        "transformer.encoder.final_layernorm.weight": (WIDTH,),
        "transformer.output_layer.weight": (VOCAB, WIDTH),
    }
    for i in range(LAYERS):
        layer = f"transformer.encoder.layers.{i}"
        shapes |= {
            f"{layer}.input_layernorm.weight": (WIDTH,),
            f"{layer}.self_attention.query_key_value.weight": (rows, WIDTH),
            f"{layer}.self_attention.query_key_value.bias": (rows,),
            f"{layer}.self_attention.dense.weight": (WIDTH, WIDTH),
            f"{layer}.post_attention_layernorm.weight": (WIDTH,),
            f"{layer}.mlp.dense_h_to_4h.weight": (2 * FF, WIDTH),
            f"{layer}.mlp.dense_4h_to_h.weight": (WIDTH, FF),
        }
    return shapes


def _tokenizer_files(model_type: str) -> dict[str, Any]:
    if model_type == "qwen":
        generation = {"chat_format": "chatml", "eos_token_id": 151643}
        return {"qwen.tiktoken": tiktoken_text(), "generation_config.json": generation}
    if model_type == "chatglm":
        return {"tokenizer.model": sentencepiece_proto()}
    if model_type.startswith("gemma"):
        settings = {
            "bos_token": "<s>",
            "eos_token": "</s>",
            "add_bos_token": True,
            "chat_template": "{{ 1 }}",
        }
        return {"tokenizer.model": sentencepiece_proto(), "tokenizer_config.json": settings}
    settings = {
        "bos_token": "<|begin|>", "eos_token": {"content": "<|end|>"}, "chat_template": "{{ messages }}",
    }  # fmt: skip
    return {"tokenizer.json": byte_level_json(VOCAB - 4), "tokenizer_config.json": settings}


def tiny_model(model_type: str, **config: object) -> ModelFolder:
    """A folder with that model_type. Weights are multiples of 1/256 below 1, exact in every type."""
    values = {"model_type": model_type, **CONFIGS[model_type], **config}
    rng = np.random.default_rng(11)
    tensors = {
        name: (rng.integers(-127, 128, shape) / 256).astype(np.float32)
        for name, shape in _shapes(model_type, values).items()
    }
    return ModelFolder(values, tensors, _tokenizer_files(model_type))
