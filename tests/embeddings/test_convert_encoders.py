"""Folders of encoders, as sentence-transformers writes them, converted: the vectors are the golden ones."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import pytest
from golden_encoders import golden_states, pooled
from tiny_encoders import N_VOCAB, TinyEncoder, encoder_named, tensors, texts
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors

sys.path.insert(0, str(Path(__file__).parents[1] / "convert"))

from model_folders import ModelFolder

from llmcore import LLM
from llmcore.errors import ModelError
from llmcore.tokenizer import Tokenizer as ConvertedTokenizer
from llmcore.tools.convert import convert

SPECIALS = ("[PAD]", "[CLS]", "[SEP]", "[UNK]", "[MASK]")
LETTERS = "abcdefghijklmnopqrstuvwxyz0123456789.,!?人你"
BERT_NAMES = {
    "token_embd": "embeddings.word_embeddings", "token_types": "embeddings.token_type_embeddings",
    "position_embd": "embeddings.position_embeddings", "token_embd_norm": "embeddings.LayerNorm",
    "attn_q": "attention.self.query", "attn_k": "attention.self.key", "attn_v": "attention.self.value",
    "attn_output": "attention.output.dense", "attn_output_norm": "attention.output.LayerNorm",
    "ffn_up": "intermediate.dense", "ffn_down": "output.dense", "layer_output_norm": "output.LayerNorm",
}  # fmt: skip
NOMIC_NAMES = {
    "token_embd": "embeddings.word_embeddings", "token_types": "embeddings.token_type_embeddings",
    "token_embd_norm": "emb_ln", "attn_qkv": "attn.Wqkv", "attn_output": "attn.out_proj",
    "attn_output_norm": "norm1", "ffn_gate": "mlp.fc12", "ffn_up": "mlp.fc11", "ffn_down": "mlp.fc2",
    "layer_output_norm": "norm2",
}  # fmt: skip


def wordpiece() -> Tokenizer:
    """A tokenizer as BERT's folders have it, of letters."""
    words = [*SPECIALS, *LETTERS, *(f"##{letter}" for letter in LETTERS)]
    tokenizer = Tokenizer(models.WordPiece({word: i for i, word in enumerate(words)}, unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer()
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.add_special_tokens(list(SPECIALS))
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 1), ("[SEP]", 2)]
    )
    return tokenizer


SETTINGS = {"cls_token": "[CLS]", "sep_token": "[SEP]", "pad_token": "[PAD]", "unk_token": "[UNK]"}
MODULES = [
    {"idx": 0, "path": "", "type": "sentence_transformers.models.Transformer"},
    {"idx": 1, "path": "1_Pooling", "type": "sentence_transformers.models.Pooling"},
    {"idx": 2, "path": "2_Normalize", "type": "sentence_transformers.models.Normalize"},
]
CLS_POOLING = {"pooling_mode_cls_token": True, "pooling_mode_mean_tokens": False}


def config_of(encoder: TinyEncoder) -> dict[str, Any]:
    if encoder.architecture == "bert":
        return {
            "model_type": "bert", "hidden_act": "gelu", "hidden_size": encoder.d_model,
            "num_hidden_layers": encoder.n_layers, "num_attention_heads": encoder.n_heads,
            "intermediate_size": encoder.d_ff, "max_position_embeddings": encoder.n_ctx,
            "layer_norm_eps": encoder.norm_eps, "type_vocab_size": 2,
        }  # fmt: skip
    return {
        "model_type": "nomic_bert", "activation_function": "swiglu", "n_embd": encoder.d_model,
        "n_layer": encoder.n_layers, "n_head": encoder.n_heads, "n_inner": encoder.d_ff,
        "n_positions": 8192, "max_trained_positions": encoder.n_ctx, "rotary_emb_base": 1000,
        "layer_norm_epsilon": encoder.norm_eps, "type_vocab_size": 2, "qkv_proj_bias": False,
        "rotary_emb_fraction": 1.0, "prenorm": False, "causal": False, "rotary_scaling_factor": 2,
    }  # fmt: skip


