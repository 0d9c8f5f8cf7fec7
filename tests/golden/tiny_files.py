"""The GGUF files of the tiny models: metadata keys and tensor names are those of published files."""

from __future__ import annotations

import hashlib
import json
import math
from dataclasses import asdict
from pathlib import Path

from gguf import GGUFWriter, TokenType
from tiny_models import N_VOCAB, ROPE_SECTIONS, SCALES, TinyModel, tensors

# Their feed_forward_length is an expert's.
_COUNTS_EXPERTS_ONLY = ("granitemoe", "olmoe")

Value = int | float | str | bool | tuple[bool, ...] | tuple[int, ...]


def metadata(model: TinyModel) -> dict[str, Value]:
    """The `<architecture>.*` metadata of the file, keys without that prefix.

    What published files of an architecture leave out is left out here.
    """
    architecture = model.architecture
    fused_ff = 2 if architecture == "qwen" else 1  # this one counts gate and up together
    d_ff = model.experts.d_ff if model.experts and architecture in _COUNTS_EXPERTS_ONLY else model.d_ff
    keys: dict[str, Value] = {
        "context_length": model.n_ctx_train,
        "embedding_length": model.d_model,
        "block_count": model.n_layers,
        "feed_forward_length": d_ff * fused_ff,
        "attention.head_count": model.n_heads,
        "attention.layer_norm_rms_epsilon": model.norm_eps,
    }
    if architecture == "llama":
        keys["vocab_size"] = N_VOCAB
    if architecture != "qwen":
        keys["attention.head_count_kv"] = model.n_kv_heads
    if architecture in (
        "llama",
        "qwen",
        "phi3",
        "chatglm",
        "glm4",
        "mistral3",
        "smollm3",
        "granite",
        "granitemoe",
    ):
        keys["rope.dimension_count"] = model.rope_dims
    if architecture not in ("gemma", "gemma2"):
        keys["rope.freq_base"] = model.rope_base
    if model.n_heads * model.head_dim != model.d_model or architecture.startswith(("gemma", "glm4", "gpt")):
        keys["attention.key_length"] = model.head_dim
        keys["attention.value_length"] = model.head_dim
    if (sections := ROPE_SECTIONS.get(architecture)) is not None:
        keys["rope.dimension_sections"] = (*sections, 0)
    if (scales := SCALES.get(architecture)) is not None:
        keys["embedding_scale"] = scales.embedding
        keys["attention.scale"] = scales.attention
        keys["residual_scale"] = scales.residual
        keys["logit_scale"] = scales.logits
    if model.family == "ministral3":
        keys["attention.temperature_scale"] = 0.1
        keys["rope.scaling.yarn_log_multiplier"] = 1.0
    return {**keys, **_window_metadata(model), **_scaling_metadata(model), **_expert_metadata(model)}


def _window_metadata(model: TinyModel) -> dict[str, Value]:
    keys: dict[str, Value] = {}
    if model.window or model.architecture == "phi3":
        keys["attention.sliding_window"] = model.window
    if model.window_layers is not None:
        keys["attention.sliding_window_pattern"] = model.window_layers
    if model.rope_base_window is not None:
        keys["rope.freq_base_swa"] = model.rope_base_window
    if model.attention_softcap:
        keys["attn_logit_softcapping"] = model.attention_softcap
    if model.final_softcap:
        keys["final_logit_softcapping"] = model.final_softcap
    return keys


def _scaling_metadata(model: TinyModel) -> dict[str, Value]:
    scaling = model.rope_scaling
    if scaling is None:
        return {"rope.scaling.original_context_length": 512} if model.architecture == "phi3" else {}
    if scaling.kind == "linear":
        return {"rope.scaling.type": "linear", "rope.scaling.factor": scaling.factor}
    if scaling.kind == "yarn":
        keys: dict[str, Value] = {
            "rope.scaling.type": "yarn",
            "rope.scaling.factor": scaling.factor,
            "rope.scaling.original_context_length": scaling.original_context,
        }
        if scaling.betas is not None:
            keys["rope.scaling.yarn_beta_fast"], keys["rope.scaling.yarn_beta_slow"] = scaling.betas
        return keys
    if scaling.kind == "longrope":
        growth = model.n_ctx_train / scaling.original_context
        return {
            "rope.scaling.original_context_length": scaling.original_context,
            "rope.scaling.attn_factor": math.sqrt(1 + math.log(growth) / math.log(scaling.original_context)),
        }
    return {}


def _expert_metadata(model: TinyModel) -> dict[str, Value]:
    experts = model.experts
    if experts is None:
        return {}
    keys: dict[str, Value] = {
        "expert_count": experts.n,
        "expert_used_count": experts.n_used,
    }
    if model.architecture not in ("llama", *_COUNTS_EXPERTS_ONLY):
        keys["expert_feed_forward_length"] = experts.d_ff
    if experts.d_shared:
        keys["expert_shared_feed_forward_length"] = experts.d_shared
    if model.architecture == "qwen2moe" and experts.normalized:
        keys["expert_weights_norm"] = True
    return keys


def fingerprint(model: TinyModel, ids: list[int]) -> str:
    """Changes with anything that golden logits depend on."""
    digest = hashlib.sha256(json.dumps([asdict(model), metadata(model), ids]).encode())
    for name, values in tensors(model).items():
        digest.update(name.encode())
        digest.update(values.tobytes())
    return digest.hexdigest()


def write_gguf(model: TinyModel, path: Path) -> None:
    """Writes the model with a vocabulary of letters that mean nothing."""
    writer = GGUFWriter(path, model.architecture)
    writer.add_name("tiny")
    for key, value in metadata(model).items():
        _add(writer, f"{model.architecture}.{key}", value)
    pieces = ["<unk>", "<s>", "</s>", "<0x0A>", "\N{LOWER ONE EIGHTH BLOCK}"]
    pieces += [chr(0x0100 + i) for i in range(N_VOCAB - len(pieces))]
    kinds = [TokenType.UNKNOWN, TokenType.CONTROL, TokenType.CONTROL, TokenType.BYTE]
    kinds += [TokenType.NORMAL] * (N_VOCAB - len(kinds))
    writer.add_tokenizer_model("llama")
    writer.add_tokenizer_pre("default")
    writer.add_token_list(pieces)
    writer.add_token_scores([-float(rank) for rank in range(N_VOCAB)])
    writer.add_token_types([int(kind) for kind in kinds])
    writer.add_unk_token_id(0)
    writer.add_bos_token_id(1)
    writer.add_eos_token_id(2)
    for name, values in tensors(model).items():
        writer.add_tensor(name, values)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def _add(writer: GGUFWriter, key: str, value: Value) -> None:
    if isinstance(value, bool):
        writer.add_bool(key, value)
    elif isinstance(value, int):
        writer.add_uint32(key, value)
    elif isinstance(value, float):
        writer.add_float32(key, value)
    elif isinstance(value, str):
        writer.add_string(key, value)
    else:
        writer.add_array(key, value)
