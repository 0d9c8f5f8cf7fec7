"""In a fork of the process that loaded a model, nothing hangs: what needs the engine says why it cannot."""

from __future__ import annotations

import asyncio
import os
import signal
import time
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from llmcore import LLM, AsyncEngine, InvalidArgumentError, SamplingParams

GREEDY = SamplingParams(max_tokens=8, temperature=0)
REASON = r"^\[engine\] the model was loaded in another process; load it after fork, or use spawn$"


def in_fork(work: Callable[[], None]) -> None:
    """Runs it in a fork of this process, which must end well within seconds."""
    with warnings.catch_warnings():
        # From Python 3.12 on, it warns of threads, which is the point.
        warnings.simplefilter("ignore", DeprecationWarning)
        child = os.fork()
    if child == 0:
        try:
            work()
        except BaseException as error:
            os.write(2, f"{type(error).__name__}: {error}\n".encode())
            os._exit(1)
        os._exit(0)
    for _ in range(200):
        ended, status = os.waitpid(child, os.WNOHANG)
        if ended:
            assert os.waitstatus_to_exitcode(status) == 0
            return
        time.sleep(0.05)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    pytest.fail("the forked process hangs")


def refused(work: Callable[[], object]) -> None:
    with pytest.raises(InvalidArgumentError, match=REASON):
        work()


@pytest.fixture(scope="module")
def llm(stories_model: Path) -> Iterator[LLM]:
    with LLM(stories_model, threads=2, n_ctx=128, max_batch=2) as loaded:
        yield loaded


def test_a_forked_llm_refuses_and_closes(llm: LLM) -> None:
    expected = llm.generate("Once", GREEDY)[0].text
    running = llm.stream("Once", GREEDY)

    def child() -> None:
        for call in (
            lambda: llm.generate("Once", GREEDY),
            lambda: llm.stream("Once"),
            lambda: llm.chat([{"role": "user", "content": "Once"}]),
            lambda: llm.embed("Once"),
            lambda: llm.logits([1]),
            lambda: list(running),
            llm.stats,
            llm.explain,
        ):
            refused(call)
        assert llm.detokenize(llm.tokenize("Once")) == "Once"
        llm.close()

    in_fork(child)
    assert "".join(delta.text for delta in running) == expected
    assert llm.generate("Once", GREEDY)[0].text == expected


def test_a_forked_llm_is_dropped(stories_model: Path) -> None:
    kept = [LLM(stories_model, threads=2, n_ctx=128)]
    kept[0].generate("Once", GREEDY)
    in_fork(kept.clear)
    kept[0].close()


def test_locks_that_a_thread_held_are_not_waited_for(llm: LLM) -> None:
    mail = llm._mail
    stream = llm.stream("Once", GREEDY)
    with mail._sorting:
        in_fork(lambda: refused(lambda: next(stream)))
        in_fork(lambda: refused(lambda: llm.generate("Once", GREEDY)))
    stream.close()  # type: ignore[attr-defined]


def test_a_forked_async_engine_refuses_and_closes(stories_model: Path) -> None:
    async def collect(engine: AsyncEngine) -> str:
        return "".join([delta.text async for delta in engine.generate("Once", GREEDY)])

    async def run(engine: AsyncEngine) -> None:
        expected = await collect(engine)
        # The fork has the loop's file descriptors: closing there must not take the reader away here.
        in_fork(engine.close)
        assert await asyncio.wait_for(collect(engine), 30) == expected

    def child() -> None:
        refused(lambda: asyncio.run(collect(engine)))
        refused(lambda: asyncio.run(engine.embed("Once")))
        refused(engine.stats)
        engine.close()

    with AsyncEngine(stories_model, threads=2, n_ctx=128) as engine:
        in_fork(child)
        asyncio.run(run(engine))
