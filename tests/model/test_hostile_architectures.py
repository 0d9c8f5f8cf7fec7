"""Models whose files lie about what their architecture has (architecture_lies.py), or are odd: each is
refused with an error that names the lie, or runs.
"""

from __future__ import annotations

import random
import re
import warnings
from collections.abc import Callable, Iterator
from functools import lru_cache
from pathlib import Path

import numpy as np
import pytest
from architecture_lies import INF, LIES, MODELS, NAN, architecture, model_named
from gguf import GGML_QUANT_SIZES, GGMLQuantizationType
from model_file import (
    BOOL,
    F32,
    F64,
    REFUSALS,
    STRING,
    TENSOR_F32,
    U32,
    U64,
    Change,
    ModelFile,
    Tensor,
    all_of,
    array,
    key,
    no_key,
    peak_memory,
    run,
    tensor,
)  # fmt: skip
from tiny_files import write_gguf

from llmcore import LLM, SamplingParams
from llmcore.errors import ContextLengthError, InvalidArgumentError, ModelError

PROMPT = [1, 40, 55, 71, 40]
LONG_PROMPT = [1 + i * 7 % 90 for i in range(70)]  # longer than every window and original context
MOST_MEMORY = 300 << 20  # bytes above what was there before
N_RANDOM = 12  # files a model
Q8_0 = GGMLQuantizationType.Q8_0

OddCase = tuple[str, str, Change]
"""The tiny model, what is odd about it, and how it is made so."""


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], ModelFile]:
    """A fresh copy of a sound model's file, by the tiny model's name."""
    folder = tmp_path_factory.mktemp("sound")

    @lru_cache(None)
    def read(name: str) -> ModelFile:
        write_gguf(model_named(name), folder / f"{name}.gguf")
        return ModelFile.read(folder / f"{name}.gguf")

    return lambda name: read(name).copy()


@pytest.fixture(autouse=True)
def _bounded_memory() -> Iterator[None]:
    peak_memory()
    before = peak_memory()
    yield
    after = peak_memory()
    if before is not None and after is not None:
        assert after - before < MOST_MEMORY


@pytest.mark.parametrize(
    ("model", "change", "named"), [pytest.param(m, c, n, id=f"{m}: {i}") for m, i, c, n in LIES]
)
def test_lies_are_refused_by_name(
    sound: Callable[[str], ModelFile], tmp_path: Path, model: str, change: Change, named: str
) -> None:
    file = sound(model)
    change(file)
    with pytest.raises(REFUSALS, match=named):
        run(file.write(tmp_path / "m.gguf"), PROMPT, n_ctx=model_named(model).n_ctx)


@pytest.mark.parametrize("n_ctx", [None, 80])
@pytest.mark.parametrize("model", [one.name for one in MODELS])
def test_unchanged_files_run(
    sound: Callable[[str], ModelFile], tmp_path: Path, model: str, n_ctx: int | None
) -> None:
    logits = run(sound(model).write(tmp_path / "m.gguf"), LONG_PROMPT, n_ctx=n_ctx)
    assert logits.shape == (len(LONG_PROMPT), 96)
    assert np.isfinite(logits).all()


@pytest.mark.parametrize("n_ctx", [1, 2, 17, 33, 70])
@pytest.mark.parametrize("model", ["mistral-window", "gemma2", "gemma3", "phi3-longrope-short", "gpt-oss"])
def test_contexts_beside_windows(
    sound: Callable[[str], ModelFile], tmp_path: Path, model: str, n_ctx: int
) -> None:
    """A context shorter or longer than the window changes nothing of what fits it."""
    path = sound(model).write(tmp_path / "m.gguf")
    with LLM(path, threads=1, max_batch=1, n_ctx=80) as llm:
        expected = llm.logits(LONG_PROMPT)
    with LLM(path, threads=1, max_batch=1, n_ctx=n_ctx) as llm:
        np.testing.assert_allclose(llm.logits(LONG_PROMPT[:n_ctx]), expected[:n_ctx], atol=2e-3)
        with pytest.raises(ContextLengthError):
            llm.logits([*LONG_PROMPT, *LONG_PROMPT][: n_ctx + 1])
    with pytest.raises(InvalidArgumentError, match="n_ctx"):
        LLM(path, n_ctx=model_named(model).n_ctx_train + 1)


def _odd_experts() -> Iterator[OddCase]:
    for model in ("mixtral", "qwen2moe", "qwen3moe", "gpt-oss"):
        name, n = architecture(model), model_named(model).experts.n
        for used in (1, n):
            yield model, f"{used} of {n} experts", key(f"{name}.expert_used_count", U64, used)
        yield model, "a scale of 0", key(f"{name}.expert_weights_scale", F32, 0.0)
        for flag in (True, False):
            yield model, f"normalized {flag}", key(f"{name}.expert_weights_norm", BOOL, flag)
        router = [64, n]
        for value in (0.0, 1e6):
            even = tensor("blk.0.ffn_gate_inp.weight", router, fill=value)
            yield model, f"a router that prefers none, {value}", even
        yield model, "a router of Q8_0", tensor("blk.0.ffn_gate_inp.weight", router, Q8_0)


