"""Who runs when, and with whose blocks: the scheduler without a model."""

from __future__ import annotations

from small_scheduler import BLOCK, MIXED, N_CTX, STEP_TOKENS, decoding, scheduler

from llmcore import _core


def run(plan: _core.Scheduler, step: list[tuple[int, int]]) -> None:
    for number, n_tokens in step:
        plan.advance(number, n_tokens)


def test_a_long_prompt_does_not_stall_decoding() -> None:
    plan = scheduler()
    decoding(plan)
    plan.add(2, 40, 5)
    for _ in range(4):
        step = plan.schedule()
        assert step == [(1, 1), (2, MIXED)]
        for number, n_tokens in step:
            plan.advance(number, n_tokens)
        plan.append_token(1)


def test_mixed_steps_can_be_narrowed() -> None:
    plan = scheduler()
    decoding(plan)
    plan.add(2, 40, 5)
    for limit, chunk in [(5, 5), (1000, MIXED)]:
        plan.limit_mixed_prompt(limit)
        assert plan.schedule() == [(1, 1), (2, chunk)]
    plan.limit_mixed_prompt(0)
    assert plan.schedule() == [(1, 1)]


def test_prompts_are_counted_that_would_run_if_steps_had_room() -> None:
    plan = scheduler(max_batch=4)
    decoding(plan)
    assert plan.prompts == 0
    for number in range(2, 8):
        plan.add(number, 40, 5)
    assert plan.prompts == 3  # the other three wait for a place, not for room in a step
    plan.schedule()
    assert (plan.running, plan.waiting, plan.prompts) == (2, 5, 3)
    plan.finish(1)
    assert plan.prompts == 4


def test_embeddings_do_not_wait_behind_prompts_that_have_no_room() -> None:
    plan = scheduler()
    plan.add(1, 40, 5)
    run(plan, plan.schedule())
    plan.add(2, 40, 0)
    plan.add(3, 2, 0, all_rows=True, pooling=True)
    assert plan.schedule() == [(3, 2)]
    plan.finish(3)
    assert plan.schedule() == [(1, STEP_TOKENS)]
    # Of two places, one is the head's.
    narrow = scheduler(max_batch=2)
    narrow.add(1, 40, 5)
    run(narrow, narrow.schedule())
    narrow.add(2, 40, 0)
    narrow.add(3, 2, 0, all_rows=True, pooling=True)
    assert narrow.schedule() == [(1, STEP_TOKENS)]


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


def test_who_is_not_run_waits_in_line() -> None:
    plan = scheduler()
    decoding(plan)
    plan.add(2, 40, 5)
    plan.add(3, 40, 5)
    for _ in range(3):
        assert plan.schedule() == [(1, 1), (2, MIXED)]
        assert (plan.running, plan.waiting) == (2, 1)
    # So who comes later with a higher priority is next.
    plan.add(4, 40, 5, priority=-1)
    plan.finish(2)
    assert plan.schedule() == [(1, 1), (4, MIXED)]


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


def test_a_prefix_is_reused_from_live_and_ended_sequences() -> None:
    plan = scheduler()
    keys = [11, 12, 13]
    plan.add(1, 14, 10, keys=keys)
    assert plan.schedule() == [(1, 14)]
    plan.add(2, 13, 10, keys=keys)
    plan.add(3, 12, 10, keys=keys)
    plan.advance(1, 14)
    plan.append_token(1)
    # 13 tokens: three blocks, and one of its own. 12: the last block is run, since its last row is wanted.
    assert plan.schedule() == [(1, 1), (2, 1), (3, 4)]
    assert plan.blocks(2)[:3] == plan.blocks(1)[:3]
    assert plan.blocks(3)[:2] == plan.blocks(1)[:2]
    assert plan.blocks(3)[2] != plan.blocks(1)[2]
    assert [plan.reused_tokens(number) for number in (1, 2, 3)] == [0, 12, 8]
    for number in (1, 2, 3):
        plan.finish(number)
    assert plan.used_blocks == 0
    plan.add(4, 16, 1, keys=[*keys, 99])
    assert plan.schedule() == [(4, 4)]
    plan.finish(4)


