"""The tiers below the KV cache, whatever is asked of them, in whatever order."""

from __future__ import annotations

import tempfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llmcore import _core
from llmcore.errors import InvalidArgumentError

SIZE = 40  # bytes of a block
FILE = 64 + SIZE

Actions = list[tuple[str, int, int]]
actions = st.lists(
    st.tuples(
        st.sampled_from(["leaving", "restore", "keep", "restore_kept", "fetch", "damage", "reopen"]),
        st.integers(0, 3),  # a block
        st.integers(0, 5),  # a name
    ),
    max_size=40,
)


def contents(key: int, kept: bool = False) -> bytes:
    """Equal names mean equal contents."""
    return bytes((key * 7 + i + 100 * kept) % 256 for i in range(SIZE))


def tiers(folder: str | None, ram_blocks: int, disk_blocks: int) -> _core.KvTiers:
    given_folder = {} if folder is None else {"folder": folder, "folder_bytes": disk_blocks * FILE}
    return _core.KvTiers(4, SIZE, ram_bytes=ram_blocks * SIZE, model=9, **given_folder)


def damage(folder: Path, key: int) -> None:
    for path in folder.rglob(f"*{key:016x}.kv"):
        data = bytearray(path.read_bytes())
        data[-1] ^= 1
        path.write_bytes(data)


@settings(max_examples=60, deadline=None)
@given(actions, st.integers(1, 4), st.integers(1, 4))
def test_what_comes_back_is_what_went(steps: Actions, ram_blocks: int, disk_blocks: int) -> None:
    with tempfile.TemporaryDirectory() as folder:
        below = tiers(folder, ram_blocks, disk_blocks)
        for action, block, key in steps:
            before = below.get(block)
            if action in {"leaving", "keep"}:
                below.set(block, contents(key, action == "keep"))
                getattr(below, action)(*((block, key) if action == "leaving" else (key, block)))
            elif action in {"restore", "restore_kept", "fetch"}:
                found = getattr(below, action)(key, block)
                assert below.get(block) == (contents(key, action == "restore_kept") if found else before)
            elif action == "damage":
                damage(Path(folder), key)
            else:
                below.save([])
                del below
                below = tiers(folder, ram_blocks, disk_blocks)
            files = list(Path(folder).rglob("*.kv"))
            assert len(files) <= disk_blocks
            assert below.warning == ""
        del below  # whose thread may still write into the folder


@settings(max_examples=60, deadline=None)
@given(st.lists(st.integers(0, 7), max_size=40), st.integers(1, 5))
def test_memory_holds_the_names_used_last(keys: list[int], ram_blocks: int) -> None:
    below = tiers(None, ram_blocks, 0)
    order: list[int] = []
    for key in keys:
        below.set(0, contents(key))
        below.leaving(0, key)
        order = [other for other in order if other != key] + [key]
    for key in range(8):
        assert below.restore(key, 1) == (key in order[-ram_blocks:])


@settings(max_examples=30, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 9)), max_size=4, unique_by=lambda s: s[1]))
def test_what_is_saved_is_there_for_the_next(saved: list[tuple[int, int]]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        below = tiers(folder, 0, 4)
        keys: dict[int, int] = {}
        for block, key in saved:
            keys[block] = key
            below.set(block, contents(key))
        below.save(list(keys.items()))
        below = tiers(folder, 0, 4)
        for key in range(10):
            assert below.fetch(key, 0) == (key in keys.values())
            assert key not in keys.values() or below.get(0) == contents(key)


def test_bounds_that_are_none() -> None:
    with pytest.raises(InvalidArgumentError, match="kv_spill_ram; got 39; expected at least 40 bytes"):
        _core.KvTiers(4, SIZE, ram_bytes=39)
    with pytest.raises(InvalidArgumentError, match="kv_cache_dir_limit; got 50"):
        _core.KvTiers(4, SIZE, folder="/tmp/x", folder_bytes=50)
    with pytest.raises(InvalidArgumentError, match="blocks can be copied"):
        _core.KvTiers(4, 0, ram_bytes=100)
