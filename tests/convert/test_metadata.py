"""The numbers that a converted file states, against values worked out by hand."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import pytest
from model_folders import CONFIGS, ModelFolder

from llmcore.errors import ModelError
from llmcore.tools.convert import convert

_SIZES = {
    "block_count": 2, "context_length": 256, "embedding_length": 64, "feed_forward_length": 96,
    "attention.head_count": 4, "attention.head_count_kv": 2, "attention.layer_norm_rms_epsilon": 1e-5,
}  # fmt: skip
_HEAD32 = {"attention.key_length": 32, "attention.value_length": 32}
_HEAD16 = {"attention.key_length": 16, "attention.value_length": 16}
_EXPERTS = {"expert_count": 4, "expert_used_count": 2}
_VOCAB = {"vocab_size": 320}

# architecture and every key under it
EXPECTED: dict[str, tuple[str, dict[str, Any]]] = {
    "llama": ("llama", {**_SIZES, **_VOCAB, "rope.freq_base": 5e5, "rope.dimension_count": 16}),
    "mistral": (
        "llama",
        {
            **_SIZES, **_VOCAB, **_HEAD32, "rope.freq_base": 1e4, "rope.dimension_count": 32,
            "attention.sliding_window": 8,
        },
    ),
    "mixtral": ("llama", {**_SIZES, **_VOCAB, **_EXPERTS, "rope.freq_base": 1e6, "rope.dimension_count": 16}),
    "qwen2": ("qwen2", {**_SIZES, "rope.freq_base": 1e6}),
    "qwen2_moe": (
        "qwen2moe",
        {
            **_SIZES, **_EXPERTS, "rope.freq_base": 1e6, "expert_feed_forward_length": 32,
            "expert_shared_feed_forward_length": 96,
        },
    ),
    "qwen3": ("qwen3", {**_SIZES, **_HEAD32, "rope.freq_base": 1e6}),
    "qwen3_moe": (
        "qwen3moe",
        {**_SIZES, **_HEAD32, **_EXPERTS, "rope.freq_base": 1e6, "expert_feed_forward_length": 32},
    ),
    "gemma": ("gemma", {**_SIZES, **_HEAD32, "rope.freq_base": 1e4}),
    "gemma2": (
        "gemma2",
        {
            **_SIZES, **_HEAD32, "rope.freq_base": 1e4, "attention.sliding_window": 8,
            "attn_logit_softcapping": 50.0, "final_logit_softcapping": 30.0,
        },
    ),
    "gemma3_text": (
        "gemma3",
        {
            **_SIZES, **_HEAD32, "rope.freq_base": 1e6, "rope.freq_base_swa": 1e4,
            "attention.sliding_window": 8,
        },
    ),
    "phi3": (
        "phi3",
        {
            **_SIZES, "rope.freq_base": 1e4, "rope.dimension_count": 16, "attention.sliding_window": 0,
            "rope.scaling.original_context_length": 64,
            "rope.scaling.attn_factor": math.sqrt(1 + math.log(256 / 64) / math.log(64)),
        },
    ),
    "glm": ("chatglm", {**_SIZES, "rope.freq_base": 1e4, "rope.dimension_count": 8}),
    "glm4": ("glm4", {**_SIZES, **_HEAD16, "rope.freq_base": 1e4, "rope.dimension_count": 8}),
    "gpt_oss": (
        "gpt-oss",
        {
            **_SIZES, **_HEAD32, **_EXPERTS, "rope.freq_base": 150000.0, "attention.sliding_window": 8,
            "expert_feed_forward_length": 96, "rope.scaling.type": "yarn", "rope.scaling.factor": 32.0,
            "rope.scaling.original_context_length": 64, "rope.scaling.yarn_beta_fast": 32.0,
            "rope.scaling.yarn_beta_slow": 1.0,
        },
    ),
    "qwen": (
        "qwen",
        {
            "block_count": 2, "context_length": 256, "embedding_length": 64, "feed_forward_length": 192,
            "attention.head_count": 4, "attention.layer_norm_rms_epsilon": 1e-6, "rope.freq_base": 1e4,
            "rope.dimension_count": 16,
        },
    ),
    "chatglm": (
        "chatglm",
        {**_SIZES, "context_length": 128, "rope.freq_base": 5e5, "rope.dimension_count": 8},
    ),
}  # fmt: skip


def contents(path: Path) -> dict[str, Any]:
    reader = gguf.GGUFReader(path)
    return {name: field.contents() for name, field in reader.fields.items() if not name.startswith("GGUF.")}


def converted(folder: ModelFolder, **options: Any) -> dict[str, Any]:
    out = folder.path / "out.gguf"
    convert(folder.path, out, overwrite=True, **options)
    return contents(out)


def rewritten(folder: ModelFolder, **config: Any) -> dict[str, Any]:
    folder.config = {key: value for key, value in {**folder.config, **config}.items() if value != "absent"}
    folder.write(folder.path)
    return converted(folder)


@pytest.mark.parametrize("model_type", CONFIGS)
def test_numbers_of(make_folder: Callable[..., ModelFolder], model_type: str) -> None:
    found = converted(make_folder(model_type))
    name, numbers = EXPECTED[model_type]
    assert found["general.architecture"] == name
    own = {key.removeprefix(f"{name}."): value for key, value in found.items() if key.startswith(f"{name}.")}
    assert own.keys() == numbers.keys()
    for key, value in numbers.items():
        assert own[key] == (value if isinstance(value, str) else pytest.approx(value, rel=1e-6)), key


@pytest.mark.parametrize(("type_name", "file_type"), [("auto", 0), ("f32", 0), ("f16", 1), ("bf16", 32)])
def test_the_file_type_names_the_weights(
    make_folder: Callable[..., ModelFolder], type_name: str, file_type: int
) -> None:
    assert converted(make_folder("llama"), type_name=type_name)["general.file_type"] == file_type


def test_the_model_card_gives_general_metadata(make_folder: Callable[..., ModelFolder]) -> None:
    folder = make_folder("llama")
    card = "---\nlicense: apache-2.0\nlanguage:\n- en\n- zh\npipeline_tag: text-generation\n---\n# A model\n"
    (folder.path / "README.md").write_text(card)
    found = converted(folder)
    assert found["general.name"] == "Llama"
    assert found["general.license"] == "apache-2.0"
    assert found["general.languages"] == ["en", "zh"]
    assert found["general.tags"] == ["text-generation"]
    assert found["general.type"] == "model"


@pytest.mark.parametrize("card", ["---\n- [\n---\n", "---\nlicense: [1, 2]\ntags: {a: 1}\n---\n", "\x00"])
def test_a_strange_model_card_is_left_out(make_folder: Callable[..., ModelFolder], card: str) -> None:
    folder = make_folder("llama")
    (folder.path / "README.md").write_text(card)
    found = converted(folder)
    assert "general.license" not in found


def test_suggested_sampling_is_kept(make_folder: Callable[..., ModelFolder]) -> None:
    folder = make_folder("qwen2")
    folder.files["generation_config.json"] = {"temperature": 0.5, "top_p": 0.75, "top_k": "many"}
    folder.write(folder.path)
    warnings: list[str] = []
    found = converted(folder, warn=warnings.append)
    assert found["general.sampling.temp"] == 0.5
    assert found["general.sampling.top_p"] == 0.75
    assert "general.sampling.top_k" not in found
    assert any("sampling_top_k" in line for line in warnings)


@pytest.mark.parametrize("key", ["rope_parameters", "rope_scaling"])
def test_rope_scalings_of_llama(make_folder: Callable[..., ModelFolder], key: str) -> None:
    """The newer files have everything in one object, the older ones the base apart."""
    folder = make_folder("llama")
    kind = "rope_type" if key == "rope_parameters" else "type"
    base = {"rope_theta": 1e4} if key == "rope_parameters" else {}
    top = {"rope_theta": "absent" if base else 1e4}
    linear = rewritten(folder, **top, **{key: {kind: "linear", "factor": 4.0, **base}})
    assert linear["llama.rope.freq_base"] == 1e4
    assert linear["llama.rope.scaling.type"] == "linear"
    assert linear["llama.rope.scaling.factor"] == 4.0
    yarn = {
        kind: "yarn", "factor": 8.0, "original_max_position_embeddings": 32, "attention_factor": 1.25, **base
    }  # fmt: skip
    found = rewritten(folder, **{key: yarn})
    assert found["llama.rope.scaling.type"] == "yarn"
    assert found["llama.rope.scaling.factor"] == 8.0
    assert found["llama.rope.scaling.original_context_length"] == 32
    assert found["llama.rope.scaling.attn_factor"] == pytest.approx(1.25 / (1 + 0.1 * math.log(8)))
    plain = rewritten(folder, **{key: {**yarn, "attention_factor": None, "mscale": 1.0}})
    assert "llama.rope.scaling.attn_factor" not in plain
    scaled = rewritten(
        folder, **{key: {**yarn, "attention_factor": None, "mscale": 2.0, "mscale_all_dim": 0.5}}
    )
    ratio = (1 + 0.2 * math.log(8)) / (1 + 0.05 * math.log(8)) / (1 + 0.1 * math.log(8))
    assert scaled["llama.rope.scaling.attn_factor"] == pytest.approx(ratio)


@pytest.mark.parametrize(
    ("model_type", "config", "window", "pattern"),
    [
        ("mistral", {"sliding_window": None}, None, None),
        ("mistral", {"layer_types": ["full_attention", "sliding_attention"]}, 8, [False, True]),
        ("gemma2", {"layer_types": ["sliding_attention", "full_attention"]}, 8, None),
        ("gemma2", {"layer_types": ["full_attention", "sliding_attention"]}, 8, [False, True]),
        ("gemma3_text", {"sliding_window_pattern": 6}, 8, None),
        ("gemma3_text", {"sliding_window_pattern": 2}, 8, [True, False]),
        ("gemma3_text", {"sliding_window_pattern": 1}, None, None),
        ("gemma3_text", {"layer_types": ["full_attention"] * 2}, None, None),
        ("qwen2", {"use_sliding_window": False, "sliding_window": 8}, None, None),
        (
            "qwen2",
            {"use_sliding_window": True, "sliding_window": 8, "max_window_layers": 1},
            8,
            [False, True],
        ),
        ("qwen2", {"use_sliding_window": True, "sliding_window": 8, "max_window_layers": 2}, None, None),
        ("qwen2", {"use_sliding_window": True, "sliding_window": 8, "max_window_layers": 0}, 8, None),
    ],
)
def test_which_layers_have_a_window(
    make_folder: Callable[..., ModelFolder],
    model_type: str,
    config: dict[str, Any],
    window: int | None,
    pattern: list[bool] | None,
) -> None:
    found = converted(make_folder(model_type, **config))
    prefix = found["general.architecture"] + ".attention.sliding_window"
    assert found.get(prefix) == window
    assert found.get(f"{prefix}_pattern") == pattern


def test_numbers_that_differ_from_what_readers_assume(make_folder: Callable[..., ModelFolder]) -> None:
    folder = make_folder("qwen3_moe")
    assert rewritten(folder, norm_topk_prob=False)["qwen3moe.expert_weights_norm"] is False
    folder = make_folder("qwen2_moe")
    assert "qwen2moe.expert_weights_norm" not in rewritten(folder, norm_topk_prob=False)
    assert rewritten(folder, norm_topk_prob=True)["qwen2moe.expert_weights_norm"] is True
    for model_type in ("gemma2", "gemma3_text"):
        folder = make_folder(model_type)
        found = rewritten(folder, query_pre_attn_scalar=20)
        assert found[f"{model_type.removesuffix('_text')}.attention.scale"] == pytest.approx(
            1 / math.sqrt(20)
        )


def test_llama3_factors(make_folder: Callable[..., ModelFolder]) -> None:
    """Llama 3.1's published function: short waves stay, long ones are stretched, with a ramp between."""
    scaling = {
        "rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
        "original_max_position_embeddings": 128,
    }  # fmt: skip
    folder = make_folder("llama", rope_scaling=scaling, rope_theta=500000.0)
    out = folder.path / "out.gguf"
    convert(folder.path, out)
    assert "llama.rope.scaling.type" not in contents(out)
    (tensor,) = (tensor for tensor in gguf.GGUFReader(out).tensors if tensor.name == "rope_freqs.weight")
    wanted = []
    for i in range(8):
        frequency = 500000.0 ** (-2 * i / 16)
        wave = 2 * math.pi / frequency
        if wave < 128 / 4:
            scaled = frequency
        elif wave > 128 / 1:
            scaled = frequency / 8
        else:
            ramp = (128 / wave - 1) / (4 - 1)
            scaled = (1 - ramp) * frequency / 8 + ramp * frequency
        wanted.append(frequency / scaled)
    assert len({round(factor, 4) for factor in wanted}) == 3  # one of each kind
    np.testing.assert_allclose(tensor.data, wanted, rtol=1e-5)


