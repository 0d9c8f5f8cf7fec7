"""A scheduler of a size that tests can follow, without a model."""

from __future__ import annotations

from collections.abc import Callable

from llmcore import _core

N_CTX = 48
BLOCK = 4
PART = 2
STEP_TOKENS = 16
LOGIT_ROWS = 6
MIXED = 8


def scheduler(
    n_blocks: int = 24,
    max_batch: int = 4,
    room_to_grow: int = 64,
    brief: int = N_CTX,
    copy_block: Callable[[int, int], None] | None = None,
) -> _core.Scheduler:
    """copy_block: blocks are shared in parts of PART tokens, which keys name; without it, whole ones."""
    return _core.Scheduler(
        n_ctx=N_CTX,
        block_tokens=BLOCK,
        n_blocks=n_blocks,
        max_batch=max_batch,
        max_step_tokens=STEP_TOKENS,
        max_logit_rows=LOGIT_ROWS,
        mixed_prompt_tokens=MIXED,
        room_to_grow=room_to_grow,
        brief_prompt_tokens=brief,
        part_tokens=PART if copy_block else 0,
        copy_block=copy_block,
    )


def decoding(plan: _core.Scheduler) -> None:
    """Sequence 1 has its prompt of three behind it and decodes; up to 20 tokens."""
    plan.add(1, 3, 20)
    assert plan.schedule() == [(1, 3)]
    plan.advance(1, 3)
    plan.append_token(1)
