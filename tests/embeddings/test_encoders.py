"""Encoders in the engine: whole texts in one step, whatever shares it; what they refuse; pooling."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

import numpy as np
import pytest
from golden_encoders import golden_states, pooled
from tiny_encoders import CLS, SEP, encoder_named, texts

sys.path.insert(0, str(Path(__file__).parents[1] / "golden"))
sys.path.insert(0, str(Path(__file__).parents[1] / "model"))

from model_file import BOOL, U32, ModelFile
from tiny_files import write_gguf as write_tiny_model
from tiny_models import model_named

from llmcore import LLM, AsyncEngine, SamplingParams, _core
from llmcore.errors import ContextLengthError, InvalidArgumentError, ModelError


@pytest.fixture
def bert(encoder_files: dict[str, Path]) -> Path:
    return encoder_files["bert"]


def test_what_a_model_is_told(encoder_files: dict[str, Path], bert: Path) -> None:
    with LLM(bert, threads=1) as llm:
        info = llm.model_info
        assert (info.architecture, info.generates, info.pooling, info.n_ctx) == ("bert", False, "cls", 96)
        assert llm.tokenize("ab c") == [CLS, 4, 45, 6, SEP]
    with LLM(encoder_files["nomic-bert-untyped"], threads=1) as llm:
        assert llm.model_info.pooling == "mean"


def test_generation_is_refused_and_the_model_goes_on(bert: Path) -> None:
    with LLM(bert, threads=1) as llm:
        for attempt in (
            lambda: llm.generate("a", SamplingParams(max_tokens=1)),
            lambda: list(llm.stream("a", SamplingParams(max_tokens=1))),
            lambda: llm.logits([1, 2]),
        ):
            with pytest.raises(InvalidArgumentError, match="makes embeddings and generates no text"):
                attempt()
        assert llm.embed("a").shape == (1, 64)


def test_texts_beyond_the_context_are_refused_with_figures(bert: Path) -> None:
    with LLM(bert, threads=1) as llm:
        with pytest.raises(ContextLengthError, match=r"97 tokens; expected at most 96"):
            llm.embed([[CLS] * 97])
        assert llm.embed([[CLS] * 96]).shape == (1, 64)
    with LLM(bert, threads=1, n_ctx=10) as llm:
        assert llm.model_info.n_ctx == 10
        llm.embed([[CLS] * 10])
        with pytest.raises(ContextLengthError):
            llm.embed([[CLS] * 11])
    with pytest.raises(InvalidArgumentError, match="n_ctx"):
        LLM(bert, n_ctx=97)


def test_bad_requests(bert: Path) -> None:
    with LLM(bert, threads=1) as llm:
        with pytest.raises(InvalidArgumentError, match="pooling; got max; expected mean, cls or last"):
            llm.embed("a", pooling="max")  # type: ignore[arg-type]
        with pytest.raises(InvalidArgumentError, match="out of range"):
            llm.embed([[96]])
        with pytest.raises(InvalidArgumentError, match="empty"):
            llm.embed([[]])
        with pytest.raises(InvalidArgumentError, match="a list of such lists"):
            llm.embed([1, 2])  # type: ignore[list-item]


@pytest.mark.parametrize("max_batch", [1, 3, 32])
def test_many_texts_share_steps(encoder_files: dict[str, Path], max_batch: int) -> None:
    """More rows than a step has room for, in any order of lengths: each is as it is alone."""
    for name in ("bert", "nomic-bert"):
        some = texts(encoder_named(name))
        many = [some[i % len(some)] for i in range(40)]
        expected = [pooled(states, "mean") for states in golden_states(name)]
        with LLM(encoder_files[name], threads=2, max_batch=max_batch, kv_cache_type="f32") as llm:
            vectors = llm.embed(many, normalize=False, pooling="mean")
            stats = llm.stats()
        for i, vector in enumerate(vectors):
            wanted = expected[i % len(some)]
            assert np.linalg.norm(vector - wanted) <= 1e-5 * np.linalg.norm(wanted)
        assert stats.kv_blocks_free == stats.kv_blocks_total
        assert stats.prompt_tokens == sum(map(len, many))
        assert max_batch < 32 or stats.steps <= 8


def test_cancelled_texts_leave_nothing_behind(bert: Path) -> None:
    async def run() -> None:
        engine = AsyncEngine(bert, threads=1)
        try:
            task = asyncio.ensure_future(engine.embed([[CLS] * 96] * 500))
            await asyncio.sleep(0.02)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            (vector,) = await engine.embed([[CLS, SEP]], pooling="last", normalize=False)
            wanted = golden_states("bert")[0][-1]
            assert np.linalg.norm(vector.vector - wanted) <= 1e-2 * np.linalg.norm(wanted)
            stats = engine.stats()
            assert (stats.running, stats.kv_blocks_free) == (0, stats.kv_blocks_total)
        finally:
            engine.close()

    asyncio.run(run())


def test_deterministic_mode_gives_the_same_bits_beside_others(bert: Path) -> None:
    some = texts(encoder_named("bert"))
    with LLM(bert, threads=2, deterministic=True) as llm:
        alone = [llm.embed([ids], normalize=False)[0] for ids in some]
        together = llm.embed([*some, *some[::-1]], normalize=False)
    for i, vector in enumerate(alone):
        assert (together[i] == vector).all()
        assert (together[-1 - i] == vector).all()


def test_a_device_that_runs_no_encoders_says_so(bert: Path) -> None:
    with pytest.raises(ModelError, match="cuda"):
        LLM(bert, device="cuda")
    with LLM(bert, device="auto", threads=1) as llm:
        assert llm.model_info.device == "cpu"


def test_length_one_unless_asked_otherwise(bert: Path) -> None:
    with LLM(bert, threads=1) as llm:
        assert np.linalg.norm(llm.embed(["ab", "c"]), axis=1) == pytest.approx([1.0, 1.0], abs=1e-6)
        raw = llm.embed(["ab", "c"], normalize=False)
        assert (np.abs(np.linalg.norm(raw, axis=1) - 1.0) > 0.1).all()


def test_decoders_pool_their_states_too(stories_model: Path) -> None:
    """Also over a prompt that takes several steps: with the states of its prefixes, whose last tokens they
    end in."""
    rng = np.random.default_rng(3)
    ids = [1, *rng.integers(3, 500, 39).tolist()]
    with LLM(stories_model, threads=1, kv_cache_type="f32") as llm:
        assert (llm.model_info.generates, llm.model_info.pooling) == (True, "mean")
        states = llm.embed([ids[: n + 1] for n in range(len(ids))], normalize=False, pooling="last")
        found = {p: llm.embed([ids], normalize=False, pooling=p)[0] for p in ("mean", "cls", "last")}
        default = llm.embed([ids], normalize=False)[0]
    for pooling, vector in found.items():
        np.testing.assert_allclose(vector, pooled(states, pooling), rtol=1e-4, atol=1e-4)
    assert (default == found["mean"]).all()


@pytest.mark.parametrize("causal", [True, False])
def test_a_decoders_file_may_say_that_it_reads_in_both_directions(tmp_path: Path, causal: bool) -> None:
    """Then a token's state depends on what comes after it, and nothing is generated."""
    write_tiny_model(model_named("llama"), tmp_path / "m.gguf")
    file = ModelFile.read(tmp_path / "m.gguf")
    file.set("llama.attention.causal", BOOL, causal)
    path = file.write(tmp_path / "changed.gguf")
    with LLM(path, threads=1, n_ctx=80) as llm:
        assert llm.model_info.generates is causal
        one, other = llm.embed([[1, 40, 55, 71], [1, 40, 55, 72]], pooling="cls")
        assert bool(np.abs(one - other).max() < 1e-6) is causal
    if not causal:
        file.set("llama.attention.sliding_window", U32, 8)
        with pytest.raises(ModelError, match="sliding_window"):
            LLM(file.write(tmp_path / "window.gguf"))