def _odd_windows() -> Iterator[OddCase]:
    for model in ("mistral-window", "gemma2", "gemma3", "phi3-window", "gpt-oss"):
        name = f"{architecture(model)}.attention.sliding_window"
        for window in (0, 1, 2, 5, 69, 70, 71, 1 << 24):
            yield model, f"a window of {window}", key(name, U32, window)
        for flag in (0, 1):
            flags = [flag] * model_named(model).n_layers
            yield model, f"flags all {flag}", array(f"{name}_pattern", BOOL, flags)
        for period in (0, 1, 2, 3, 1000):
            yield model, f"a period of {period}", key(f"{name}_pattern", U32, period)
    for cap in (0.0, 1e-3, 1e30):
        for name in ("attn_logit_softcapping", "final_logit_softcapping"):
            yield "gemma2", f"{name}={cap}", key(f"gemma2.{name}", F32, cap)
    for value in (-1e30, 0.0, 80.0):
        yield "gpt-oss", f"sinks of {value}", tensor("blk.0.attn_sinks.weight", [4], fill=value)


def _odd_ropes() -> Iterator[OddCase]:
    for factor in (1e-3, 1.0, 1e30):
        yield "llama-rope-yarn", f"yarn by {factor}", key("llama.rope.scaling.factor", F32, factor)
    for context in (1, 2, 1 << 30):
        name = "rope.scaling.original_context_length"
        yield "llama-rope-yarn", f"yarn from {context}", key(f"llama.{name}", U32, context)
        yield "phi3-longrope-long", f"longrope from {context}", key(f"phi3.{name}", U32, context)
    no_context = no_key("llama.rope.scaling.original_context_length")
    yield "llama-rope-yarn", "yarn from the whole context", no_context
    for part in ("fast", "slow"):
        for value in (1e-30, 32.0, 1e30):
            beta = key(f"llama.rope.scaling.yarn_beta_{part}", F32, value)
            yield "llama-rope-yarn", f"{part} borders at {value}", beta
    for value in (-1.0, 0.5, 2.0, NAN, INF):  # beyond 0 to 1 stands for none
        strength = key("llama.rope.scaling.yarn_ext_factor", F32, value)
        yield "llama-rope-yarn", f"a strength of {value}", strength
    yield "llama-rope-llama3", "negative factors", tensor("rope_freqs.weight", [8], fill=-2.0)
    factors = [tensor(f"rope_factors_{part}.weight", [1]) for part in ("long", "short")]
    yield "phi4-mini", "rotary of 2", all_of(key("phi3.rope.dimension_count", U32, 2), *factors)


ODD = [*_odd_experts(), *_odd_windows(), *_odd_ropes()]


@pytest.mark.parametrize(("model", "change"), [pytest.param(m, c, id=f"{m}: {i}") for m, i, c in ODD])
def test_odd_but_possible_models_run(
    sound: Callable[[str], ModelFile], tmp_path: Path, model: str, change: Change
) -> None:
    file = sound(model)
    change(file)
    assert np.isfinite(run(file.write(tmp_path / "m.gguf"), LONG_PROMPT, n_ctx=80)).all()


@pytest.mark.parametrize(("model", "name"), [
    ("mixtral", "blk.0.ffn_gate_inp.weight"),
    ("qwen2moe", "blk.1.ffn_gate_inp.weight"),
    ("qwen2moe", "blk.1.ffn_gate_inp_shexp.weight"),
    ("qwen3moe", "blk.0.ffn_gate_exps.weight"),
    ("qwen3moe", "blk.1.ffn_down_exps.weight"),
    ("gpt-oss", "blk.0.ffn_gate_inp.bias"),
    ("gpt-oss", "blk.1.ffn_up_exps.bias"),
    ("gpt-oss", "blk.0.attn_sinks.weight"),
    ("gpt-oss", "blk.1.attn_output.bias"),
    ("gemma2", "blk.0.post_attention_norm.weight"),
    ("gemma2", "blk.0.attn_q.weight"),
    ("gemma3", "blk.3.attn_k_norm.weight"),
    ("gemma3", "blk.5.post_ffw_norm.weight"),
    ("phi3-window", "blk.0.attn_qkv.weight"),
    ("glm-4-9b", "blk.0.attn_qkv.bias"),
    ("glm4", "blk.1.ffn_up.weight"),
])  # fmt: skip
@pytest.mark.parametrize("value", [NAN, INF, -INF, -3e38])
def test_weights_that_are_no_numbers(
    sound: Callable[[str], ModelFile], tmp_path: Path, model: str, name: str, value: float
) -> None:
    """The model loads; what cannot be sampled from ends the request with an error, not the process."""
    file = sound(model)
    file.put(name, file.tensors[name].shape, fill=value)
    with LLM(file.write(tmp_path / "m.gguf"), threads=1, max_batch=2, n_ctx=80) as llm:
        logits = llm.logits(LONG_PROMPT)
        params = SamplingParams(max_tokens=3, logprobs=2, ignore_eos=True)
        refused = None
        try:
            llm.generate([LONG_PROMPT], params)
        except ModelError as error:
            refused = str(error)
        assert np.isfinite(logits[-1]).all() if refused is None else "logits" in refused
        assert llm.stats().kv_blocks_free == llm.stats().kv_blocks_total