def test_long_factors_of_phi3(make_folder: Callable[..., ModelFolder]) -> None:
    folder = make_folder("phi3")
    convert(folder.path, folder.path / "out.gguf")
    found = {tensor.name: tensor.data for tensor in gguf.GGUFReader(folder.path / "out.gguf").tensors}
    assert found["rope_factors_short.weight"].tolist() == [1 + i / 8 for i in range(8)]
    assert found["rope_factors_long.weight"].tolist() == [2.0 + i for i in range(8)]
    plain = rewritten(folder, rope_scaling=None, max_position_embeddings=64)
    assert "phi3.rope.scaling.attn_factor" not in plain
    folder.config["rope_scaling"] = {"type": "longrope", "short_factor": [1.0] * 7, "long_factor": [1.0] * 7}
    folder.write(folder.path)
    with pytest.raises(ModelError, match=r"short_factor.*7 values.*8 numbers"):
        converted(folder)


def test_gemma3_has_two_bases_of_rope_in_one_object(make_folder: Callable[..., ModelFolder]) -> None:
    parameters = {
        "full_attention": {"rope_type": "linear", "factor": 8.0, "rope_theta": 1e6},
        "sliding_attention": {"rope_type": "default", "rope_theta": 1e4},
    }
    folder = make_folder("gemma3_text")
    found = rewritten(folder, rope_parameters=parameters, rope_theta="absent", rope_local_base_freq="absent")
    assert found["gemma3.rope.freq_base"] == 1e6
    assert found["gemma3.rope.freq_base_swa"] == 1e4
    assert found["gemma3.rope.scaling.factor"] == 8.0