def stored_tensors(encoder: TinyEncoder, prefix: str) -> dict[str, np.ndarray]:
    bert = encoder.architecture == "bert"
    names, layers = (BERT_NAMES, "encoder.layer") if bert else (NOMIC_NAMES, "encoder.layers")
    stored: dict[str, np.ndarray] = {}
    for name, values in tensors(encoder).items():
        stem, kind = name.rsplit(".", 1)
        layer = stem.split(".")[1] if stem.startswith("blk.") else None
        part = names[stem.split(".")[-1]]
        stored[f"{prefix}{part if layer is None else f'{layers}.{layer}.{part}'}.{kind}"] = values
    if bert:
        # What checkpoints hold beside the encoder.
        stored[f"{prefix}embeddings.position_ids"] = np.arange(encoder.n_ctx, dtype=np.int64)[None]
        stored[f"{prefix}pooler.dense.weight"] = np.zeros((64, 64), np.float32)
        stored[f"{prefix}pooler.dense.bias"] = np.zeros(64, np.float32)
        stored["cls.predictions.bias"] = np.zeros(N_VOCAB, np.float32)
    return stored


@pytest.fixture
def make_encoder(tmp_path: Path) -> Callable[..., ModelFolder]:
    """`make_encoder("bert")` writes a folder with that tiny encoder's weights."""

    def make(name: str, prefix: str = "") -> ModelFolder:
        encoder = encoder_named(name)
        files = {"tokenizer.json": wordpiece().to_str(), "tokenizer_config.json": SETTINGS}
        folder = ModelFolder(config_of(encoder), stored_tensors(encoder, prefix), files)
        folder.write(tmp_path / name)
        return folder

    return make


def pool(folder: ModelFolder, config: object, modules: object = MODULES) -> None:
    (folder.path / "1_Pooling").mkdir(exist_ok=True)
    (folder.path / "1_Pooling" / "config.json").write_text(json.dumps(config))
    if modules is not None:
        (folder.path / "modules.json").write_text(json.dumps(modules))


def converted(folder: ModelFolder) -> Path:
    out = folder.path / "out.gguf"
    convert(folder.path, out, overwrite=True)
    return out


@pytest.mark.parametrize(
    ("name", "prefix"), [("bert", ""), ("bert", "bert."), ("nomic-bert", ""), ("nomic-bert-untyped", "")]
)
def test_vectors_are_the_golden_ones(
    make_encoder: Callable[..., ModelFolder], name: str, prefix: str
) -> None:
    folder = make_encoder(name, prefix)
    pool(folder, CLS_POOLING)
    with LLM(converted(folder), threads=1, kv_cache_type="f32") as llm:
        assert (llm.model_info.pooling, llm.model_info.n_ctx_train) == ("cls", 96)
        vectors = llm.embed(texts(encoder_named(name)), normalize=False)
    expected = np.stack([pooled(states, "cls") for states in golden_states(name)])
    np.testing.assert_allclose(vectors, expected, rtol=2e-4, atol=2e-5)


@pytest.mark.parametrize("source", ["tokenizer.json", "vocab.txt"])
def test_texts_are_cut_as_by_the_folders_own_tokenizer(
    make_encoder: Callable[..., ModelFolder], source: str
) -> None:
    folder = make_encoder("bert")
    if source == "vocab.txt":
        words = [*SPECIALS, *LETTERS, *(f"##{letter}" for letter in LETTERS)]
        (folder.path / "tokenizer.json").unlink()
        (folder.path / "vocab.txt").write_text("\r\n".join(words) + "\n", encoding="utf-8")
    tokenizer, own = ConvertedTokenizer.from_gguf(converted(folder)), wordpiece()
    some = ["Hello, World!", "héllo", "人人你a", "", "[CLS] [MASK]", "a\tb\n c", "😀 x", "1.5?"]
    for text in some:
        if "[" not in text:  # our texts cannot spell control tokens
            assert tokenizer.encode(text) == own.encode(text).ids
    assert not {1, 4} & set(tokenizer.encode("[CLS] [MASK]", add_special=False))
    stated = gguf.GGUFReader(folder.path / "out.gguf").fields
    assert stated["tokenizer.ggml.cls_token_id"].contents() == 1
    assert stated["tokenizer.ggml.seperator_token_id"].contents() == 2
    assert stated["tokenizer.ggml.normalizer.lowercase"].contents() is True
    assert stated["bert.attention.causal"].contents() is False
    assert "bert.pooling_type" not in stated


@pytest.mark.parametrize(
    ("config", "pooling"),
    [
        ({"pooling_mode_mean_tokens": True}, "mean"),
        ({"pooling_mode_lasttoken": True, "pooling_mode_max_tokens": False}, "last"),
        ({"pooling_mode": "cls", "word_embedding_dimension": 64}, "cls"),
    ],
)
@pytest.mark.parametrize("modules", [MODULES, None])
def test_poolings(
    make_encoder: Callable[..., ModelFolder], config: dict[str, Any], pooling: str, modules: object
) -> None:
    folder = make_encoder("bert")
    pool(folder, config, modules)
    with LLM(converted(folder), threads=1) as llm:
        assert llm.model_info.pooling == pooling