class TestScheduling:
    """Whole prompts: in the scheduler alone."""

    @staticmethod
    def plan(**changes: int) -> _core.Scheduler:
        sizes = {"n_ctx": 16, "block_tokens": 4, "n_blocks": 24, "max_batch": 8, "max_step_tokens": 16,
                 "max_logit_rows": 16, **changes}  # fmt: skip
        return _core.Scheduler(**sizes, whole_prompts=True)

    def test_a_prompt_that_does_not_fit_the_rest_of_a_step_waits_for_the_next(self) -> None:
        plan = self.plan()
        for sequence, length in enumerate((10, 7, 6, 16), start=1):
            plan.add(sequence, length, 0, all_rows=True, pooling=True)
        assert plan.schedule() == [(1, 10), (3, 6)]
        for sequence, length in ((1, 10), (3, 6)):
            plan.advance(sequence, length)
            plan.finish(sequence)
        assert plan.schedule() == [(2, 7)]
        plan.advance(2, 7)
        plan.finish(2)
        assert plan.schedule() == [(4, 16)]

    def test_a_long_prompt_is_not_overtaken_for_ever(self) -> None:
        plan = self.plan()
        plan.add(1, 4, 0, all_rows=True, pooling=True)
        plan.add(2, 16, 0, all_rows=True, pooling=True)
        for sequence in range(3, 40):
            plan.add(sequence, 4, 0, all_rows=True, pooling=True)
        ran: list[int] = []
        while 2 not in ran:
            for sequence, length in plan.schedule():
                plan.advance(sequence, length)
                plan.finish(sequence)
                ran.append(sequence)
        assert len(ran) <= 6

    @pytest.mark.parametrize("changes", [{"max_step_tokens": 15}, {"max_logit_rows": 15}])
    def test_a_step_must_have_room_for_the_longest(self, changes: dict[str, int]) -> None:
        with pytest.raises(InvalidArgumentError, match="no room for a whole prompt; got 15 rows"):
            self.plan(**changes)
