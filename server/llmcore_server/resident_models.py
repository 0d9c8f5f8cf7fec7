"""The engines in memory: who uses them, what they take, and which of them leaves for another."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import itertools
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

from llmcore_server.disconnect import close_with_request
from llmcore_server.engine_protocol import Engine
from llmcore_server.errors import ApiError, Text
from llmcore_server.load_planning import LoadPlan
from llmcore_server.process_memory import readable_size

_clock = itertools.count(1)

# Seconds after which a client may ask again for what had no room beside busy models.
_BUSY_RETRY = 5


@dataclass(eq=False)
class ResidentModel:
    """One engine in memory. ``need``: the bytes it may come to take; ``measured``: those its load took."""

    name: str
    plan: LoadPlan
    engine: Engine
    need: int
    measured: int = 0
    last_used: int = field(default_factory=lambda: next(_clock))
    users: int = 0
    unused: asyncio.Event = field(default_factory=asyncio.Event)
    leaving: bool = False
    gone: asyncio.Event = field(default_factory=asyncio.Event)

    def __post_init__(self) -> None:
        self.unused.set()

    @property
    def busy(self) -> bool:
        return self.users > 0

    def hold_for_request(self) -> None:
        """Keep the engine until the request that the current task serves has ended."""
        self.last_used = next(_clock)
        self.users += 1
        self.unused.clear()
        close_with_request(self._let_go)

    def grow(self, size: int) -> None:
        """So many bytes more, or fewer, are in memory with it."""
        self.need += size
        self.measured = max(0, self.measured + size)

    async def _let_go(self) -> None:
        self.users -= 1
        if self.users == 0:
            self.unused.set()


@dataclass(eq=False)
class ResidentModels:
    """What is in memory, those that leave included until they are gone.

    limit: bytes that all may take together; None for no limit. strict: refuse what does not fit though
    everything idle has left; otherwise it is loaded all the same, and the system's own limits decide.
    drain_timeout: seconds a leaving model's requests may take to finish.
    """

    limit: int | None = None
    strict: bool = False
    drain_timeout: float = 30.0
    _present: list[ResidentModel] = field(default_factory=list)

    @property
    def need(self) -> int:
        """Bytes all of them may come to take."""
        return sum(resident.need for resident in self._present)

    def add(self, resident: ResidentModel) -> None:
        self._present.append(resident)

    def leaving_for(self, need: int) -> list[ResidentModel] | None:
        """Return the idle models, least recently used first, that must leave for ``need`` more bytes to fit;
        None if not even that is enough."""
        if self.limit is None:
            return []
        left, leaving = self.need + need, []
        for resident in sorted(self._present, key=lambda resident: resident.last_used):
            if left <= self.limit:
                break
            if resident.leaving or not resident.busy:
                leaving.append(resident)
                left -= resident.need
        return leaving if left <= self.limit or not self.strict else None

    async def make_room(self, need: int, retire: Callable[[ResidentModel], Awaitable[None]]) -> None:
        """Have idle models leave until ``need`` more bytes fit. Raises `ApiError` if they cannot."""
        while True:
            leaving = self.leaving_for(need)
            if leaving is None:
                raise self._refusal(need)
            if not leaving:
                return
            await retire(leaving[0])

    async def close(self, resident: ResidentModel) -> None:
        """Wait for the requests that use a model, cancel what takes too long, and free its memory."""
        if resident.leaving:
            await resident.gone.wait()
            return
        resident.leaving = True
        with contextlib.suppress(asyncio.TimeoutError):
            await asyncio.wait_for(resident.unused.wait(), self.drain_timeout)
        await asyncio.to_thread(resident.engine.close)
        del resident.engine
        # Engines are large, and may sit in a cycle of a request that failed.
        frozen = gc.get_freeze_count() > 0
        gc.unfreeze()
        gc.collect()
        if frozen:
            gc.freeze()
        if resident in self._present:
            self._present.remove(resident)
        resident.gone.set()

    def close_all(self) -> None:
        """Close every engine at once; what still generates is cancelled."""
        present, self._present = self._present, []
        for resident in present:
            if not resident.leaving:
                resident.engine.close()

    def _refusal(self, need: int) -> ApiError:
        assert self.limit is not None
        wanted, limit = readable_size(need), readable_size(self.limit)
        busy = readable_size(sum(resident.need for resident in self._present if resident.busy))
        details = Text(
            f"需要 {wanted}，上限 {limit}，其中 {busy} 正在使用",
            f"{wanted} are needed; the limit is {limit}, of which {busy} are in use",
        )
        # What is busy now may be idle soon; what exceeds the limit by itself never fits.
        retry_after = _BUSY_RETRY if need <= self.limit else None
        return ApiError("INSUFFICIENT_MEMORY", details, param="model", retry_after=retry_after)