def test_decoders_take_their_pooling_along(make_folder: Callable[..., ModelFolder]) -> None:
    folder = make_folder("qwen3")
    pool(folder, {"pooling_mode_lasttoken": True})
    with LLM(converted(folder), threads=1) as llm:
        assert (llm.model_info.generates, llm.model_info.pooling) == (True, "last")


@pytest.fixture
def make_folder(tmp_path: Path) -> Callable[..., ModelFolder]:
    from model_folders import tiny_model  # noqa: PLC0415

    def make(model_type: str) -> ModelFolder:
        folder = tiny_model(model_type)
        folder.write(tmp_path / model_type)
        return folder

    return make


@pytest.mark.parametrize(
    ("config", "modules", "message"),
    [
        ({"pooling_mode_max_tokens": True}, MODULES, r"pooling in 1_Pooling/config.json"),
        ({"pooling_mode_mean_tokens": True, "pooling_mode_cls_token": True}, MODULES, r"pooling in"),
        ({}, MODULES, r"pooling in"),
        ([], MODULES, r"content of config.json; got list"),
        ({}, {}, r"content of modules.json; got dict"),
        ({}, [1], r"content of modules.json"),
        ({}, [{"type": "x.Pooling", "path": "../1_Pooling"}], r"path of the pooling"),
        ({}, [{"type": "x.Pooling", "path": 3}], r"path of the pooling"),
        ({}, [*MODULES, {"type": "x.Dense", "path": "2_Dense"}], r"module in modules.json; got Dense"),
    ],
)
def test_pipelines_that_no_file_can_state(
    make_encoder: Callable[..., ModelFolder], config: object, modules: object, message: str
) -> None:
    folder = make_encoder("bert")
    pool(folder, config, modules)
    with pytest.raises(ModelError, match=message):
        converted(folder)


@pytest.mark.parametrize(
    ("name", "changes", "message"),
    [
        ("bert", {"position_embedding_type": "relative_key"}, "position_embedding_type"),
        ("bert", {"hidden_act": "gelu_new"}, "hidden_act"),
        ("bert", {"num_attention_heads": 5}, "whole heads"),
        ("bert", {"hidden_size": None}, "hidden_size|n_embd"),
        ("nomic-bert", {"activation_function": "gelu"}, "activation_function"),
        ("nomic-bert", {"rotary_emb_fraction": 0.5}, "rotary_emb_fraction"),
        ("nomic-bert", {"prenorm": True}, "prenorm"),
        ("nomic-bert", {"qkv_proj_bias": True}, "qkv_proj_bias"),
        ("nomic-bert", {"num_experts": 8}, "num_experts"),
    ],
)
def test_models_of_another_kind_are_refused(
    make_encoder: Callable[..., ModelFolder], name: str, changes: dict[str, Any], message: str
) -> None:
    folder = make_encoder(name)
    folder.config.update(changes)
    folder.write(folder.path)
    with pytest.raises(ModelError, match=message):
        converted(folder)


@pytest.mark.parametrize("tensor", ["encoder.layer.1.output.dense.bias", "embeddings.LayerNorm.weight"])
def test_missing_and_further_tensors_are_refused(
    make_encoder: Callable[..., ModelFolder], tensor: str
) -> None:
    folder = make_encoder("bert")
    kept = folder.tensors.pop(tensor)
    folder.write(folder.path)
    with pytest.raises(ModelError, match="lacks tensors.*" + tensor):
        converted(folder)
    folder.tensors |= {tensor: kept, "classifier.weight": kept}
    folder.write(folder.path)
    with pytest.raises(ModelError, match=r"does not know; got classifier\.weight"):
        converted(folder)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"normalizer": {"type": "Lowercase"}}, "normalizer of a WordPiece"),
        ({"normalizer": {"type": "BertNormalizer", "handle_chinese_chars": False}}, "handle_chinese_chars"),
        ({"normalizer": {"type": "BertNormalizer", "lowercase": 1}}, "lowercase and strip_accents"),
        ({"pre_tokenizer": None}, "pre_tokenizer of a WordPiece"),
    ],
)
def test_other_wordpiece_tokenizers_are_refused(
    make_encoder: Callable[..., ModelFolder], change: dict[str, Any], message: str
) -> None:
    folder = make_encoder("bert")
    content = {**json.loads(wordpiece().to_str()), **change}
    (folder.path / "tokenizer.json").write_text(json.dumps(content))
    with pytest.raises(ModelError, match=message):
        converted(folder)