def test_numbers_that_the_config_leaves_out(make_folder: Callable[..., ModelFolder]) -> None:
    """The values that the model's own code assumes."""
    folder = make_folder("llama")
    found = rewritten(
        folder, max_position_embeddings="absent", rms_norm_eps="absent", rope_theta="absent", head_dim=None
    )
    assert found["llama.context_length"] == 2048
    assert found["llama.attention.layer_norm_rms_epsilon"] == pytest.approx(1e-6)
    assert found["llama.rope.freq_base"] == 1e4
    assert found["llama.rope.dimension_count"] == 16


@pytest.mark.parametrize(
    ("model_type", "config", "message"),
    [
        (
            "llama",
            {"model_type": "falcon"},
            r"model_type in config.json; got 'falcon'; expected one of llama",
        ),
        ("llama", {"model_type": 7}, r"model_type in config.json; got 7"),
        ("llama", {"hidden_size": "64"}, r"hidden_size in config.json; got 64; expected a whole number"),
        ("llama", {"hidden_size": True}, r"hidden_size in config.json"),
        ("llama", {"num_hidden_layers": 0}, r"num_hidden_layers in config.json; got 0"),
        ("llama", {"rms_norm_eps": float("nan")}, r"rms_norm_eps in config.json; got nan"),
        ("llama", {"num_attention_heads": 0}, r"num_attention_heads"),
        ("llama", {"num_attention_heads": 48}, r"rows of an attention weight; got 64"),
        ("llama", {"rope_scaling": {"type": "su", "factor": 2}}, r"rope_type.*got su"),
        (
            "llama",
            {"partial_rotary_factor": 0.5},
            r"partial_rotary_factor in config.json; got 0.5; expected 1",
        ),
        ("chatglm", {"apply_residual_connection_post_layernorm": True}, r"apply_residual_connection_post"),
        ("llama", {"num_hidden_layers": (1 << 31) - 1}, r"numbers of layers and experts in config.json"),
        ("qwen3_moe", {"num_experts": 1 << 30}, r"numbers of layers and experts in config.json"),
        ("llama", {"head_dim": 1 << 30, "rope_scaling": {"type": "llama3"}}, r"head_dim in config.json"),
        ("llama", {"rope_theta": 1e200}, r"rope_theta in config.json; got 1e\+200"),
        ("phi3", {"original_max_position_embeddings": 1}, r"original_max_position_embeddings"),
        ("phi3", {"partial_rotary_factor": 1e12}, r"partial_rotary_factor"),
        (
            "llama",
            {
                "rope_scaling": {
                    "type": "yarn",
                    "factor": 8,
                    "original_max_position_embeddings": 8,
                    "mscale": -4.8,
                    "mscale_all_dim": -4.8,
                }
            },
            r"mscale in config.json",
        ),
        (
            "gpt_oss",
            {"rope_scaling": {"rope_type": "yarn", "factor": 32.0, "original_max_position_embeddings": 64}},
            r"truncate of YaRN in config.json; got True; expected False",
        ),
        ("llama", {"hidden_act": "gelu"}, r"hidden_act in config.json; got gelu; expected silu or swish"),
        ("gemma", {"hidden_activation": "relu"}, r"hidden_act in config.json; got relu"),
        ("qwen2", {"use_sliding_window": True, "sliding_window": 8, "max_window_layers": "x"}, r"max_window"),
        ("gemma2", {"layer_types": ["full_attention"]}, r"layer_types in config.json"),
        ("gemma2", {"layer_types": ["linear_attention"] * 2}, r"layer_types in config.json"),
        ("gemma2", {"query_pre_attn_scalar": 0}, r"query_pre_attn_scalar"),
        ("llama", {"rope_scaling": [1]}, r"rope_scaling in config.json; got list"),
        ("llama", {"quantization_config": {"quant_method": "gptq"}}, r"is quantized; got gptq"),
        ("gpt_oss", {"quantization_config": {"quant_method": "awq"}}, r"is quantized; got awq"),
        ("qwen3_moe", {"mlp_only_layers": [0]}, r"layers without experts"),
        ("gemma3_text", {"attn_logit_softcapping": 50.0}, r"attn_logit_softcapping"),
    ],
)
def test_a_configuration_that_cannot_be(
    make_folder: Callable[..., ModelFolder], model_type: str, config: dict[str, Any], message: str
) -> None:
    folder = make_folder(model_type)
    folder.config |= config
    folder.write(folder.path)
    with pytest.raises(ModelError, match=message):
        converted(folder)
    assert not list(folder.path.glob("out.gguf*"))
