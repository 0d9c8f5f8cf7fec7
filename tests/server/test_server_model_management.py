"""A real `llmcore serve --models-dir`: models by name, quantized while they load, leaving for each other."""

from __future__ import annotations

import gguf
import pytest
from served_process import REAL_SERVER, ServedProcess

from llmcore import LLM, SamplingParams
from llmcore.tools.shapes import Shape
from llmcore.tools.synthesize import synthesize

MODELS = "/api/v1/models"
GENERATE = "/api/v1/generate"
SMALL = Shape("llama", 256, 2, 4, 2, 64, 512, 300, 512)
LARGE = Shape("llama", 1024, 4, 8, 4, 128, 3072, 300, 512)
PROMPT = {"prompt": "hello", "raw": True, "max_tokens": 12, "temperature": 0, "ignore_eos": True}


def split(source, target):
    """Write a model again in several files, as `gguf-split` does."""
    reader = gguf.GGUFReader(source)
    architecture = reader.fields["general.architecture"].contents()
    writer = gguf.GGUFWriter(target, architecture, split_max_tensors=8)
    for field in reader.fields.values():
        if not field.name.startswith(("GGUF.", "general.architecture")):
            inner = field.types[-1] if field.types[0] is gguf.GGUFValueType.ARRAY else None
            writer.add_key_value(field.name, field.contents(), field.types[0], inner)
    for tensor in reader.tensors:
        writer.add_tensor(tensor.name, tensor.data, raw_dtype=tensor.tensor_type)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    path = tmp_path_factory.mktemp("models")
    for quant in ("F16", "Q8_0"):
        synthesize(path / f"small-chat.{quant}.gguf", SMALL, quant)
    synthesize(path / "large-chat.F16.gguf", LARGE, "F16")
    split(path / "small-chat.Q8_0.gguf", path / "parted-chat-q8_0.gguf")
    return path


@pytest.fixture(scope="module")
def served_folder(folder):
    arguments = ["--port", "0", "--threads", "1", "--device", "cpu", "--models-dir", str(folder)]
    limit = ["--memory-limit", "180MB", "--alias", "gpt-4=small-chat"]
    process = ServedProcess(REAL_SERVER, [*arguments, *limit, "small-chat"])
    process.wait_until_ready()
    yield process
    process.stop()


def model(process, name):
    return process.client.get(f"{MODELS}/{name}").json()


def test_models_are_listed_with_what_their_files_tell(served_folder):
    models = {entry["name"]: entry for entry in served_folder.client.get(MODELS).json()["models"]}
    assert set(models) == {"small-chat", "large-chat", "parted-chat"}
    assert models["small-chat"]["quantization"] == "Q8_0"
    assert models["large-chat"] | {"size": ""} == {
        "name": "large-chat", "format": "gguf", "size": "", "loaded": False, "memory_usage": "0GB",
        "quantization": "F16", "architecture": "llama", "context_length": 512,
    }  # fmt: skip
    assert model(served_folder, "small-chat")["quantizations"] == ["Q8_0", "F16"]


def test_a_quantization_is_made_while_loading_and_answers_as_it_should(served_folder, folder):
    answer = served_folder.post(f"{MODELS}/small-chat/load", {"quantization": "q4_0", "prefer_gpu": False})
    assert answer.status_code == 200
    assert answer.json()["quantization"] == "Q4_0"
    assert answer.json()["status"] == "ready"
    text = served_folder.post(GENERATE, {**PROMPT, "model": "gpt-4"}).json()["text"]
    with LLM(folder / "small-chat.F16.gguf", quantization="q4_0", threads=1) as llm:
        (expected,) = llm.generate("hello", SamplingParams(max_tokens=12, temperature=0, ignore_eos=True))
    assert text == expected.text
    refused = served_folder.post(f"{MODELS}/small-chat/load", {"quantization": "q9"})
    assert refused.status_code == 400
    assert model(served_folder, "small-chat")["status"] == "ready"


def test_a_request_loads_what_it_names_and_the_idle_one_leaves(served_folder):
    plan = served_folder.post(f"{MODELS}/large-chat/load", {"dry_run": True}).json()
    assert plan["memory"]["fits"]
    assert plan["memory"]["unloads"] == ["small-chat"]
    assert plan["memory"]["weights"] > 90_000_000
    assert served_folder.post(GENERATE, {**PROMPT, "model": "large-chat"}).status_code == 200
    assert model(served_folder, "large-chat")["status"] == "ready"
    assert model(served_folder, "small-chat")["status"] == "unloaded"
    assert served_folder.metric("llmcore_model_loads_total") >= 3


def test_a_model_in_several_files_is_one(served_folder, folder):
    parts = list(folder.glob("parted-chat-*.gguf"))
    assert len(parts) > 1
    assert model(served_folder, "parted-chat")["quantizations"] == ["Q8_0"]
    answers = [
        served_folder.post(GENERATE, {**PROMPT, "model": name}).json()["text"]
        for name in ("parted-chat", "parted-chat-q8_0")
    ]
    with LLM(folder / "small-chat.Q8_0.gguf", threads=1) as llm:
        (expected,) = llm.generate("hello", SamplingParams(max_tokens=12, temperature=0, ignore_eos=True))
    assert answers == [expected.text] * 2


def test_a_batch_is_what_its_requests_are_one_by_one(served_folder):
    prompts = [f"number {number}" for number in range(6)]
    requests = [{**PROMPT, "prompt": prompt, "model": "small-chat"} for prompt in prompts]
    results = served_folder.post("/api/v1/batch/generate", {"requests": requests}).json()["results"]
    alone = [served_folder.post(GENERATE, request).json() for request in requests]
    assert [result["usage"] for result in results] == [answer["usage"] for answer in alone]
    # Beside others the sums are rounded otherwise, and of random weights two tokens may be as good as equal.
    assert sum(a["text"] == b["text"] for a, b in zip(results, alone, strict=True)) >= 4


def test_unloading_gives_the_memory_back(served_folder):
    served_folder.post(f"{MODELS}/large-chat/load", {})
    before = served_folder.resident_bytes()
    assert served_folder.post(f"{MODELS}/large-chat/unload", {}).json()["status"] == "unloaded"
    assert before - served_folder.resident_bytes() > 80_000_000


def test_many_loads_leave_nothing_behind(served_folder):
    sizes = []
    for _ in range(4):
        for name in ("large-chat", "small-chat"):
            assert served_folder.post(GENERATE, {**PROMPT, "model": name}).status_code == 200
        sizes.append(served_folder.resident_bytes())
    assert sizes[-1] - sizes[0] < 20_000_000


def test_without_autoload_a_model_is_loaded_by_the_route_alone(folder):
    arguments = ["--port", "0", "--threads", "1", "--models-dir", str(folder), "--no-autoload", "small-chat"]
    process = ServedProcess(REAL_SERVER, arguments)
    try:
        refused = process.post(GENERATE, {**PROMPT, "model": "large-chat"})
        assert refused.status_code == 503
        assert refused.json()["error"]["code"] == "MODEL_NOT_LOADED"
        assert process.post(f"{MODELS}/large-chat/load", {}).status_code == 200
        assert process.post(GENERATE, {**PROMPT, "model": "large-chat"}).status_code == 200
    finally:
        process.stop()
