"""Names, quantizations and memory of model files; which of them a load takes."""

from __future__ import annotations

import os
from pathlib import Path

import msgspec
import numpy as np
import pytest
from click.testing import CliRunner
from gguf import GGML_QUANT_SIZES, GGMLQuantizationType, GGUFWriter, LlamaFileType

from llmcore import AsyncEngine
from llmcore.tools.memory_estimate import estimate_memory
from llmcore.tools.shapes import Shape
from llmcore.tools.synthesize import synthesize
from llmcore_server.cli import serve
from llmcore_server.errors import ApiError
from llmcore_server.load_planning import LoadOptions, LoadPlanner
from llmcore_server.model_file import (
    ModelFile,
    by_preference,
    is_later_part,
    mix_of_file_type,
    model_name,
    named_quantization,
)
from llmcore_server.model_files import ModelSelectionError, model_file, scan_directory, select_models

SHAPE = Shape("llama", 256, 2, 4, 2, 64, 512, 300, 512)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    path = tmp_path_factory.mktemp("models")
    for quant in ("F16", "Q8_0", "Q4_0"):
        synthesize(path / f"Tiny-Chat.{quant}.gguf", SHAPE, quant)
    synthesize(path / "ggml-model-q4_0.gguf", SHAPE, "Q4_0")
    return path


@pytest.mark.parametrize(
    ("stem", "title", "name", "quantization"),
    [
        ("llama-2-7b-chat.Q4_K_M", "LLaMA v2", "llama-2-7b-chat", "Q4_K_M"),
        ("qwen2.5-0.5b-instruct-q4_k_m", None, "qwen2.5-0.5b-instruct", "Q4_K_M"),
        ("gemma-2-2b-it-IQ4_XS", None, "gemma-2-2b-it", "IQ4_XS"),
        ("gpt-oss-20b-mxfp4", None, "gpt-oss-20b", "MXFP4"),
        ("chatglm3-6b-fp16", None, "chatglm3-6b", "F16"),
        ("stories260K", "llama", "stories260K", None),
        ("mistral-7b-v0.1", None, "mistral-7b-v0.1", None),
        ("ggml-model-q4_0", "Qwen 7B Chat", "qwen-7b-chat", "Q4_0"),
        ("model", "通义", "model", None),
        ("0123456789abcdef0123456789abcdef", "Gemma 2B", "gemma-2b", None),
        ("q4_0", None, "q4_0", None),
    ],
)
def test_names(stem, title, name, quantization):
    assert model_name(stem, title) == name
    assert named_quantization(stem) == quantization


def test_parts_of_a_split_model():
    assert is_later_part(Path("m-00002-of-00003.gguf"))
    assert not is_later_part(Path("m-00001-of-00003.gguf"))
    assert not is_later_part(Path("m-00002.gguf"))


def test_files_of_one_name_are_its_quantizations(folder):
    found = scan_directory(folder)
    assert [file.name for file in found].count("Tiny-Chat") == 3
    assert {file.quantization for file in found if file.name == "Tiny-Chat"} == {"F16", "Q8_0", "Q4_0"}
    for file in found:
        assert file.architecture == "llama"
        assert file.context_length == 512
        assert file.size == file.path.stat().st_size
    assert len({file.name for file in found}) == 2