def test_what_a_block_begins_with_is_copied() -> None:
    copies: list[tuple[int, int]] = []
    plan = scheduler(copy_block=lambda source, target: copies.append((source, target)))
    names = list(range(1, 8))  # of 2, 4 .. 14 tokens
    plan.add(1, 14, 10, keys=names)
    assert plan.schedule() == [(1, 14)]
    plan.advance(1, 14)
    plan.append_token(1)
    plan.add(2, 15, 10, keys=[*names[:5], 86, 87])
    plan.add(3, 14, 10, keys=names)
    plan.add(4, 15, 10, keys=names)
    # 10 tokens in common; all 14, the last of which is run; all 14 of 15.
    assert plan.schedule() == [(1, 1), (2, 5), (3, 2), (4, 1)]
    assert [plan.reused_tokens(number) for number in (2, 3, 4)] == [10, 12, 14]
    first = plan.blocks(1)
    assert [plan.blocks(number)[:2] for number in (2, 3, 4)] == [first[:2]] * 3
    assert copies == [(first[2], plan.blocks(2)[2]), (first[3], plan.blocks(4)[3])]
    assert plan.blocks(3)[:3] == first[:3]
    for number in (1, 2, 3, 4):
        plan.finish(number)
    assert plan.used_blocks == 0
    # An ended sequence's last block is found too; a whole block's worth of other text behind it is not.
    plan.add(5, 20, 1, keys=[*names, 98, 99, 100])
    assert plan.schedule() == [(5, 6)]
    plan.finish(5)


def test_a_part_is_computed_again_where_no_block_is_free_for_its_copy() -> None:
    copies: list[tuple[int, int]] = []
    plan = scheduler(n_blocks=3, copy_block=lambda source, target: copies.append((source, target)))
    plan.add(1, 6, 1, keys=[1, 2, 3])
    assert plan.schedule() == [(1, 6)]
    plan.advance(1, 6)
    plan.finish(1)
    plan.add(2, 2, 2)
    assert plan.schedule() == [(2, 2)]
    plan.advance(2, 2)
    plan.append_token(2)
    # The one block left is the one that begins as the sequence goes on.
    plan.add(3, 7, 1, keys=[1, 2, 3])
    assert plan.schedule() == [(2, 1), (3, 3)]
    assert plan.reused_tokens(3) == 4
    assert copies == []
    plan.finish(2)
    plan.finish(3)
    assert plan.used_blocks == 0


def test_a_sequence_waits_for_the_blocks_another_is_computing() -> None:
    plan = scheduler()
    plan.add(1, 40, 1, keys=list(range(10)))
    plan.add(2, 30, 1, keys=[*range(5), 50, 51])
    plan.add(3, 3, 1)
    assert plan.schedule() == [(1, STEP_TOKENS)]
    plan.advance(1, STEP_TOKENS)
    assert dict(plan.schedule()) == {1: STEP_TOKENS}
    plan.advance(1, STEP_TOKENS)
    # The five blocks they share are there: it goes its own way.
    assert plan.schedule() == [(1, 8), (2, STEP_TOKENS - 8)]
    assert plan.reused_tokens(2) == 20
    plan.finish(1)
    plan.finish(2)
    plan.finish(3)


def test_a_donor_that_leaves_is_not_waited_for() -> None:
    plan = scheduler()
    plan.add(1, 40, 1, keys=list(range(10)))
    plan.add(2, 40, 1, keys=list(range(10)))
    plan.schedule()
    plan.finish(1)
    assert plan.schedule() == [(2, STEP_TOKENS)]


def test_tenants_take_turns() -> None:
    plan = scheduler(max_batch=1)
    for number in range(10):
        plan.add(number, 4, 1, tenant=1)
    plan.add(100, 4, 1, tenant=2)
    plan.add(101, 4, 1, tenant=2)
    plan.add(102, 4, 1, tenant=2, priority=-1)
    order = []
    while plan.has_work:
        ((number, n_tokens),) = plan.schedule()
        plan.advance(number, n_tokens)
        plan.finish(number)
        order.append(number)
    # The urgent one first; then tenant 1, which had nothing yet, and turns from there on.
    assert order[:5] == [102, 0, 1, 100, 2] or order[:5] == [102, 0, 100, 1, 101]
    assert max(order.index(100), order.index(101)) <= 6


