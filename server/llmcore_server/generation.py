"""One request's generation: started, watched, counted and cancelled in one place."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from llmcore_server.engine_protocol import Delta, Engine
from llmcore_server.errors import ApiError, error_from_engine
from llmcore_server.metrics import Metrics
from llmcore_server.scheduling import Scheduling
from llmcore_server.usage_meter import current_meter

if TYPE_CHECKING:
    from llmcore import SamplingParams

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class TokenCount:
    """Tokens a request has used so far; ``cached_tokens`` of the prompt are an earlier one's."""

    prompt_tokens: int
    completion_tokens: int
    cached_tokens: int = 0

    def as_body(self) -> dict[str, int]:
        total = self.prompt_tokens + self.completion_tokens
        return {
            "prompt_tokens": self.prompt_tokens,
            "completion_tokens": self.completion_tokens,
            "total_tokens": total,
        }


async def chat_prompt(engine: Engine, messages: Sequence[dict[str, Any]]) -> list[int]:
    """Render messages through the model's template and encode them, off the event loop."""
    return await asyncio.to_thread(engine.tokenizer.encode_chat, messages, add_generation_prompt=True)


class Generation:
    """Feeds the engine's deltas to one response.

    A task of its own drains the engine, so that a slow client holds up nobody; what waits for that client is
    bounded by its own ``max_tokens``. `close` cancels what is not finished and may be called twice.
    """

    def __init__(
        self,
        engine: Engine,
        prompt: str | list[int],
        params: SamplingParams,
        *,
        request_id: str,
        choices: int,
        scheduling: Scheduling,
        metrics: Metrics,
    ) -> None:
        self._engine = engine
        self._request_id = request_id
        self._metrics = metrics
        self._meter = current_meter()
        self._prompt_tokens = len(prompt) if isinstance(prompt, list) else 0
        self._cached_tokens = 0
        self._completion_tokens = [0] * choices
        self._unfinished = set(range(choices))
        self._pending: list[Delta] = []
        self._arrived = asyncio.Event()
        # Done with the first delta, the error in its stead, or the time that an answer waits for either.
        self._begun = asyncio.get_running_loop().create_future()
        self._error: Exception | None = None
        self._started_at = time.perf_counter()
        self._last_delta_at: float | None = None
        self._pump: asyncio.Task[None] | None = asyncio.ensure_future(self._drain(prompt, params, scheduling))
        self._drained = False

    @property
    def elapsed(self) -> float:
        """Seconds since the request was handed to the engine."""
        return time.perf_counter() - self._started_at

    @property
    def usage(self) -> TokenCount:
        return TokenCount(self._prompt_tokens, sum(self._completion_tokens), self._cached_tokens)

    async def admitted(self, wait: float) -> None:
        """Return once the engine begins to answer, or after ``wait`` seconds; raise its refusal."""
        if not self._begun.done():
            timer = asyncio.get_running_loop().call_later(wait, self._begin)
            try:
                await self._begun
            finally:
                timer.cancel()
        if self._error is not None and not self._pending:
            raise self._error

    async def next_deltas(self) -> list[Delta]:
        """Return all deltas that have arrived, waiting for one at least; empty at the end.

        Raises the `ApiError` that ended the generation once its last delta has been returned.
        """
        await self._arrived.wait()
        deltas = self.arrived_deltas()
        if not deltas and self._error is not None:
            raise self._error
        return deltas

    async def whole(self) -> list[Delta]:
        """Return every delta once the last has arrived. Raises the `ApiError` that ended the generation."""
        if self._pump is not None:
            await asyncio.wait({self._pump})
        if self._error is not None:
            raise self._error
        return self.arrived_deltas()

    def arrived_deltas(self) -> list[Delta]:
        """Return the deltas that have arrived meanwhile, perhaps none."""
        deltas, self._pending = self._pending, []
        if not self._drained:
            self._arrived.clear()
        return deltas

    async def close(self) -> None:
        """End the generation; the engine drops it within a step if it is not finished."""
        if self._pump is None:
            return
        pump, self._pump = self._pump, None
        if not pump.done():
            self._engine.abort(self._request_id)
            pump.cancel()
            await asyncio.gather(pump, return_exceptions=True)
        if self._last_delta_at is not None:
            self._meter.add(self._prompt_tokens + sum(self._completion_tokens))
            self._metrics.prompt_tokens.inc(self._prompt_tokens)
            self._metrics.generated_tokens.inc(sum(self._completion_tokens))
        if self._unfinished and self._error is None:
            self._metrics.cancelled.inc()
            self._metrics.cancelled_tokens.inc(sum(self._completion_tokens))
        # Its traceback leads back here, as the task's does, by frames that hold the request's body: no cycle
        # may keep them.
        self._error = None

    async def _drain(self, prompt: str | list[int], params: SamplingParams, scheduling: Scheduling) -> None:
        try:
            deltas = self._engine.generate(
                prompt,
                params,
                request_id=self._request_id,
                priority=scheduling.priority,
                tenant=scheduling.tenant,
                deadline=scheduling.seconds_left(),
            )
            async for delta in deltas:
                if delta.finish_reason == "cancelled":
                    raise ApiError("SERVICE_UNAVAILABLE")
                self._observe(delta)
                self._pending.append(delta)
                self._arrived.set()
                self._begin()
            if self._unfinished:
                raise RuntimeError(f"the engine ended request {self._request_id} without a finish reason")
            self._metrics.inference_seconds.observe(self.elapsed)
        except Exception as error:
            self._error = error_from_engine(error)
            if self._error is None:
                logger.exception("request %s failed", self._request_id)
                self._error = ApiError("INTERNAL_ERROR")
        finally:
            self._drained = True
            self._arrived.set()
            self._begin()

    def _begin(self) -> None:
        if not self._begun.done():
            self._begun.set_result(None)

    def _observe(self, delta: Delta) -> None:
        now = time.perf_counter()
        if self._last_delta_at is None:
            self._metrics.first_token_seconds.observe(now - self._started_at)
        else:
            self._metrics.inter_token_seconds.observe(now - self._last_delta_at)
        self._last_delta_at = now
        self._completion_tokens[delta.index] += len(delta.token_ids)
        if delta.usage is not None:
            # Counts the end token too, which no delta carries.
            self._prompt_tokens = delta.usage.prompt_tokens
            # Told by engines that keep the prompts of earlier requests.
            self._cached_tokens = getattr(delta.usage, "cached_tokens", 0)
            self._metrics.cached_tokens.inc(self._cached_tokens)
            others = getattr(delta.usage, "discarded_tokens", 0)
            self._completion_tokens[delta.index] = delta.usage.completion_tokens + others
        if delta.timings is not None:
            self._metrics.queue_seconds.observe(delta.timings.queue)
        if delta.finish_reason is not None:
            self._unfinished.discard(delta.index)