def test_a_mix_is_what_name_and_header_agree_on(tmp_path):
    """Whatever type its embeddings have, which are most of a small model."""

    def tiny(name, file_type, most="Q6_K"):
        writer = GGUFWriter(tmp_path / name, "llama")
        writer.add_file_type(file_type)
        for quant, rows in (("Q4_0", 1), (most, 100)):
            kind = GGMLQuantizationType[quant]
            size, width = GGML_QUANT_SIZES[kind]
            writer.add_tensor(quant, np.zeros((rows, 256 // size * width), np.uint8), raw_dtype=kind)
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.write_tensors_to_file()
        writer.close()
        return model_file(tmp_path / name)

    agreed = tiny("tiny.Q4_0.gguf", LlamaFileType.MOSTLY_Q4_0)
    assert agreed.quantization == "Q4_0"
    plan = LoadPlanner()([agreed], LoadOptions("q4_0"))
    assert (plan.quantization, plan.warning) == (None, None)
    assert tiny("other.Q4_0.gguf", LlamaFileType.MOSTLY_Q6_K).quantization == "Q6_K"
    assert tiny("false.Q5_0.gguf", LlamaFileType.MOSTLY_Q5_0).quantization == "Q6_K"


@pytest.mark.parametrize("key", ["general.type", "general.name", "general.file_type", "llama.context_length"])
def test_a_header_of_other_types_is_described(tmp_path, key):
    writer = GGUFWriter(tmp_path / "odd.gguf", "llama")
    writer.add_array(key, [1, 2, 3])
    writer.add_tensor("a", np.zeros(32, np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    (found,) = scan_directory(tmp_path)
    assert (found.name, found.architecture, found.quantization) == ("odd", "llama", "F32")


def test_every_mix_has_the_name_that_its_files_state():
    for kind in LlamaFileType:
        name = kind.name.removeprefix("MOSTLY_").removeprefix("ALL_")
        assert mix_of_file_type(int(kind)) in (name, None)


def test_a_name_that_says_nothing_gives_way_to_the_metadata(folder):
    (named,) = [file.name for file in scan_directory(folder) if file.name != "Tiny-Chat"]
    assert "model" not in named


def test_the_smallest_of_four_bits_or_more_comes_first():
    def file(quantization, size):
        return ModelFile("m", None, size, 0, quantization)

    files = [file("F16", 160), file("Q2_K", 30), file("Q8_0", 80), file("Q4_K_M", 45), file(None, 10)]
    assert [f.quantization for f in by_preference(files)] == ["Q4_K_M", "Q8_0", "F16", "Q2_K", None]


def test_models_are_named_by_model_by_file_and_by_path(folder):
    assert [f.quantization for f in select_models(["tiny-chat"], folder, {}).models[:3]] == [
        "Q4_0",
        "Q8_0",
        "F16",
    ]
    chosen = select_models(["tiny-chat.q8_0"], folder, {"a": "Tiny-Chat", "b": "tiny-chat.f16"})
    assert [f.quantization for f in chosen.models[:3]] == ["Q8_0", "Q4_0", "F16"]
    assert chosen.preload == ["Tiny-Chat"]
    paths = [str(folder / f"Tiny-Chat.{quant}.gguf") for quant in ("Q8_0", "Q4_0")]
    assert select_models(paths, None, {}).preload == ["Tiny-Chat.Q8_0", "Tiny-Chat.Q4_0"]
    with pytest.raises(ModelSelectionError, match="cannot read"):
        select_models(["nobody"], folder, {})


def test_a_damaged_header_is_listed_and_told_when_loaded(tmp_path):
    path = tmp_path / "broken-q4_0.gguf"
    path.write_bytes(b"GGUF" + bytes(100))
    file = model_file(path)
    assert (file.name, file.architecture, file.quantization) == ("broken", None, "Q4_0")


def test_names_that_are_no_text_are_listed_all_the_same(tmp_path):
    os.close(os.open(os.fsencode(tmp_path) + b"/odd-\xff\xfe\n.gguf", os.O_CREAT | os.O_WRONLY))
    path = next(tmp_path.iterdir())
    path.write_bytes(b"GGUF" + bytes(100))
    (file,) = scan_directory(tmp_path)
    assert file.name.startswith("odd-")
    msgspec.json.encode(file.name)


def test_the_parts_of_a_split_model_count_together(folder, tmp_path):
    source = (folder / "Tiny-Chat.Q4_0.gguf").read_bytes()
    path = tmp_path / "half-00001-of-00001.gguf"
    path.write_bytes(source)
    assert model_file(path).name == "half"


@pytest.fixture(scope="module")
def variants(folder):
    return [file for file in scan_directory(folder) if file.name == "Tiny-Chat"]


def test_a_load_takes_the_file_of_that_quantization(variants):
    plan = LoadPlanner()(variants, LoadOptions("q8_0"))
    assert plan.file.quantization == "Q8_0"
    assert plan.quantization is None
    assert plan.warning is None


def test_else_it_quantizes_the_widest(variants):
    plan = LoadPlanner()(variants, LoadOptions("q5_k"))
    assert (plan.file.quantization, plan.quantization) == ("F16", "Q5_K_M")
    assert plan.warning is None
    narrow = [file for file in variants if file.quantization == "Q8_0"]
    plan = LoadPlanner()(narrow, LoadOptions("q4_0"))
    assert (plan.file.quantization, plan.quantization) == ("Q8_0", "Q4_0")
    assert plan.warning == "quantized from Q8_0 to Q4_0"


@pytest.mark.parametrize("quantization", ["q9_9", "", "../../etc", "q8_0"])
def test_what_cannot_be_is_refused(variants, quantization):
    narrow = [file for file in variants if file.quantization == "Q4_0"]
    with pytest.raises(ApiError) as refused:
        LoadPlanner()(narrow, LoadOptions(quantization))
    assert refused.value.status == 400
    assert refused.value.param == "quantization"


def test_the_servers_own_quantization_is_that_of_loads_without_one(variants):
    assert LoadPlanner(quantization="q8_0")(variants, LoadOptions()).file.quantization == "Q8_0"
    assert LoadPlanner(quantization="q8_0")(variants, LoadOptions("q4_0")).file.quantization == "Q4_0"


@pytest.mark.parametrize("quantization", [None, "q4_0"])
@pytest.mark.parametrize("n_ctx", [None, 100])
def test_memory_is_what_the_engine_then_takes(variants, quantization, n_ctx):
    (path,) = [file.path for file in variants if file.quantization == "F16"]
    options = {"quantization": quantization, "n_ctx": n_ctx, "max_batch": 3, "kv_budget": 1_500_000}
    estimate = estimate_memory(path, **options)
    engine = AsyncEngine(path, threads=1, device="cpu", **options)
    try:
        assert estimate.weights == engine.model_info.weight_bytes
        assert estimate.cache == engine.model_info.kv_bytes
        assert estimate.workspace > 0
    finally:
        engine.close()


def test_the_cache_never_exceeds_its_budget_beyond_one_context(variants):
    small = estimate_memory(variants[0].path, kv_budget=1_000_000, n_ctx=64)
    assert 0 < small.cache <= 1_000_000


def test_other_files_are_no_models():
    with pytest.raises(ModelSelectionError, match="not a GGUF"):
        model_file(Path(__file__))


@pytest.mark.parametrize(
    ("option", "value", "said"),
    [("--memory-limit", "lots", "not a size"), ("--memory-limit", "0", "not a size")],
)
def test_options_that_mean_nothing(option, value, said):
    result = CliRunner().invoke(serve, [option, value])
    assert result.exit_code == 2
    assert said in result.output
