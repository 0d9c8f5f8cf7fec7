"""The scheduler's and block pool's promises, whatever arrives: without a model."""

from __future__ import annotations

from dataclasses import dataclass, field

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llmcore import ContextLengthError, InvalidArgumentError, LLMCoreError, _core

N_CTX = 48
BLOCK = 4
STEP_TOKENS = 16
LOGIT_ROWS = 6
MIXED = 8


def scheduler(n_blocks: int = 24, max_batch: int = 4, room_to_grow: int = 64) -> _core.Scheduler:
    return _core.Scheduler(
        n_ctx=N_CTX,
        block_tokens=BLOCK,
        n_blocks=n_blocks,
        max_batch=max_batch,
        max_step_tokens=STEP_TOKENS,
        max_logit_rows=LOGIT_ROWS,
        mixed_prompt_tokens=MIXED,
        room_to_grow=room_to_grow,
    )


@dataclass
class Followed:
    """A sequence as the test sees it."""

    n_prompt: int
    max_new: int
    all_rows: bool
    pooling: bool
    stops_after: int
    cancelled_at: int | None
    cached: int = 0
    sampled: int = 0

    @property
    def known(self) -> int:
        return self.n_prompt + self.sampled


sequences = st.builds(
    Followed,
    n_prompt=st.integers(1, N_CTX - 1),
    max_new=st.integers(0, 60),
    all_rows=st.booleans(),
    pooling=st.booleans(),
    stops_after=st.integers(1, 60),
    cancelled_at=st.none() | st.integers(0, 30),
)


