"""A client leaves: within 50 ms and the step that runs, the engine has dropped its request."""

from __future__ import annotations

import pytest
from served_here import served_here
from served_process import send_raw

from llmcore.tools.shapes import Shape
from llmcore.tools.synthesize import synthesize

PATHS = ["/api/v1/generate", "/api/v1/generate/stream", "/v1/completions"]
DECODING = {"prompt": "hello", "max_tokens": 8000, "ignore_eos": True}
PREFILL = {"prompt": "hello " * 1200, "max_tokens": 8000, "ignore_eos": True}
CONTRACT = 0.05
# The best of so many counts: other programs of this machine may hold up any one.
ATTEMPTS = 4


@pytest.fixture(scope="module")
def slow(tmp_path_factory):
    """Takes seconds for a prompt or an answer, and one sequence at a time."""
    path = tmp_path_factory.mktemp("models") / "slow.gguf"
    synthesize(path, Shape("llama", 256, 4, 4, 2, 64, 768, 4000, 8192), "F16")
    with served_here(path, max_batch=1, prefix_cache=False, max_itl_ms=50) as server:
        yield server


@pytest.fixture(scope="module")
def stories(stories_model):
    with served_here(stories_model, max_batch=1, prefix_cache=False) as server:
        yield server


def is_idle(stats):
    return stats.running == stats.waiting == 0 and stats.kv_blocks_free == stats.kv_blocks_total


def leave(server, path, body, reached):
    """Send a request, leave once the engine's statistics say so; return the seconds until it was dropped."""
    before = server.engine.stats()
    with send_raw(server, path, body):
        server.wait_for(lambda stats: reached(stats, before))
    return server.wait_for(lambda stats: stats.cancelled == before.cancelled + 1)


def longest_step(server, body):
    """Seconds of a step of such a request: about, for they are alike."""
    before = server.engine.stats()
    with send_raw(server, PATHS[0], body):
        server.wait_for(lambda stats: stats.steps >= before.steps + 2)
    server.wait_for(is_idle)
    after = server.engine.stats()
    return (after.step_seconds - before.step_seconds) / (after.steps - before.steps)


def best_of(attempts, leaving, bound):
    times = []
    while len(times) < attempts and min(times, default=9.0) > bound:
        times.append(leaving())
    return min(times)


def decoding(stats, before):
    return stats.generated_tokens >= before.generated_tokens + 2


def in_prefill(stats, before):
    assert stats.generated_tokens == before.generated_tokens
    return stats.running == 1 and stats.steps >= before.steps + 1


def queued(stats, before):
    del before
    return stats.running == 1 and stats.waiting == 1


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize(("body", "reached"), [(DECODING, decoding), (PREFILL, in_prefill)])
def test_while_it_runs(slow, path, body, reached):
    bound = CONTRACT + 1.5 * longest_step(slow, body)
    assert best_of(ATTEMPTS, lambda: leave(slow, path, body, reached), bound) <= bound
    slow.wait_for(is_idle)


@pytest.mark.parametrize("path", PATHS)
def test_while_it_is_queued(slow, path):
    bound = CONTRACT + 1.5 * longest_step(slow, DECODING)
    with send_raw(slow, PATHS[0], DECODING):
        slow.wait_for(lambda stats: stats.running == 1)
        assert best_of(ATTEMPTS, lambda: leave(slow, path, DECODING, queued), bound) <= bound
        assert slow.engine.stats().running == 1
    slow.wait_for(is_idle)


@pytest.mark.parametrize("path", PATHS)
def test_in_absolute_time_with_a_tiny_model(stories, path):
    body = {**DECODING, "max_tokens": 480}
    assert best_of(8, lambda: leave(stories, path, body, decoding), CONTRACT) <= CONTRACT
    stories.wait_for(is_idle)
