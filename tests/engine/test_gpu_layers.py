"""Layers on a GPU and on the CPU: what may be asked for, how many fit, and that it is told. The GPU is the
CUDA backend as it runs on the CPU."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from adapter_files import architecture_of, matrices_of, write_adapter

from llmcore import LLM, AsyncEngine, InvalidArgumentError, ModelError, SamplingParams
from llmcore.tools.shapes import Shape
from llmcore.tools.synthesize import synthesize

N_LAYERS = 4
SHAPE = Shape("llama", 64, N_LAYERS, 4, 2, 16, 96, 320, 256)
PROMPT = [3 + 7 * i % 300 for i in range(40)]
GREEDY = SamplingParams(max_tokens=6, temperature=0.0, ignore_eos=True)
MIB = 1 << 20


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("gpu-layers") / "model.gguf"
    synthesize(path, SHAPE, "F32")
    return path


@pytest.fixture(scope="module")
def heavy_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Of several megabytes a layer."""
    path = tmp_path_factory.mktemp("gpu-layers") / "heavy.gguf"
    synthesize(path, replace(SHAPE, d_model=256, n_heads=4, head_dim=64, d_ff=2048), "F32")
    return path


@pytest.fixture
def gpu(emulated_cuda: Path, monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """Makes the emulated GPU the one that is found; LLMCORE_EMULATED_MEMORY is its memory."""
    monkeypatch.setenv("LLMCORE_CUDA_LIBRARY", str(emulated_cuda))
    return monkeypatch


@pytest.fixture
def no_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LLMCORE_CUDA_LIBRARY", "/nowhere/libllmcore_cuda.so")


def opened(model: Path, device: str = "cuda", gpu_layers: int | str = "auto", **options) -> LLM:
    given = {"threads": 1, "n_ctx": 128, "max_batch": 2, "kv_cache_type": "f32"}
    return LLM(model, device=device, gpu_layers=gpu_layers, **{**given, **options})


def placed(model: Path, *args, **options) -> int:
    with opened(model, *args, **options) as llm:
        return llm.model_info.gpu_layers


@pytest.mark.parametrize("gpu_layers", [1, "3"])
@pytest.mark.usefixtures("gpu")
def test_split_layers_compute_the_same(model: Path, gpu_layers: int | str) -> None:
    with opened(model, "cpu") as llm:
        logits, tokens = llm.logits(PROMPT), llm.generate([PROMPT], GREEDY)[0].token_ids
        assert llm.model_info.placement == "all 4 layers on cpu"
        alone = llm.model_info.system_fingerprint
    with opened(model, gpu_layers=gpu_layers) as llm:
        info = llm.model_info
        split = llm.logits(PROMPT)
        assert np.linalg.norm(split - logits) <= 1e-5 * np.linalg.norm(logits)
        # A prompt whose beginning is cached, on both sides.
        for _ in range(2):
            completion = llm.generate([PROMPT], GREEDY)[0]
            assert completion.token_ids == tokens
        assert completion.usage.cached_tokens == 32
        explained = llm.explain()
    assert (info.gpu_layers, info.n_layers) == (int(gpu_layers), N_LAYERS)
    assert info.device == "cpu + cuda (emulated)"
    last, first = ("layer", "3 layers") if info.gpu_layers == 1 else ("3 layers", "layer")
    assert info.placement == (
        f"the last {last} of 4 and the head on cuda (emulated), the embedding and the first {first} on cpu"
    )
    assert info.placement in explained
    assert info.system_fingerprint != alone


@pytest.mark.parametrize("gpu_layers", [2, "all"])
@pytest.mark.usefixtures("gpu")
def test_what_leaves_the_cache_of_a_gpu_comes_back(
    model: Path, tmp_path: Path, gpu_layers: int | str
) -> None:
    prompts = [[*PROMPT[:number], 1, *PROMPT, *PROMPT] for number in range(3)]

    def run(llm: LLM, number: int) -> tuple[tuple[int, ...], int]:
        completion = llm.generate([prompts[number]], GREEDY)[0]
        return completion.token_ids, completion.usage.cached_tokens

    with opened(model, gpu_layers=gpu_layers, max_batch=1, deterministic=True) as llm:
        expected = [run(llm, number)[0] for number in range(3)]
    # One context in the cache: each prompt pushes the last one out.
    tiers = {"kv_spill_ram": MIB, "kv_cache_dir": tmp_path}
    with opened(model, gpu_layers=gpu_layers, max_batch=1, deterministic=True, **tiers) as llm:
        assert [run(llm, number)[0] for number in (0, 1, 2)] == expected
        assert [run(llm, number) for number in (0, 1, 2)] == [(tokens, 64) for tokens in expected]
        assert llm.stats().kv_restored_ram > 0
    with opened(model, gpu_layers=gpu_layers, max_batch=1, deterministic=True, **tiers) as llm:
        assert run(llm, 1) == (expected[1], 64)
        assert llm.stats().kv_restored_disk > 0


@pytest.mark.usefixtures("gpu")
def test_zero_is_the_cpu_and_all_is_the_gpu(model: Path) -> None:
    with opened(model, gpu_layers=0) as llm:
        assert (llm.model_info.device, llm.model_info.gpu_layers) == ("cpu", 0)
        assert llm.model_info.placement == "all 4 layers on cpu"
    for gpu_layers in ("all", N_LAYERS, "auto", -1):
        with opened(model, gpu_layers=gpu_layers) as llm:
            assert (llm.model_info.device, llm.model_info.gpu_layers) == ("cuda (emulated)", N_LAYERS)
            assert llm.model_info.placement == "all 4 layers on cuda (emulated)"
            assert llm.model_info.device_note == ""


def test_auto_takes_what_fits(heavy_model: Path, gpu) -> None:
    gpu.setenv("LLMCORE_EMULATED_MEMORY", str(100 * MIB))
    with opened(heavy_model) as llm:
        info = llm.model_info
        assert (info.device, info.gpu_layers, info.placement) == ("cpu", 0, "all 4 layers on cpu")
        assert (
            info.device_note == "using the CPU: no layer fits the 100 MiB that were free on cuda (emulated)"
        )

    # Somewhere between none and all: memory halves until only a part fits.
    low, high, found = 100 * MIB, 1024 * MIB, 0
    while not 0 < found < N_LAYERS:
        middle = (low + high) // 2
        gpu.setenv("LLMCORE_EMULATED_MEMORY", str(middle))
        found = placed(heavy_model)
        low, high = (middle, high) if found == 0 else (low, middle)
        assert high - low > MIB
    # A longer context, and a cache of more bytes, leave room for no more layers.
    assert placed(heavy_model, kv_cache_type="f16") >= found
    assert placed(heavy_model, n_ctx=256) <= found
    with opened(heavy_model) as llm:
        free = f": as many as fit the {middle // MIB} MiB that were free"
        assert llm.model_info.placement.endswith(free)
        assert llm.model_info.device_note == ""


@pytest.mark.parametrize("gpu_layers", [-2, "many", "", 1.5, True, None, 1 << 70])
@pytest.mark.usefixtures("gpu")
def test_numbers_that_make_no_sense(model: Path, gpu_layers) -> None:
    with pytest.raises(InvalidArgumentError, match=r"\[engine\] gpu_layers; got .*; expected .*auto or all"):
        opened(model, gpu_layers=gpu_layers)


@pytest.mark.usefixtures("gpu")
def test_more_layers_than_there_are_are_all(model: Path) -> None:
    assert placed(model, gpu_layers=99) == placed(model, gpu_layers="all")


@pytest.mark.usefixtures("no_gpu")
def test_layers_on_a_gpu_that_is_not_there(model: Path) -> None:
    with pytest.raises(InvalidArgumentError, match="gpu_layers on device 'cpu'; got 2; expected 0 or auto"):
        opened(model, "cpu", 2)
    with pytest.raises(ModelError, match="'cuda' is not available"):
        opened(model, "cuda", 2)
    assert placed(model, "cuda", 0) == 0
    with pytest.raises(InvalidArgumentError, match="unknown device"):
        opened(model, "tpu", 0)
    with opened(model, "auto", 2) as llm:
        assert llm.model_info.device == "cpu"
        assert llm.model_info.device_note


@pytest.mark.usefixtures("gpu")
def test_what_a_side_cannot_do_is_refused(model: Path, tmp_path: Path) -> None:
    with pytest.raises(InvalidArgumentError, match="kv_cache_type"):
        opened(model, gpu_layers=2, kv_cache_type="q8_0")
    dice = np.random.default_rng(1)
    for layer, fits in ((0, True), (3, False)):
        halves = {
            name: (
                dice.normal(0.0, 0.05, (2, cols)).astype(np.float32),
                dice.normal(0.0, 0.05, (rows, 2)).astype(np.float32),
            )
            for name, (rows, cols) in matrices_of(model).items()
            if name.startswith(f"blk.{layer}.")
        }
        path = write_adapter(tmp_path / f"layer-{layer}.gguf", architecture_of(model), halves)
        if not fits:
            with pytest.raises(ModelError, match="LoRA adapters are not supported on this device"):
                opened(model, gpu_layers=1, lora={"a": path})
            continue
        with opened(model, gpu_layers=1, lora={"a": path}) as llm:
            plain = llm.logits(PROMPT)
            changed = llm.logits(PROMPT, lora="a")
        with opened(model, "cpu", lora={"a": path}) as llm:
            expected = llm.logits(PROMPT, lora="a")
        assert np.linalg.norm(changed - plain) > 1e-3 * np.linalg.norm(plain)
        assert np.linalg.norm(changed - expected) <= 1e-5 * np.linalg.norm(expected)


@pytest.mark.usefixtures("gpu")
def test_cancelled_requests_leave_the_rest_as_it_was(model: Path) -> None:
    with opened(model, "cpu") as llm:
        expected = llm.generate([PROMPT], GREEDY)[0].text

    async def run() -> str:
        engine = AsyncEngine(
            model, device="cuda", gpu_layers=2, threads=1, n_ctx=128, max_batch=2, kv_cache_type="f32"
        )
        try:
            endless = engine.generate([5, 6], SamplingParams(max_tokens=100, ignore_eos=True))
            async for _ in endless:
                break
            await endless.aclose()
            return "".join([delta.text async for delta in engine.generate(PROMPT, GREEDY)])
        finally:
            engine.close()

    assert asyncio.run(run()) == expected


@pytest.mark.usefixtures("gpu")
def test_deterministic_answers_do_not_depend_on_what_runs_beside(model: Path) -> None:
    with opened(model, gpu_layers=2, deterministic=True) as llm:
        alone = llm.generate([PROMPT], GREEDY)[0].token_ids
        beside = llm.generate([PROMPT, [5, 6, 7]], GREEDY)
    assert beside[0].token_ids == alone
