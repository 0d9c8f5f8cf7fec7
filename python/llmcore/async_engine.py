"""`AsyncEngine`: one model for many requests at once on an asyncio event loop."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncGenerator, AsyncIterator, Mapping, Sequence
from contextlib import aclosing
from pathlib import Path
from types import TracebackType
from typing import Any, cast

from llmcore.async_box import AsyncBox
from llmcore.completions import Collector, check_output, delta_of, join_deltas, whole_delta
from llmcore.embeddings import Embedding, Pooling, scaled_to_unit
from llmcore.engine import (
    add_adapter,
    check_process,
    current_info,
    load_model,
    read_stats,
    submit,
    submit_values,
)
from llmcore.engine_info import EngineStats, ModelInfo
from llmcore.errors import InvalidArgumentError, LLMCoreError
from llmcore.lora import LoraSources
from llmcore.model_tokenizer import ModelTokenizer
from llmcore.outputs import Completion, Delta
from llmcore.request_arguments import Prompt, adapter_name, chat_params, prompt_list, token_list
from llmcore.sampling_params import SamplingParams, given_params

# Longer texts, in characters, are encoded on a thread of their own, so that the event loop goes on.
_LONG_TEXT = 2048
# Embeddings of one call that are in the engine at a time.
_EMBEDDED_AT_ONCE = 32


class AsyncEngine:
    """A loaded model. The constructor blocks and may run on any thread; `generate` and `abort` belong to one
    event loop, that of the first `generate`. Nothing but `close` works in a fork of the process.

    >>> async with AsyncEngine("model.gguf") as engine:
    ...     async for delta in engine.generate("Once upon a time"):
    ...         print(delta.text, end="")
    """

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
        that. By default, and where decoding alone takes most of it, prompts stretch the time between tokens
        to less than twice what it is without them; by default to three times while a short one is read, and
        in proportion while more wait for their first token than decode. prefix_cache: prompts that begin
        like an earlier one of their tenant's, also one that still runs, start behind what was computed for
        it. kv_budget: bytes the KV cache may take in host memory; None: a quarter of what is available."""
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
        self._boxes: dict[int, AsyncBox] = {}
        self._named: dict[str, int] = {}
        self._loop: asyncio.AbstractEventLoop | None = None
        self._closed = False

    def __enter__(self) -> AsyncEngine:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    async def __aenter__(self) -> AsyncEngine:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        # It waits for the step that runs, which would hold up the loop's other tasks.
        await asyncio.to_thread(self.close)

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
        add_adapter(self._model, name, path, scale)
        self._info = current_info(self._model)

    def unload_adapter(self, name: str) -> None:
        """Takes an adapter away: no new request may name it, those that run keep it to their end.

        Raises InvalidArgumentError if there is none of that name.
        """
        self._model.core.unload_adapter(adapter_name(name))
        self._info = current_info(self._model)

    async def generate(
        self,
        prompt: Prompt,
        params: SamplingParams | None = None,
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
        params = given_params(params)
        check_process(self._model.core)
        request = self._new_request(request_id)
        box = AsyncBox()
        done = False
        try:
            ids = await self._encode(prompt)
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
                    yield whole_delta(completion)
        finally:
            self._boxes.pop(request, None)
            if request_id is not None:
                self._named.pop(request_id, None)
            if not done:
                self._model.core.abort(request)

    async def chat(
        self,
        messages: Sequence[Mapping[str, Any]],
        params: SamplingParams | None = None,
        tools: Sequence[Mapping[str, Any]] | None = None,
        *,
        request_id: str | None = None,
        priority: int = 0,
        tenant: str | None = None,
        lora: str | None = None,
        deadline: float | None = None,
    ) -> Completion:
        """The model's answer to a conversation, as `LLM.chat`; the options are those of `generate`.

        Raises as `LLM.chat` and `generate` do.
        """
        deltas = self.stream_chat(
            messages,
            params,
            tools,
            request_id=request_id,
            priority=priority,
            tenant=tenant,
            lora=lora,
            deadline=deadline,
        )
        return join_deltas([delta async for delta in deltas], 0)

    async def stream_chat(
        self,
        messages: Sequence[Mapping[str, Any]],
        params: SamplingParams | None = None,
        tools: Sequence[Mapping[str, Any]] | None = None,
        *,
        request_id: str | None = None,
        priority: int = 0,
        tenant: str | None = None,
        lora: str | None = None,
        deadline: float | None = None,
    ) -> AsyncIterator[Delta]:
        """As `chat`, but yields what each step adds to the answer, as `generate` does for a prompt.

        Raises as `chat` does, at the first item.
        """
        params = chat_params(params)
        check_process(self._model.core)
        # Templates are the models' own, and may take their time.
        ids = await asyncio.to_thread(self.tokenizer.encode_chat, messages, tools=tools)
        deltas = self.generate(
            ids,
            params,
            request_id=request_id,
            priority=priority,
            tenant=tenant,
            lora=lora,
            deadline=deadline,
        )
        async with aclosing(cast("AsyncGenerator[Delta, None]", deltas)):
            async for delta in deltas:
                yield delta

    async def embed(
        self,
        prompts: str | Sequence[Prompt],
        *,
        normalize: bool = True,
        lora: str | None = None,
        pooling: Pooling | None = None,
    ) -> list[Embedding]:
        """Embeddings of texts or lists of token ids, as `LLM.embed` makes them, in order; of one text, one.

        They share the engine's steps, a few at a time, so that any number fits the queue; cancelling the task
        that awaits them ends them. Raises as `generate`.
        """
        check_process(self._model.core)
        found: list[Embedding] = []
        listed = prompt_list(prompts)
        for start in range(0, len(listed), _EMBEDDED_AT_ONCE):
            some = listed[start : start + _EMBEDDED_AT_ONCE]
            found += await self._embed_some(
                [await self._encode(one) for one in some],
                normalize,
                lora,
                pooling,
            )
        return found

    async def _embed_some(
        self, encoded: Sequence[Sequence[int]], normalize: bool, lora: str | None, pooling: Pooling | None
    ) -> list[Embedding]:
        self._attach()
        boxes: dict[int, AsyncBox] = {}
        try:
            for ids in encoded:
                request = next(self._ids)
                boxes[request] = self._boxes[request] = AsyncBox()
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
        again; does nothing in a fork of the process that loaded the model."""
        # A fork shares the loop's file descriptors with the process that still needs them.
        if self._closed or self._model.core.forked:
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

    async def _encode(self, prompt: Prompt) -> Sequence[int]:
        if not isinstance(prompt, str):
            return token_list(prompt)
        if len(prompt) < _LONG_TEXT:
            return self.tokenizer.encode(prompt)
        return await asyncio.to_thread(self.tokenizer.encode, prompt)

    def _attach(self) -> None:
        if self._closed:
            raise LLMCoreError("[engine] the engine is closed")
        check_process(self._model.core)
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


async def _embedding(box: AsyncBox, tokens: int, normalize: bool) -> Embedding:
    (output,) = await box.take()
    check_output(output)
    if output.finish == "cancelled":
        raise LLMCoreError("[engine] the engine was closed")
    values = output.take_values()
    return Embedding(scaled_to_unit(values) if normalize else values, tokens)