@dataclass
class Simulation:
    """Drives a scheduler as the engine does, and checks every step."""

    n_blocks: int
    max_batch: int
    room_to_grow: int
    live: dict[int, Followed] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.scheduler = scheduler(self.n_blocks, self.max_batch, self.room_to_grow)

    def add(self, number: int, sequence: Followed) -> None:
        if sequence.pooling:
            sequence.max_new = 0
            sequence.all_rows = True
        self.scheduler.add(
            number,
            sequence.n_prompt,
            sequence.max_new,
            all_rows=sequence.all_rows,
            pooling=sequence.pooling,
        )
        self.live[number] = sequence

    def step(self) -> None:
        step = self.scheduler.schedule()
        assert step, "work that is never scheduled"
        for number, sequence in self.live.items():
            cached = self.scheduler.cached_tokens(number)
            if cached != sequence.cached:
                assert cached == 0, "preempted: starts over"
                assert not sequence.all_rows
                assert not self.scheduler.blocks(number) or number in dict(step)
                sequence.cached = 0
        self.check_budgets(step)
        self.check_blocks()
        for number, n_tokens in step:
            self.run(number, n_tokens)

    def check_budgets(self, step: list[tuple[int, int]]) -> None:
        assert len({number for number, _ in step}) == len(step) <= self.max_batch
        assert sum(n for _, n in step) <= STEP_TOKENS
        assert len({self.live[number].pooling for number, _ in step}) == 1
        logit_rows = prompt_tokens = decode_rows = 0
        for number, n_tokens in step:
            sequence = self.live[number]
            assert n_tokens >= 1
            if sequence.cached >= sequence.n_prompt and sequence.known == sequence.cached + 1:
                assert n_tokens == 1
                decode_rows += 1
                logit_rows += 1
                assert prompt_tokens == 0, "decode rows come first"
            else:
                assert sequence.cached + n_tokens <= sequence.known
                prompt_tokens += n_tokens
                ends = sequence.cached + n_tokens == sequence.known
                logit_rows += n_tokens if sequence.all_rows else int(ends)
        assert logit_rows <= LOGIT_ROWS
        if decode_rows:
            assert prompt_tokens <= MIXED

    def check_blocks(self) -> None:
        held = [block for number in self.live for block in self.scheduler.blocks(number)]
        assert len(held) == len(set(held)) == self.scheduler.used_blocks <= self.n_blocks
        assert all(0 <= block < self.n_blocks for block in held)

    def run(self, number: int, n_tokens: int) -> None:
        sequence = self.live[number]
        blocks = self.scheduler.blocks(number)
        assert len(blocks) >= -(-(sequence.cached + n_tokens) // BLOCK)
        self.scheduler.advance(number, n_tokens)
        sequence.cached += n_tokens
        if sequence.cached < sequence.known:
            return
        sequence.sampled += 1
        full = sequence.n_prompt + sequence.sampled >= N_CTX
        if full or sequence.sampled >= min(sequence.max_new, sequence.stops_after):
            self.finish(number)
        else:
            self.scheduler.append_token(number)

    def finish(self, number: int) -> None:
        self.scheduler.finish(number)
        del self.live[number]


@settings(max_examples=150, deadline=None)
@given(
    arrivals=st.lists(st.tuples(st.integers(0, 5), sequences), min_size=1, max_size=12),
    n_blocks=st.integers(N_CTX // BLOCK, 30),
    max_batch=st.integers(1, 6),
    room_to_grow=st.integers(1, 64),
)
def test_no_block_leaks_no_budget_breaks_everything_ends(
    arrivals: list[tuple[int, Followed]], n_blocks: int, max_batch: int, room_to_grow: int
) -> None:
    simulation = Simulation(n_blocks, max_batch, room_to_grow)
    queue = list(enumerate(arrivals, start=1))
    for now in range(4000):
        while queue and queue[0][1][0] <= now:
            number, (_, sequence) = queue.pop(0)
            simulation.add(number, sequence)
        for number in [n for n, s in simulation.live.items() if s.cancelled_at == now]:
            simulation.finish(number)
        if simulation.live:
            simulation.step()
        elif not queue:
            break
    assert not simulation.live
    assert not simulation.scheduler.has_work
    assert simulation.scheduler.used_blocks == 0
    assert simulation.scheduler.waiting == simulation.scheduler.running == 0


def test_a_long_prompt_does_not_stall_decoding() -> None:
    plan = scheduler()
    plan.add(1, 3, 20)
    assert plan.schedule() == [(1, 3)]
    plan.advance(1, 3)
    plan.append_token(1)
    plan.add(2, 40, 5)
    for _ in range(4):
        step = plan.schedule()
        assert step == [(1, 1), (2, MIXED)]
        for number, n_tokens in step:
            plan.advance(number, n_tokens)
        plan.append_token(1)


def test_mixed_steps_can_be_narrowed() -> None:
    plan = scheduler()
    plan.add(1, 3, 20)
    plan.schedule()
    plan.advance(1, 3)
    plan.append_token(1)
    plan.add(2, 40, 5)
    for limit, chunk in [(5, 5), (0, 1), (1000, MIXED)]:
        plan.limit_mixed_prompt(limit)
        assert plan.schedule() == [(1, 1), (2, chunk)]


def test_first_come_first_served_with_priorities() -> None:
    plan = scheduler(max_batch=1)
    for number, priority in [(1, 0), (2, 5), (3, 0), (4, -1), (5, 5)]:
        plan.add(number, 2, 2, priority=priority)
    order = []
    while plan.has_work:
        ((number, n_tokens),) = plan.schedule()
        plan.advance(number, n_tokens)
        plan.finish(number)
        order.append(number)
    assert order == [4, 1, 3, 2, 5]


def test_admission_waits_for_blocks_in_order() -> None:
    plan = scheduler(n_blocks=N_CTX // BLOCK)  # one full context
    plan.add(1, 20, 20)  # 10 of 12 blocks, once it is long
    plan.add(2, 8, 8)  # 4: has to wait
    plan.add(3, 1, 1)  # would fit, but came later
    plan.schedule()
    assert (plan.running, plan.waiting) == (1, 2)
    plan.finish(1)
    plan.schedule()
    assert (plan.running, plan.waiting) == (2, 0)


def test_the_youngest_gives_way_and_starts_over() -> None:
    plan = scheduler(n_blocks=12, room_to_grow=1)
    for number in (1, 2):
        plan.add(number, 15, 30)
    sampled = dict.fromkeys((1, 2), 0)
    ended = []
    while plan.has_work:
        for number, n_tokens in plan.schedule():
            plan.advance(number, n_tokens)
            if plan.cached_tokens(number) < 15 + sampled[number]:
                continue
            sampled[number] += 1
            if sampled[number] == 30:
                plan.finish(number)
                ended.append((number, plan.preemptions))
            else:
                plan.append_token(number)
    # Two times 44 tokens do not fit 48: the second waits for the first to end.
    assert ended == [(1, 1), (2, 1)]
    assert plan.used_blocks == 0


def test_refusals_say_the_figures() -> None:
    plan = scheduler()
    with pytest.raises(ContextLengthError, match=r"got 48 tokens; expected at most 47 with a context of 48"):
        plan.add(1, 48, 1)
    plan.add(1, 48, 0)
    with pytest.raises(ContextLengthError, match="expected at most 48"):
        plan.add(2, 49, 0)
    with pytest.raises(ContextLengthError, match=r"got 40 tokens; expected at most 20"):
        scheduler(n_blocks=5).add(1, 20, 20)
    with pytest.raises(InvalidArgumentError, match="empty"):
        plan.add(2, 0, 1)
    with pytest.raises(InvalidArgumentError, match="in use"):
        plan.add(1, 1, 1)
    with pytest.raises(LLMCoreError, match="no such sequence"):
        plan.finish(7)


@settings(max_examples=100, deadline=None)
@given(st.lists(st.tuples(st.sampled_from(["take", "retain", "release"]), st.integers(0, 7)), max_size=80))
def test_block_pool_counts_holders(actions: list[tuple[str, int]]) -> None:
    pool = _core.BlockPool(8)
    refs = dict.fromkeys(range(8), 0)
    freed = list(range(8))  # longest free first
    for action, block in actions:
        if action == "take":
            if freed:
                assert pool.take() == freed[0]
                refs[freed.pop(0)] = 1
            else:
                with pytest.raises(LLMCoreError, match="no free KV block"):
                    pool.take()
        elif refs[block] == 0:
            with pytest.raises(LLMCoreError, match="free but treated as held"):
                getattr(pool, action)(block)
        elif action == "retain":
            pool.retain(block)
            refs[block] += 1
        else:
            pool.release(block)
            refs[block] -= 1
            if refs[block] == 0:
                freed.append(block)
        assert pool.free_blocks == len(freed) == pool.capacity - pool.used_blocks
        assert [pool.ref_count(i) for i in range(8)] == [refs[i] for i in range(8)]
