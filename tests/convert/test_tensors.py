"""Every tensor of every architecture: its name, type, shape and values after the conversion."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import pytest
from gguf import GGMLQuantizationType as Type
from model_folders import CONFIGS, EXPERTS, HEADS, KV_HEADS, ModelFolder, bfloat16_bits

from llmcore.errors import ModelError
from llmcore.tools.convert import convert, tensor_plan

ARCHITECTURE = {
    "mistral": "llama", "mixtral": "llama", "qwen2_moe": "qwen2moe", "qwen3_moe": "qwen3moe",
    "gemma3_text": "gemma3", "glm": "chatglm", "gpt_oss": "gpt-oss",
}  # fmt: skip


def read(path: Path) -> dict[str, tuple[Type, np.ndarray]]:
    """Types and values, in row-major shape: float32, float16, or bytes."""
    found = {}
    for tensor in gguf.GGUFReader(path).tensors:
        shape = [int(size) for size in reversed(tensor.shape)]
        values = np.array(tensor.data)
        if tensor.tensor_type == Type.BF16:
            values = (values.view(np.uint16).astype(np.uint32) << 16).view(np.float32)
        found[tensor.name] = (tensor.tensor_type, values.reshape(shape))
    return found


def paired(rows: np.ndarray, heads: int) -> np.ndarray:
    """RoPE's two halves of each head side by side: row 2j + s of a head was row j + s * half."""
    result = np.empty_like(rows)
    half = len(rows) // heads // 2
    for head in range(heads):
        for j in range(half):
            for s in range(2):
                result[head * 2 * half + 2 * j + s] = rows[head * 2 * half + s * half + j]
    return result


