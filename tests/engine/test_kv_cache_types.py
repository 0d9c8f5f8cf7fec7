"""The formats a KV cache may have: what they take, what they lose, and where they are refused."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from llmcore import LLM, SamplingParams
from llmcore.errors import InvalidArgumentError
from llmcore.tools.memory_estimate import estimate_memory
from llmcore.tools.shapes import Shape
from llmcore.tools.synthesize import synthesize

SHAPE = Shape("llama", 128, 2, 4, 2, 32, 256, 300, 512)
# Bytes of 32 numbers, and what the format leaves of logits.
TYPES = {"f32": (128, 0.0), "f16": (64, 1e-3), "bf16": (64, 1e-2), "q8_0": (34, 2e-2), "q4_0": (18, 0.3)}
IDS = np.random.default_rng(5).integers(3, 300, 90).tolist()


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("models") / "tiny.gguf"
    synthesize(path, SHAPE, "F16")
    return path


@pytest.fixture(scope="module")
def exact(model: Path) -> np.ndarray:
    with LLM(model, threads=1, n_ctx=128, max_batch=2, kv_cache_type="f32", device="cpu") as llm:
        return llm.logits(IDS)


@pytest.mark.parametrize("name", TYPES)
def test_a_type_takes_its_bytes_and_loses_as_much_as_it_may(
    model: Path, exact: np.ndarray, name: str
) -> None:
    size, allowed = TYPES[name]
    with LLM(model, threads=1, n_ctx=128, max_batch=2, kv_cache_type=name, device="cpu") as llm:
        info = llm.model_info
        assert info.kv_bytes == 2 * 128 * (2 * 2 * 2 * size)  # contexts; layers, keys and values, heads
        assert info.kv_cache_type.lower() == name
        assert info.kv_contexts == 2
        assert f"{info.kv_cache_type}, 8 blocks" in info.kv_plan
        assert "context 128, 2.0 of them at once" in info.kv_plan
        estimate = estimate_memory(model, n_ctx=128, max_batch=2, kv_budget=1 << 30, kv_cache_type=name)
        assert estimate.cache == info.kv_bytes
        logits = llm.logits(IDS)
        assert np.linalg.norm(logits - exact) <= allowed * np.linalg.norm(exact)
        assert name == "f32" or (logits != exact).any()
        params = SamplingParams(max_tokens=20, temperature=0, ignore_eos=True)
        assert len(llm.generate([IDS[:40]], params)[0].token_ids) == 20


def test_a_budget_holds_more_tokens_of_a_smaller_type(model: Path) -> None:
    blocks = {}
    for name in ("f16", "q8_0", "q4_0"):
        estimate = estimate_memory(model, n_ctx=512, max_batch=64, kv_budget=1 << 19, kv_cache_type=name)
        blocks[name] = estimate.cache // (32 * 2 * 2 * 2 * TYPES[name][0])
    assert blocks == {"f16": 32, "q8_0": 60, "q4_0": 113}


@pytest.mark.parametrize("name", ["q8_0", "q4_0"])
def test_heads_that_are_no_whole_blocks_are_refused(tmp_path: Path, name: str) -> None:
    path = tmp_path / "heads.gguf"
    synthesize(path, Shape("llama", 160, 1, 2, 2, 80, 256, 300, 512), "F16")
    with pytest.raises(InvalidArgumentError, match=r"heads; got 80; expected a multiple of 32"):
        LLM(path, kv_cache_type=name)
    with LLM(path, kv_cache_type="bf16", threads=1, n_ctx=64) as llm:
        assert llm.generate([[5, 6, 7]], SamplingParams(max_tokens=2, ignore_eos=True))[0].token_ids


def test_an_unknown_type_is_refused(model: Path) -> None:
    with pytest.raises(InvalidArgumentError, match="expected f32, f16, bf16, q8_0 or q4_0"):
        LLM(model, kv_cache_type="Q6_K")


@pytest.mark.parametrize("name", ["bf16", "q8_0", "q4_0"])
def test_deterministic_mode_holds_with_every_type(model: Path, name: str) -> None:
    params = SamplingParams(max_tokens=40, temperature=0.8, seed=3, ignore_eos=True)
    with LLM(model, threads=2, n_ctx=160, max_batch=4, kv_cache_type=name, deterministic=True) as llm:
        alone = llm.generate([IDS[:50]], params)[0].token_ids
        crowd = llm.generate([IDS[:50], IDS[10:70], IDS[:50], IDS[30:33]], params)
        assert crowd[0].token_ids == crowd[2].token_ids == alone