def test_a_tenant_that_comes_late_has_saved_up_nothing() -> None:
    plan = scheduler(max_batch=1)
    for number in range(20):
        plan.add(number, 4, 1, tenant=1)
    order = []
    while plan.has_work:
        ((number, n_tokens),) = plan.schedule()
        plan.advance(number, n_tokens)
        plan.finish(number)
        order.append(number)
        if len(order) == 10:
            for late in range(100, 110):
                plan.add(late, 4, 1, tenant=2)
    # From then on both are served alike, not the late one first.
    assert 4 <= sum(number >= 100 for number in order[10:20]) <= 6


def test_guesses_run_beside_prompts_and_decoding() -> None:
    plan = scheduler()
    decoding(plan)
    plan.propose(1, 5)
    assert plan.schedule() == [(1, 3)]  # half of the rows whose logits may be asked for
    plan.advance(1, 1)
    plan.append_token(1)
    assert plan.schedule() == [(1, 1)]  # proposals are for one step


def test_a_brief_prompt_does_not_wait_behind_a_long_one() -> None:
    plan = scheduler(brief=4, n_blocks=40)
    decoding(plan)
    plan.add(2, 40, 5)
    assert plan.schedule() == [(1, 1), (2, MIXED)]
    assert not plan.reads_brief_prompt
    plan.add(3, 30, 5)  # as long, and later: it waits
    plan.add(4, 3, 5)
    assert plan.schedule() == [(1, 1), (4, 3), (2, MIXED - 3)]
    assert plan.reads_brief_prompt
    run(plan, [(4, 3)])
    plan.append_token(4)
    assert not plan.reads_brief_prompt
    assert plan.schedule() == [(1, 1), (4, 1), (2, MIXED)]


def test_brief_prompts_leave_a_long_one_half_of_the_room() -> None:
    plan = scheduler(brief=4, max_batch=16)
    decoding(plan)
    plan.add(2, 40, 5)
    run(plan, plan.schedule()[1:])
    for number in range(3, 9):
        plan.add(number, 4, 5)
    for number in range(3, 9):
        step = plan.schedule()
        assert [entry for entry in step if entry[0] in (2, number)] == [(number, 4), (2, MIXED - 4)]
        run(plan, [entry for entry in step if entry[0] in (2, number)])
        plan.append_token(number)
        plan.finish(number)


def test_brief_prompts_are_those_with_little_left_behind_what_is_cached() -> None:
    plan = scheduler(brief=4)
    plan.add(1, 12, 20, keys=[1, 2, 3])
    run(plan, plan.schedule())
    plan.append_token(1)
    plan.add(2, 40, 5)
    assert plan.schedule() == [(1, 1), (2, MIXED)]
    plan.add(3, 15, 5, keys=[1, 2, 3])
    assert plan.schedule() == [(1, 1), (3, 3), (2, MIXED - 3)]
    assert plan.reused_tokens(3) == 12


def test_brief_prompts_respect_priorities_and_the_head_of_the_line() -> None:
    plan = scheduler(brief=4, n_blocks=40)
    decoding(plan)
    plan.add(2, 40, 5, priority=1)
    plan.schedule()
    plan.add(3, 3, 5, priority=2)
    assert plan.schedule() == [(1, 1), (2, MIXED)]
    # Two places are left: one is the head's, who came first.
    plan.add(4, 30, 5, priority=1)
    for number in (5, 6):
        plan.add(number, 3, 5, priority=1)
    assert plan.schedule() == [(1, 1), (5, 3), (2, MIXED - 3)]
    assert plan.running == 3


def test_a_step_that_reads_a_brief_prompt_is_brief_itself() -> None:
    plan = scheduler(brief=2, max_batch=4)
    plan.add(1, 40, 5)
    assert plan.schedule() == [(1, STEP_TOKENS)]
    plan.add(2, 2, 5)
    assert plan.schedule() == [(2, 2), (1, 2)]


def test_brief_prompts_do_not_take_the_blocks_that_the_head_of_the_line_needs() -> None:
    plan = scheduler(brief=4, n_blocks=24)
    decoding(plan)
    plan.add(2, 40, 5)
    plan.schedule()
    plan.add(3, 30, 5)  # 9 blocks beside 6 and 12
    plan.add(4, 3, 5)
    assert plan.schedule() == [(1, 1), (2, MIXED)]
    plan.finish(3)
    assert plan.schedule() == [(1, 1), (4, 3), (2, MIXED - 3)]
