"""`AsyncEngine`: one model for many requests at once on an asyncio event loop."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncIterator, Sequence
from pathlib import Path

from llmcore import _core
from llmcore.embeddings import Embedding, Pooling, scaled_to_unit
from llmcore.engine import (
    Collector,
    EngineStats,
    ModelInfo,
    check_output,
    current_info,
    delta_of,
    load_model,
    read_stats,
    submit,
    submit_values,
)
from llmcore.errors import InvalidArgumentError, LLMCoreError
from llmcore.lora import LoraSources
from llmcore.model_tokenizer import ModelTokenizer
from llmcore.outputs import Completion, Delta
from llmcore.sampling_params import SamplingParams

# Longer texts, in characters, are encoded on a thread of their own, so that the event loop goes on.
_LONG_TEXT = 2048
# Embeddings of one call that are in the engine at a time.
_EMBEDDED_AT_ONCE = 32


class _Box:
    """What the engine has said of one request and nobody has taken yet; for one task of the event loop."""

    __slots__ = ("_outputs", "_waiter")

    def __init__(self) -> None:
        self._outputs: list[_core.Output] = []
        self._waiter: asyncio.Future[None] | None = None

    def put(self, output: _core.Output) -> None:
        self._outputs.append(output)
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    async def take(self) -> list[_core.Output]:
        """All outputs there are, in order, waiting for one at least."""
        if not self._outputs:
            self._waiter = asyncio.get_running_loop().create_future()
            try:
                await self._waiter
            finally:
                self._waiter = None
        outputs, self._outputs = self._outputs, []
        return outputs


class AsyncEngine:
    """A loaded model. The constructor blocks and may run on any thread; `generate` and `abort` belong to one
    event loop, that of the first `generate`."""

    def __init__(
        self,
        model: str | Path | None = None,
        *,
        device: str = "auto",
        threads: int | None = None,
        n_ctx: int | None = None,
        kv_cache_type: str = "f16",
        max_batch: int | None = None,
        lora: LoraSources = (),
        quantization: str | None = None,
        max_queue: int | None = None,
        kv_budget: int | None = None,
        max_itl_ms: float | None = None,
        prefix_cache: bool = True,
        prompt_lookup: int = 0,
        deterministic: bool = False,
        mmap: bool = False,
        draft_model: str | Path | None = None,
        draft_tokens: int = 4,
        kv_spill_ram: int | None = None,
        kv_cache_dir: str | Path | None = None,
        kv_cache_dir_limit: int | None = None,
        gpu_layers: int | str = "auto",
    ) -> None:
        """As `LLM`. max_queue: sequences that may wait; beyond, `generate` raises QueueFullError. max_itl_ms:
        milliseconds between two tokens of a completion, as far as cutting the prompts beside it can keep to
        that; by default, and where decoding alone takes most of it, prompts stretch the time between tokens
        to less than twice what it is without them. prefix_cache: prompts that begin like an earlier one of
        their tenant's, also one that still runs, start behind what was computed for it.
        kv_budget: bytes the KV cache may take in host memory; None: a quarter of what is available."""
        self._model = load_model(
            model,
            device=device,
            threads=threads,
            n_ctx=n_ctx,
            kv_cache_type=kv_cache_type,
            max_batch=max_batch,
            lora=lora,
            quantization=quantization,
            max_queue=max_queue,
            kv_budget=kv_budget,
            max_itl_ms=max_itl_ms,
            prefix_cache=prefix_cache,
            prompt_lookup=prompt_lookup,
            deterministic=deterministic,
            mmap=mmap,
            draft_model=draft_model,
            draft_tokens=draft_tokens,
            kv_spill_ram=kv_spill_ram,
            kv_cache_dir=kv_cache_dir,
            kv_cache_dir_limit=kv_cache_dir_limit,
            gpu_layers=gpu_layers,
        )
        self._info = current_info(self._model)
        self._ids = itertools.count(1)
        self._boxes: dict[int, _Box] = {}
        self._named: dict[str, int] = {}
        self._loop: asyncio.AbstractEventLoop | None = None
        self._closed = False

    @property
    def tokenizer(self) -> ModelTokenizer:
        return self._model.tokenizer

    @property
    def model_info(self) -> ModelInfo:
        return self._info

    def stats(self) -> EngineStats:
        """Counters for metrics; from any thread."""
        return read_stats(self._model.core)

    def explain(self) -> str:
        """The kernels that what has run so far gets, as a text; from any thread."""
        return self._model.explain()

    def load_adapter(self, name: str, path: str | Path, scale: float = 1.0) -> None:
        """Loads a LoRA adapter that requests may then name. Blocks while the file is read; from any thread,
        beside requests.

        Raises GGUFError or ModelError for a file that is no adapter of this model, InvalidArgumentError for a
        name in use.
        """
        self._model.core.load_adapter(name, Path(path), scale)
        self._info = current_info(self._model)

    def unload_adapter(self, name: str) -> None:
        """Takes an adapter away: no new request may name it, those that run keep it to their end.

        Raises InvalidArgumentError if there is none of that name.
        """
        self._model.core.unload_adapter(name)
        self._info = current_info(self._model)

    async def generate(
        self,
        prompt: str | Sequence[int],
        params: SamplingParams,
        *,
        request_id: str | None = None,
        priority: int = 0,
        tenant: str | None = None,
        lora: str | None = None,
        deadline: float | None = None,
    ) -> AsyncIterator[Delta]:
        """Continues a prompt, a text or token ids, and yields what each step adds.

        Closing the iterator, or cancelling the task that awaits it, ends the request in the engine. With
        `best_of`, the completions come whole, at the end. request_id: a name for `abort`. priority: lower
        ones are admitted first. tenant: whose request it is; equal priorities are served fairly between
        tenants, and none starts from another's cached prefixes. lora: the name of an adapter; None: the model
        as it is. deadline: seconds from now; then it ends with DeadlineExceededError. Raises
        ContextLengthError, QueueFullError, GrammarError or InvalidArgumentError at the first item, and
        whatever went wrong in the engine where it did.
        """
        request = self._new_request(request_id)
        box = _Box()
        done = False
        try:
            ids = await self._encode(prompt) if isinstance(prompt, str) else prompt
            matcher = None
            if params.structured is not None:
                # Large grammars take a while, and the first one builds its view of the vocabulary.
                matcher = await asyncio.to_thread(self._model.guide.compile, params.structured)
            self._attach()
            self._boxes[request] = box
            submit(
                self._model,
                request,
                ids,
                params,
                priority=priority,
                tenant=tenant,
                deadline=deadline,
                matcher=matcher,
                lora=lora,
            )
            collector = Collector(params) if params.n_sequences > params.n else None
            while not done:
                for output in await box.take():
                    done = output.request_done
                    if collector is None:
                        check_output(output)
                        yield delta_of(output, params)
                    else:
                        collector.add(output)
            if collector is not None:
                for completion in collector.completions():
                    yield _whole(completion)
        finally:
            self._boxes.pop(request, None)
            if request_id is not None:
                self._named.pop(request_id, None)
            if not done:
                self._model.core.abort(request)

    async def embed(
        self,
        prompts: Sequence[str | Sequence[int]],
        *,
        normalize: bool = True,
        lora: str | None = None,
        pooling: Pooling | None = None,
    ) -> list[Embedding]:
        """Embeddings of texts or lists of token ids, as `LLM.embed` makes them, in order.

        They share the engine's steps, a few at a time, so that any number fits the queue; cancelling the task
        that awaits them ends them. Raises as `generate`.
        """
        found: list[Embedding] = []
        for start in range(0, len(prompts), _EMBEDDED_AT_ONCE):
            some = prompts[start : start + _EMBEDDED_AT_ONCE]
            found += await self._embed_some(
                [await self._encode(one) if isinstance(one, str) else one for one in some],
                normalize,
                lora,
                pooling,
            )
        return found

    async def _embed_some(
        self, encoded: Sequence[Sequence[int]], normalize: bool, lora: str | None, pooling: Pooling | None
    ) -> list[Embedding]:
        self._attach()
        boxes: dict[int, _Box] = {}
        try:
            for ids in encoded:
                request = next(self._ids)
                boxes[request] = self._boxes[request] = _Box()
                submit_values(self._model, request, ids, "embed", lora=lora, pooling=pooling)
            return [
                await _embedding(boxes[request], len(ids), normalize)
                for request, ids in zip(list(boxes), encoded, strict=True)
            ]
        finally:
            for request in boxes:
                self._boxes.pop(request, None)
                # Of a request that is done the engine knows nothing.
                self._model.core.abort(request)

    def abort(self, request_id: str) -> None:
        """Ends a request between two steps; its iterator yields what is left and finishes as "cancelled".
        Unknown names are passed over."""
        request = self._named.get(request_id)
        if request is not None:
            self._model.core.abort(request)

    def close(self) -> None:
        """Ends every request as "cancelled" and stops the engine's thread. From any thread; may be called
        again."""
        if self._closed:
            return
        self._closed = True
        self._model.core.close()
        if self._loop is not None and not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._detach)

    def _new_request(self, name: str | None) -> int:
        request = next(self._ids)
        if name is not None and self._named.setdefault(name, request) != request:
            raise InvalidArgumentError(f"[engine] request_id in use; got {name!r}; expected a new one")
        return request

    async def _encode(self, text: str) -> list[int]:
        if len(text) < _LONG_TEXT:
            return self.tokenizer.encode(text)
        return await asyncio.to_thread(self.tokenizer.encode, text)

    def _attach(self) -> None:
        if self._closed:
            raise LLMCoreError("[engine] the engine is closed")
        loop = asyncio.get_running_loop()
        if self._loop is loop:
            return
        if self._loop is not None and not self._loop.is_closed():
            raise LLMCoreError("[engine] an AsyncEngine serves one event loop; this is another one")
        self._loop = loop
        loop.add_reader(self._model.core.fd, self._deliver)

    def _detach(self) -> None:
        self._deliver()
        assert self._loop is not None
        self._loop.remove_reader(self._model.core.fd)

    def _deliver(self) -> None:
        for output in self._model.core.drain():
            box = self._boxes.get(output.request)
            if box is not None:
                box.put(output)


def _whole(completion: Completion) -> Delta:
    return Delta(
        index=completion.index,
        text=completion.text,
        token_ids=completion.token_ids,
        logprobs=completion.logprobs,
        finish_reason=completion.finish_reason,
        usage=completion.usage,
        timings=completion.timings,
        prompt_logprobs=completion.prompt_logprobs,
    )


async def _embedding(box: _Box, tokens: int, normalize: bool) -> Embedding:
    (output,) = await box.take()
    check_output(output)
    if output.finish == "cancelled":
        raise LLMCoreError("[engine] the engine was closed")
    values = output.take_values()
    return Embedding(scaled_to_unit(values) if normalize else values, tokens)