def expected(model_type: str, tensors: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """What the file should hold. Names come from the gguf package's own map of published names."""
    architecture = ARCHITECTURE.get(model_type, model_type)
    arch = next(key for key, name in gguf.MODEL_ARCH_NAMES.items() if name == architecture)
    names = gguf.get_tensor_name_map(arch, 8)
    result: dict[str, np.ndarray] = {}

    def put(source: str, values: np.ndarray) -> None:
        name = names.get_name(source, (".weight", ".bias"))
        assert name is not None, source
        result[name] = values

    for source, values in stacked(tensors).items():
        if source.endswith("inv_freq"):
            continue
        if architecture == "llama" and re.search(r"\.[qk]_proj\.", source):
            put(source, paired(values, HEADS if ".q_proj." in source else KV_HEADS))
        elif architecture.startswith("gemma") and source.endswith("norm.weight"):
            put(source, values + 1)
        elif model_type == "gpt_oss":
            put_gpt_oss(put, source, values)
        else:
            put(source.removeprefix("transformer.") if model_type == "chatglm" else source, values)
    return result


def stacked(tensors: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Experts put together under the names that the gguf package knows for the whole."""
    result: dict[str, np.ndarray] = {}
    for name, values in tensors.items():
        match = re.fullmatch(r"model\.layers\.(\d+)\.(.*)\.experts\.(\d+)\.(\w+)\.weight", name)
        if match is None:
            result[name] = values
            continue
        layer, place, expert, part = match.groups()
        whole = f"model.layers.{layer}.mlp.experts.{part}.weight"
        if place == "block_sparse_moe":
            whole = f"layers.{layer}.feed_forward.experts.{part}.weight"
        result.setdefault(whole, np.empty((EXPERTS, *values.shape), np.float32))[int(expert)] = values
    return result


def put_gpt_oss(put: Callable[[str, np.ndarray], None], source: str, values: np.ndarray) -> None:
    """Experts lie transposed, with gate and up in turn."""
    if "gate_up_proj" in source:
        columns = values if source.endswith("_bias") else values.transpose(0, 2, 1)
        suffix = ".bias" if source.endswith("_bias") else ".weight"
        base = source.split(".gate_up_proj", maxsplit=1)[0]
        first, second = (columns[:, ::2], columns[:, 1::2])
        put(f"{base}.gate_proj{suffix}", first)
        put(f"{base}.up_proj{suffix}", second)
    elif source.endswith("down_proj_bias"):
        put(source.replace("_bias", ".bias"), values)
    elif source.endswith("experts.down_proj"):
        put(f"{source}.weight", values.transpose(0, 2, 1))
    elif source.endswith("sinks"):
        put(f"{source}.weight", values)
    else:
        put(source, values)


def stays_float32(name: str, values: np.ndarray) -> bool:
    return values.ndim == 1 or name.endswith(("_norm.weight", ".bias")) or "ffn_gate_inp" in name


@pytest.mark.parametrize("type_name", ["auto", "f16", "bf16"])
@pytest.mark.parametrize("model_type", CONFIGS)
def test_tensors_of(make_folder: Callable[..., ModelFolder], model_type: str, type_name: str) -> None:
    folder = make_folder(model_type)
    out = folder.path / "out.gguf"
    convert(folder.path, out, type_name=type_name)
    wanted = expected(model_type, folder.tensors)
    found = read(out)
    computed = {"rope_factors_long.weight", "rope_factors_short.weight"} if model_type == "phi3" else set()
    assert found.keys() == wanted.keys() | computed
    weights = {"auto": Type.F32, "f16": Type.F16, "bf16": Type.BF16}[type_name]
    for name, values in wanted.items():
        type_, written = found[name]
        assert type_ == (Type.F32 if stays_float32(name, values) else weights), name
        assert written.shape == values.shape, name
        np.testing.assert_array_equal(np.asarray(written, np.float32), values, err_msg=name)


def test_bfloat16_is_kept_bit_by_bit(make_folder: Callable[..., ModelFolder]) -> None:
    folder = make_folder("qwen2")
    folder.bfloat16 = True
    rng = np.random.default_rng(3)
    name = "model.layers.1.mlp.up_proj.weight"
    folder.tensors[name] = rng.normal(0, 1, folder.tensors[name].shape).astype(np.float32)
    folder.write(folder.path)
    convert(folder.path, folder.path / "out.gguf")
    type_, values = read(folder.path / "out.gguf")["blk.1.ffn_up.weight"]
    assert type_ == Type.BF16
    np.testing.assert_array_equal(bfloat16_bits(values), bfloat16_bits(folder.tensors[name]))


def test_float32_becomes_the_nearest_bfloat16(make_folder: Callable[..., ModelFolder]) -> None:
    folder = make_folder("qwen2")
    name = "model.layers.0.mlp.up_proj.weight"
    values = np.random.default_rng(4).normal(0, 1, folder.tensors[name].shape).astype(np.float32)
    values[0, :4] = [1 + 2**-8, 1 + 3 * 2**-8, -(1 + 2**-8), 0.0]  # halfway: the even neighbour
    folder.tensors[name] = values
    folder.write(folder.path)
    convert(folder.path, folder.path / "out.gguf", type_name="bf16")
    _, written = read(folder.path / "out.gguf")["blk.0.ffn_up.weight"]
    assert written[0, :4].tolist() == [1.0, 1 + 2**-6, -1.0, 0.0]
    spacing = 2.0 ** (np.floor(np.log2(np.abs(values), where=values != 0, out=np.zeros_like(values))) - 7)
    assert np.all(np.abs(written - values) <= spacing / 2)


def test_a_value_too_large_for_f16_is_refused(make_folder: Callable[..., ModelFolder]) -> None:
    folder = make_folder("qwen2")
    folder.tensors["model.layers.0.mlp.up_proj.weight"][3, 5] = 70000.0
    folder.write(folder.path)
    with pytest.raises(ModelError, match=r"up_proj.*do not fit f16; got 70000.0"):
        convert(folder.path, folder.path / "out.gguf", type_name="f16")
    assert not list(folder.path.glob("out.gguf*"))


def test_shards_give_the_same_file(make_folder: Callable[..., ModelFolder]) -> None:
    folder = make_folder("llama")
    convert(folder.path, folder.path / "one.gguf")
    folder.write_shards(folder.path)
    convert(folder.path, folder.path / "two.gguf")
    assert (folder.path / "one.gguf").read_bytes() == (folder.path / "two.gguf").read_bytes()


def test_experts_in_one_tensor_give_the_same_file(make_folder: Callable[..., ModelFolder]) -> None:
    folder = make_folder("qwen3_moe")
    convert(folder.path, folder.path / "one.gguf")
    fused = {}
    for name, values in stacked(folder.tensors).items():
        if match := re.fullmatch(r"(.*\.experts\.)(\w+)_proj\.weight", name):
            fused.setdefault(match[1], {})[match[2]] = values
        else:
            fused[name] = values
    folder.tensors = {}
    for name, values in fused.items():
        if isinstance(values, dict):
            folder.tensors[f"{name}gate_up_proj"] = np.concatenate((values["gate"], values["up"]), axis=1)
            folder.tensors[f"{name}down_proj"] = values["down"]
        else:
            folder.tensors[name] = values
    folder.write(folder.path)
    convert(folder.path, folder.path / "two.gguf")
    assert (folder.path / "one.gguf").read_bytes() == (folder.path / "two.gguf").read_bytes()


@pytest.mark.parametrize(
    ("inner", "head"),
    [("model.language_model.", "lm_head."), ("language_model.model.", "language_model.lm_head.")],
)
def test_the_text_part_of_a_multimodal_folder(
    make_folder: Callable[..., ModelFolder], inner: str, head: str
) -> None:
    folder = make_folder("gemma3_text")
    convert(folder.path, folder.path / "text.gguf")
    text = {key: value for key, value in folder.config.items() if key != "model_type"}
    folder.config = {"model_type": "gemma3", "text_config": {**text, "model_type": "gemma3_text"}}
    folder.tensors = {name.replace("model.", inner, 1): values for name, values in folder.tensors.items()}
    folder.tensors[f"{head}weight"] = np.zeros((4, 4), np.float32)
    folder.tensors["vision_tower.patch.weight"] = np.zeros((4, 4), np.float32)
    folder.tensors["multi_modal_projector.norm.weight"] = np.zeros(4, np.float32)
    folder.write(folder.path)
    convert(folder.path, folder.path / "both.gguf")
    assert (folder.path / "text.gguf").read_bytes() == (folder.path / "both.gguf").read_bytes()


def test_packed_experts_of_gpt_oss(make_folder: Callable[..., ModelFolder]) -> None:
    """MXFP4 as the OCP specification has it, against the gguf package's reading of the file."""
    folder = make_folder("gpt_oss", quantization_config={"quant_method": "mxfp4"})
    rng = np.random.default_rng(5)
    levels = np.array([0, 0.5, 1, 1.5, 2, 3, 4, 6, -0.0, -0.5, -1, -1.5, -2, -3, -4, -6])
    wanted: dict[str, np.ndarray] = {}
    for name in [
        name for name in folder.tensors if name.endswith(("experts.gate_up_proj", "experts.down_proj"))
    ]:
        experts, columns, rows = folder.tensors.pop(name).shape
        blocks = rng.integers(0, 256, (experts, rows, columns // 32, 16), np.uint8)
        scales = rng.integers(118, 124, (experts, rows, columns // 32), np.uint8)
        folder.tensors |= {f"{name}_blocks": blocks, f"{name}_scales": scales}
        values = np.stack((levels[blocks & 15], levels[blocks >> 4]), axis=-1).reshape(*blocks.shape[:-1], 32)
        values *= 2.0 ** (scales[..., None].astype(np.float64) - 127)
        wanted[name] = values.reshape(experts, rows, columns)
    folder.write(folder.path)
    for type_name in ("auto", "f32"):
        done = convert(folder.path, folder.path / "out.gguf", type_name=type_name, overwrite=True)
        assert done.type == ("mxfp4" if type_name == "auto" else "f32")
        found = {tensor.name: tensor for tensor in gguf.GGUFReader(folder.path / "out.gguf").tensors}
        fused = wanted["model.layers.1.mlp.experts.gate_up_proj"]
        for target, values in {
            "ffn_gate_exps": fused[:, ::2],
            "ffn_up_exps": fused[:, 1::2],
            "ffn_down_exps": wanted["model.layers.1.mlp.experts.down_proj"],
        }.items():
            tensor = found[f"blk.1.{target}.weight"]
            assert tensor.tensor_type == (Type.MXFP4 if type_name == "auto" else Type.F32)
            read_back = gguf.quants.dequantize(tensor.data, tensor.tensor_type).reshape(values.shape)
            np.testing.assert_array_equal(read_back, values.astype(np.float32))


def test_large_tensors_go_through_in_pieces(
    make_folder: Callable[..., ModelFolder], monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = make_folder("mixtral")
    convert(folder.path, folder.path / "whole.gguf", type_name="f16")
    pieces: list[int] = []
    convert_one = tensor_plan.converted

    def counted(values: np.ndarray, *arguments: Any) -> np.ndarray:
        pieces.append(values.size)
        return convert_one(values, *arguments)

    monkeypatch.setattr(tensor_plan, "_CHUNK", 1000)
    monkeypatch.setattr(tensor_plan, "converted", counted)
    convert(folder.path, folder.path / "pieces.gguf", type_name="f16")
    assert max(pieces) <= 1000
    assert (folder.path / "whole.gguf").read_bytes() == (folder.path / "pieces.gguf").read_bytes()
