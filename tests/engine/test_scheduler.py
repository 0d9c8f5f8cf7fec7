"""The scheduler's and block pool's promises, whatever arrives: without a model."""

from __future__ import annotations

from dataclasses import dataclass, field

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from small_scheduler import BLOCK, LOGIT_ROWS, MIXED, N_CTX, PART, STEP_TOKENS, scheduler

from llmcore import ContextLengthError, InvalidArgumentError, LLMCoreError


@dataclass
class Followed:
    """A sequence as the test sees it."""

    n_prompt: int
    max_new: int
    all_rows: bool
    pooling: bool
    stops_after: int
    cancelled_at: int | None
    family: int
    """Prompts of a family are equal for `shared` tokens."""
    shared: int
    priority: int
    tenant: int
    guesses: int
    """Tokens proposed for each of its decode steps; so many less one turn out right."""
    number: int = 0
    cached: int = 0
    sampled: int = 0

    def name(self, end: int) -> int:
        """What the first `end` tokens are called: equal where, and only where, all of them are."""
        return hash((self.family, -1 if end <= self.shared else self.number, end)) & ((1 << 64) - 1)

    def prompt_keys(self, key_tokens: int) -> list[int]:
        return [self.name(end) for end in range(key_tokens, self.n_prompt + 1, key_tokens)]

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
    family=st.integers(0, 1),
    shared=st.integers(0, N_CTX),
    priority=st.integers(0, 1),
    tenant=st.integers(0, 2),
    guesses=st.integers(0, 3),
)


@dataclass
class Simulation:
    """Drives a scheduler as the engine does, and checks every step."""

    n_blocks: int
    max_batch: int
    room_to_grow: int
    brief: int
    shares_parts: bool
    live: dict[int, Followed] = field(default_factory=dict)
    contents: dict[tuple[int, int], int] = field(default_factory=dict)
    """By block and place in it: the name of the text that ends with what was last written there."""

    def __post_init__(self) -> None:
        copy = self.copy_block if self.shares_parts else None
        self.scheduler = scheduler(self.n_blocks, self.max_batch, self.room_to_grow, self.brief, copy)
        self.key_tokens = PART if self.shares_parts else BLOCK

    def copy_block(self, source: int, target: int) -> None:
        assert source != target
        assert self.scheduler.ref_count(source) >= 1
        assert self.scheduler.ref_count(target) == 1
        for place in range(BLOCK):
            if (source, place) in self.contents:
                self.contents[target, place] = self.contents[source, place]

    def add(self, number: int, sequence: Followed) -> None:
        if sequence.pooling:
            sequence.max_new = 0
            sequence.all_rows = True
        sequence.number = number
        self.scheduler.add(
            number,
            sequence.n_prompt,
            sequence.max_new,
            all_rows=sequence.all_rows,
            pooling=sequence.pooling,
            priority=sequence.priority,
            tenant=sequence.tenant,
            keys=sequence.prompt_keys(self.key_tokens),
        )
        self.live[number] = sequence

    def step(self) -> None:
        for number, sequence in self.live.items():
            self.scheduler.propose(number, sequence.guesses)
        step = self.scheduler.schedule()
        assert step, "work that is never scheduled"
        for number, sequence in self.live.items():
            cached = self.scheduler.cached_tokens(number)
            if cached != sequence.cached:
                # Admitted, behind blocks of others; or preempted, and perhaps admitted again.
                assert cached == 0 or self.scheduler.ref_count(self.scheduler.blocks(number)[0]) >= 1
                assert cached % self.key_tokens == 0
                assert cached < sequence.known
                assert not sequence.all_rows
                blocks = self.scheduler.blocks(number)
                for place in range(cached):
                    name = self.contents[blocks[place // BLOCK], place % BLOCK]
                    assert name == sequence.name(place + 1)
                sequence.cached = cached
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
                assert 1 <= n_tokens <= 1 + sequence.guesses
                decode_rows += 1
                logit_rows += n_tokens
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
        holders: dict[int, int] = {}
        for number in self.live:
            for block in self.scheduler.blocks(number):
                holders[block] = holders.get(block, 0) + 1
        assert len(holders) == self.scheduler.used_blocks <= self.n_blocks
        assert all(self.scheduler.ref_count(block) == count for block, count in holders.items())

    def run(self, number: int, n_tokens: int) -> None:
        sequence = self.live[number]
        blocks = self.scheduler.blocks(number)
        assert len(blocks) >= -(-(sequence.cached + n_tokens) // BLOCK)
        for place in range(sequence.cached, sequence.cached + n_tokens):
            block = blocks[place // BLOCK]
            assert self.scheduler.ref_count(block) == 1, "a shared block is written"
            self.contents[block, place % BLOCK] = sequence.name(place + 1)
        run = min(n_tokens, sequence.known - sequence.cached)
        self.advance(number, run)
        right = n_tokens - run  # the guesses, but for the last, turn out right
        while sequence.cached == sequence.known and number in self.live:
            self.sample(number)
            if right <= 1 or number not in self.live:
                break
            right -= 1
            self.advance(number, 1)

    def advance(self, number: int, n_tokens: int) -> None:
        self.scheduler.advance(number, n_tokens)
        self.live[number].cached += n_tokens

    def sample(self, number: int) -> None:
        sequence = self.live[number]
        sequence.sampled += 1
        full = sequence.n_prompt + sequence.sampled >= N_CTX
        if full or sequence.sampled >= min(sequence.max_new, sequence.stops_after):
            self.finish(number)
        else:
            ends_part = sequence.known % self.key_tokens == 0
            self.scheduler.append_token(number, sequence.name(sequence.known) if ends_part else None)

    def finish(self, number: int) -> None:
        self.scheduler.finish(number)
        del self.live[number]


@settings(max_examples=150, deadline=None)
@given(
    arrivals=st.lists(st.tuples(st.integers(0, 5), sequences), min_size=1, max_size=12),
    n_blocks=st.integers(N_CTX // BLOCK, 30),
    max_batch=st.integers(1, 6),
    room_to_grow=st.integers(1, 64),
    brief=st.integers(0, N_CTX),
    shares_parts=st.booleans(),
)
def test_no_block_leaks_no_budget_breaks_everything_ends(
    *,
    arrivals: list[tuple[int, Followed]],
    n_blocks: int,
    max_batch: int,
    room_to_grow: int,
    brief: int,
    shares_parts: bool,
) -> None:
    simulation = Simulation(n_blocks, max_batch, room_to_grow, brief, shares_parts)
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
