"""Small synthetic models of every format, and what each instruction set makes of them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path

import numpy as np
import pytest

from llmcore import _core
from llmcore.tools.quant_mix import UNIFORM_TYPES
from llmcore.tools.shapes import Experts, LinearRope, Llama3Rope, LongRope, Shape, YarnRope
from llmcore.tools.synthesize import synthesize

WORKER = Path(__file__).with_name("logits_worker.py")
N_TOKENS = 70  # crosses the boundaries of KV blocks of 16, 32 and 64 tokens
N_GREEDY = 6

_LLAMA = Shape("llama", 256, 2, 8, 4, 32, 512, 512, 256)
_QWEN2 = Shape("qwen2", 256, 2, 4, 2, 64, 768, 512, 256, rope_base=1e6, norm_eps=1e-6, qkv_bias=True)
_GEMMA = Shape("gemma", 256, 2, 4, 1, 128, 768, 512, 256, norm_eps=1e-6, tied_embeddings=True)
_GEMMA2 = replace(
    _GEMMA, architecture="gemma2", post_norms=True, sliding_window=24, attention_cap=50.0, logit_cap=30.0
)
_GEMMA3 = replace(
    _GEMMA, architecture="gemma3", n_layers=6, post_norms=True, qk_norm=True, sliding_window=24,
    rope_base=1e6, rope_scaling=LinearRope(8.0),
)  # fmt: skip
_CHATGLM = replace(
    _LLAMA, architecture="chatglm", rope_dims=16, qkv_bias=True, fused_qkv=True, fused_gate_up=True
)
_EXPERTS = Experts(6, 2, 256)
SHAPES = {
    "llama": _LLAMA,
    "qwen2": _QWEN2,
    "tied": replace(_QWEN2, tied_embeddings=True),
    "llama3": replace(_LLAMA, rope_base=500000.0, rope_scaling=Llama3Rope(8.0, 1.0, 4.0, 64)),
    "mistral": replace(_LLAMA, sliding_window=20),
    "mixtral": replace(_LLAMA, experts=replace(_EXPERTS, d_ff=_LLAMA.d_ff)),
    "qwen": replace(_QWEN2, architecture="qwen", n_kv_heads=4, fused_qkv=True, feed_forward_key_scale=2),
    "qwen2moe": replace(_QWEN2, architecture="qwen2moe", experts=replace(_EXPERTS, shared_d_ff=512)),
    "qwen3": replace(_QWEN2, architecture="qwen3", qkv_bias=False, qk_norm=True, head_dim=128),
    "qwen3moe": replace(
        _QWEN2, architecture="qwen3moe", qkv_bias=False, qk_norm=True, experts=replace(_EXPERTS, n_used=3)
    ),
    "gemma": _GEMMA,
    "gemma2": _GEMMA2,
    "gemma3": _GEMMA3,
    "phi3": replace(_LLAMA, architecture="phi3", fused_qkv=True, fused_gate_up=True, sliding_window=50),
    "phi4": replace(
        _LLAMA, architecture="phi3", n_kv_heads=8, rope_dims=24, fused_qkv=True, fused_gate_up=True,
        tied_embeddings=True, rope_scaling=LongRope(32.0, 64),
    ),
    "chatglm": _CHATGLM,
    "glm4": replace(_CHATGLM, architecture="glm4", fused_qkv=False, post_norms=True),
    "gpt-oss": replace(
        _LLAMA, architecture="gpt-oss", n_ctx=2048, rope_base=150000.0, all_biases=True,
        attention_sinks=True, sliding_window=20, rope_scaling=YarnRope(32.0, 64),
        feed_forward_norm="post_attention_norm", experts=_EXPERTS,
    ),
}  # fmt: skip
_EVERY_FORMAT = ("llama", "qwen2")
MODELS = [
    *(f"{variant}-{quant}" for variant in _EVERY_FORMAT for quant in UNIFORM_TYPES),
    *(
        f"{variant}-{quant}"
        for variant in SHAPES
        if variant not in _EVERY_FORMAT
        for quant in ("Q8_0", "Q4_K_M")
    ),
    "tied-F32",
    "gpt-oss-MXFP4_MOE",
]


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """`isa` stands for every instruction set of this machine, `model_name` for every model."""
    if "isa" in metafunc.fixturenames:
        metafunc.parametrize("isa", _core.machine()["isas"])
    if "model_name" in metafunc.fixturenames:
        metafunc.parametrize("model_name", MODELS)


@dataclass(frozen=True)
class Run:
    """What one process computed for one model: logits of the prompt, tokens it went on with, logits of
    both.
    """

    logits: np.ndarray
    tokens: list[int]
    after: np.ndarray


def prompt_ids() -> list[int]:
    return [1, *np.random.default_rng(7).integers(260, 512, N_TOKENS - 1).tolist()]


class ModelRuns:
    """Makes models and runs them; each process handles all models of one setting."""

    def __init__(self, folder: Path, models: dict[str, Path], reference) -> None:
        self._folder = folder
        self._models = models
        self._reference = reference
        self.expected = lru_cache(None)(self._expected)
        self.runs = lru_cache(None)(self._runs)

    def shape(self, name: str) -> Shape:
        """The shape of the model of that name."""
        return SHAPES[name.rsplit("-", 1)[0]]

    def _expected(self, name: str) -> np.ndarray:
        return self._reference.ReferenceDecoder(self._models[name]).logits(prompt_ids())

    def _runs(self, isa: str, kv_cache_type: str) -> dict[str, Run]:
        folder = self._folder / f"{isa}-{kv_cache_type}"
        folder.mkdir()
        jobs = [
            {
                "model": str(path),
                "ids": prompt_ids(),
                "n_greedy": N_GREEDY,
                "kv_cache_type": kv_cache_type,
                "out": str(folder / f"{name}.npz"),
            }
            for name, path in self._models.items()
        ]
        job_file = folder / "jobs.json"
        job_file.write_text(json.dumps(jobs), encoding="utf-8")
        environment = {**os.environ, "LLMCORE_ISA": isa}
        command = [sys.executable, str(WORKER), str(job_file)]
        result = subprocess.run(
            command, env=environment, capture_output=True, text=True, check=False, timeout=300
        )
        assert result.returncode == 0, result.stderr[-4000:]
        runs = {}
        for name in self._models:
            with np.load(folder / f"{name}.npz") as saved:
                runs[name] = Run(saved["logits"], saved["tokens"].tolist(), saved["after"])
        return runs


@pytest.fixture(scope="session")
def model_runs(tmp_path_factory: pytest.TempPathFactory, reference_decoder) -> ModelRuns:
    folder = tmp_path_factory.mktemp("models")
    models = {}
    for name in MODELS:
        variant, quant = name.rsplit("-", 1)
        models[name] = folder / f"{name}.gguf"
        synthesize(models[name], SHAPES[variant], quant)
    return ModelRuns(folder, models, reference_decoder)