_VALUES = [0, 1, 2, 3, 5, 8, 15, 16, 17, 32, 63, 64, 65, 70, 128, 2**16, 2**24, 2**31, 2**32 - 1, 2**62]
_REALS = [0.0, -0.0, 1.0, -1.0, 1e-45, 1e-30, 1e30, 3.4e38, 1e308, NAN, INF, -INF]
_STRINGS = [b"", b"yarn", b"linear", b"longrope", b"none", b"\xff"]
_NEW_KEYS = [
    "expert_count", "expert_used_count", "expert_feed_forward_length", "expert_weights_scale",
    "expert_shared_feed_forward_length", "expert_weights_norm", "attention.sliding_window", "attention.scale",
    "attention.sliding_window_pattern", "attn_logit_softcapping", "final_logit_softcapping",
    "rope.dimension_count", "rope.scaling.type", "rope.scaling.factor", "rope.scaling.attn_factor",
    "rope.scaling.original_context_length", "rope.scaling.yarn_beta_fast", "rope.scaling.yarn_beta_slow",
    "rope.freq_base", "rope.freq_base_swa", "attention.key_length", "attention.head_count_kv",
]  # fmt: skip


def _lie_in_metadata(file: ModelFile, name: str, rng: random.Random) -> None:
    full = f"{name}.{rng.choice(_NEW_KEYS)}"
    action = rng.randrange(6)
    if action == 0 and full in file.keys:
        del file.keys[full]
    elif action <= 2:
        file.set(full, U64, rng.choice(_VALUES))
    elif action == 3:
        file.set(full, F64, rng.choice(_REALS))
    elif action == 4:
        file.set(full, STRING, rng.choice(_STRINGS))
    else:
        file.set_array(full, rng.choice([U32, BOOL]), [rng.choice([0, 1])] * rng.randrange(9))


def _lie_in_tensors(file: ModelFile, _: str, rng: random.Random) -> None:
    special = [name for name in sorted(file.tensors) if re.search("inp|exp|sink|norm|rope|qkv|up", name)]
    name = rng.choice(special)
    changed = file.tensors[name]
    action = rng.randrange(5)
    if action == 0:
        del file.tensors[name]
    elif action == 1:
        other = rng.choice(special)
        file.tensors[name], file.tensors[other] = file.tensors[other], changed
    elif action == 2:
        noise = rng.randbytes(len(changed.data))
        file.tensors[name] = Tensor(changed.shape, changed.kind, noise)
    elif action == 3:
        file.put(name, changed.shape, TENSOR_F32, rng.choice(_REALS[:8]))
    else:
        shape = [max(1, size + rng.choice([-1, 0, 0, 1, 32])) for size in changed.shape]
        kinds = [kind for kind, (block, _) in GGML_QUANT_SIZES.items() if shape[0] % block == 0]
        file.put(name, shape, rng.choice(kinds), rng.choice(_REALS[:8]))


@pytest.mark.parametrize("model", [one.name for one in MODELS])
def test_random_lies(sound: Callable[[str], ModelFile], tmp_path: Path, model: str) -> None:
    """Whatever is changed, the file is refused, or loads and every request ends."""
    rng = random.Random(f"{model} 23")
    outcomes: list[str | None] = []
    for _ in range(N_RANDOM):
        file = sound(model)
        for _ in range(rng.randint(1, 3)):
            rng.choice([_lie_in_metadata, _lie_in_tensors])(file, architecture(model), rng)
        path = file.write(tmp_path / "m.gguf")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)
            try:
                run(path, LONG_PROMPT, n_ctx=rng.choice([None, 71, 80, 100]))
                outcomes.append(None)
            except (*REFUSALS, ContextLengthError) as error:
                outcomes.append(str(error))
    assert all(message is None or message.startswith("[") for message in outcomes)
    assert any(message is not None for message in outcomes)
