"""The block pool's promises, whatever is asked of it."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llmcore import LLMCoreError, _core


@settings(max_examples=100, deadline=None)
@given(
    st.lists(
        st.tuples(
            st.sampled_from(["take", "retain", "release", "publish", "publish_part", "reuse"]),
            st.integers(0, 7),
        ),
        max_size=80,
    )
)
def test_holders_are_counted_and_contents_found(actions: list[tuple[str, int]]) -> None:  # noqa: PLR0912
    pool = _core.BlockPool(8)
    refs = dict.fromkeys(range(8), 0)
    freed = list(range(8))  # least worth keeping first
    whole: dict[int, int] = {}  # blocks by the name of their contents
    names: dict[int, int] = {}  # the same and blocks by the names of what they begin with
    unused = iter(range(1000))
    for action, block in actions:
        if action == "take":
            if freed:
                assert pool.take() == freed[0]
                refs[freed[0]] = 1
                whole, names = ({n: b for n, b in known.items() if b != freed[0]} for known in (whole, names))
                freed.pop(0)
            else:
                with pytest.raises(LLMCoreError, match="no free KV block"):
                    pool.take()
        elif action == "reuse":
            name = list(names)[block % len(names)] if names else 0
            assert pool.reuse(name) == names.get(name)
            if name in names:
                if refs[names[name]] == 0:
                    freed.remove(names[name])
                refs[names[name]] += 1
        elif refs[block] == 0:
            with pytest.raises(LLMCoreError, match="free but treated as held"):
                getattr(pool, action)(*[block, 1][: 2 if action.startswith("publish") else 1])
        elif action.startswith("publish"):
            name = next(unused)
            getattr(pool, action)(block, name)
            if action == "publish_part":
                names[name] = block
            elif block not in whole.values():
                whole[name] = names[name] = block
        elif action == "retain":
            pool.retain(block)
            refs[block] += 1
        else:
            pool.release(block)
            refs[block] -= 1
            if refs[block] == 0:
                freed.insert(len(freed) if block in names.values() else 0, block)
        assert pool.published_blocks == len(whole)
        assert pool.free_blocks == len(freed) == pool.capacity - pool.used_blocks
        assert [pool.ref_count(i) for i in range(8)] == [refs[i] for i in range(8)]
