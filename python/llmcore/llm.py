"""`LLM`: a model for scripts and notebooks."""

from __future__ import annotations

import itertools
import threading
from collections import deque
from collections.abc import Generator, Iterator, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, cast

import numpy as np
import numpy.typing as npt

from llmcore import _core
from llmcore.embeddings import Pooling, scaled_to_unit
from llmcore.engine import (
    Collector,
    EngineStats,
    LoadedModel,
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
from llmcore.explain import KernelUse, kernel_uses
from llmcore.lora import LoraSources
from llmcore.model_tokenizer import ModelTokenizer
from llmcore.outputs import Completion, Delta
from llmcore.sampling_params import SamplingParams

# So long a wait for outputs may keep Ctrl-C from being noticed, in seconds.
_WAIT = 0.1


class LLM:
    """A loaded model. Methods block; they may be called from several threads, and their requests share steps.

    >>> with LLM("model.gguf") as llm:
    ...     print(llm.generate("Once upon a time", SamplingParams(max_tokens=32))[0].text)
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
        """Loads a GGUF file; None for the embedded model.

        device: "auto", "cpu", "cuda". threads: None for one a processor. n_ctx: tokens of one sequence; None
        for the model's own context as far as memory allows. kv_cache_type: "f16", "f32", "bf16", "q8_0" or
        "q4_0": smaller ones hold more tokens and round more, q4_0 so much that answers may suffer; q8_0 and
        q4_0 need head sizes that are multiples of 32, and a GPU has neither bf16 nor q4_0. max_batch:
        sequences that run at once. lora: adapters that requests may name, as {name: path} or {name: (path,
        scale)}, or a list of "[NAME=]PATH[:SCALE]".
        quantization: a type such as "q4_0" or "Q4_K_M" that wider weights become as they are loaded; None
        leaves them as the file has them. prefix_cache: prompts that begin like an earlier one start behind
        what was computed for it. prompt_lookup: tokens to guess in each step from what came before, 0 for
        none; what is sampled does not depend on it. deterministic: a request gets the same bits whatever runs
        beside it, however its prompt is cut and whatever is cached, at the price of slower prompts and
        batches (mixtures of experts: much slower); without it, all these change logits by rounding.
        draft_model: a small GGUF file with the same vocabulary that guesses up to draft_tokens tokens a step,
        fewer where measured times say that it does not pay; its memory counts into that of the model, and
        what is sampled does not depend on it. mmap: matrices stay in the file's pages, which processes share,
        instead of being copied to huge pages of this process: less memory and a faster start, slower steps;
        the file must not change meanwhile (shortened, it ends requests with an error, or the process with
        SIGBUS if that happens in the middle of a step).
        kv_spill_ram: bytes of memory for KV blocks that leave the cache, to be restored instead of computed
        again; None for none. kv_cache_dir: a folder of such blocks, and of what is cached when the model is
        closed, for later processes; it holds what prompts were made of in a form that its owner alone may
        read. kv_cache_dir_limit: bytes of its files, 8 GiB if None.
        gpu_layers: how many of the model's layers a GPU gets, the last ones with the output matrix, while the
        CPU runs the others: "auto" for as many as fit its free memory with their part of the KV cache, "all",
        or a number, 0 for the CPU alone.
        Raises GGUFError, ModelError or InvalidArgumentError.
        """
        self._model: LoadedModel | None = load_model(
            model,
            device=device,
            threads=threads,
            n_ctx=n_ctx,
            kv_cache_type=kv_cache_type,
            max_batch=max_batch,
            lora=lora,
            quantization=quantization,
            # The caller waits for its own requests: nothing is gained by refusing them.
            max_queue=(1 << 31) - 1,
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
        self._post: _Mail | None = _Mail(self._model)

    def __enter__(self) -> LLM:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Ends running requests as "cancelled" and frees the model. May be called again."""
        model, self._model, self._post = self._model, None, None
        if model is not None:
            model.core.close()

    @property
    def tokenizer(self) -> ModelTokenizer:
        return self._loaded().tokenizer

    @property
    def model_info(self) -> ModelInfo:
        return current_info(self._loaded())

    def stats(self) -> EngineStats:
        return read_stats(self._loaded().core)

    def kernel_uses(self) -> list[KernelUse]:
        """The kernels that what has run so far gets, for every number of rows; empty on a GPU."""
        return kernel_uses(self._loaded().core)

    def explain(self) -> str:
        """`kernel_uses` as a table, with threads, huge pages and the cache's type."""
        return self._loaded().explain()

    def load_adapter(self, name: str, path: str | Path, scale: float = 1.0) -> None:
        """Loads a LoRA adapter that requests may then name; as `AsyncEngine.load_adapter`."""
        self._loaded().core.load_adapter(name, Path(path), scale)

    def unload_adapter(self, name: str) -> None:
        """Takes an adapter away; requests that run keep it. Raises InvalidArgumentError if there is none."""
        self._loaded().core.unload_adapter(name)

    def generate(
        self,
        prompts: str | Sequence[str] | Sequence[Sequence[int]],
        params: SamplingParams | Sequence[SamplingParams] | None = None,
        *,
        lora: str | Sequence[str | None] | None = None,
    ) -> list[Completion]:
        """Continues one or more prompts, texts or lists of token ids, as they are: no chat template.

        One `params` for all prompts or one each; likewise `lora`, the name of an adapter, None for the model
        as it is. Returns `n` completions a prompt, those of the first prompt
        first. Raises ContextLengthError for a prompt that does not fit, InvalidArgumentError for an
        impossible request.
        """
        encoded = [self._ids(prompt) for prompt in _prompt_list(prompts)]
        settings = _params_list(params, len(encoded))
        adapters = _adapter_list(lora, len(encoded))
        mail = self._mail
        requests: list[int] = []
        try:
            for ids, one, adapter in zip(encoded, settings, adapters, strict=True):
                requests.append(self._submit(mail, ids, one, adapter))
            completions: list[Completion] = []
            for request, one in zip(requests, settings, strict=True):
                collector = Collector(one)
                for output in mail.read(request):
                    collector.add(output)
                completions.extend(collector.completions())
            return completions
        finally:
            for request in requests:
                mail.drop(request)

    def stream(
        self, prompt: str | Sequence[int], params: SamplingParams | None = None, *, lora: str | None = None
    ) -> Iterator[Delta]:
        """Continues a prompt and yields what each step adds; closing the iterator cancels the request.

        The request starts at once. Raises as `generate` does; `best_of` cannot be streamed.
        """
        params = params or SamplingParams()
        if params.n_sequences > params.n:
            raise InvalidArgumentError("[llm] best_of cannot be streamed; use generate")
        mail = self._mail
        deltas = _deltas(mail, self._submit(mail, self._ids(prompt), params, lora), params)
        # Only a generator that has begun ends its request when it is closed.
        next(deltas)
        return cast("Iterator[Delta]", deltas)

    def chat(
        self,
        messages: Sequence[Mapping[str, Any]],
        params: SamplingParams | None = None,
        tools: Sequence[Mapping[str, Any]] | None = None,
        *,
        lora: str | None = None,
    ) -> Completion:
        """The model's answer to a conversation, a list of {"role": …, "content": …}, in its own chat format.

        Raises InvalidArgumentError if the model has no chat template, the template refuses the messages or
        `params.n` is not 1; otherwise as `generate`.
        """
        params = params or SamplingParams()
        if params.n != 1:
            raise InvalidArgumentError(f"[llm] n of a chat; got {params.n}; expected 1")
        ids = self._loaded().tokenizer.encode_chat(messages, tools=tools)
        return self.generate([ids], params, lora=lora)[0]

    def tokenize(self, text: str, add_special: bool = True, parse_special: bool = False) -> list[int]:
        """Token ids of a text; see `Tokenizer.encode`."""
        return self._loaded().tokenizer.encode(text, add_special, parse_special)

    def detokenize(self, ids: Sequence[int]) -> str:
        """The text of token ids, control tokens left out."""
        return self._loaded().tokenizer.decode(ids)

    def logits(self, ids: Sequence[int], *, lora: str | None = None) -> npt.NDArray[np.float32]:
        """Logits after each token: float32 (n_tokens, n_vocab). At most `model_info.n_ctx` tokens.

        Raises ContextLengthError or InvalidArgumentError.
        """
        values = self._values([list(ids)], "logits", lora)[0]
        return values.reshape(len(ids), self._loaded().info.n_vocab)

    def embed(
        self,
        texts: str | Sequence[str] | Sequence[Sequence[int]],
        *,
        normalize: bool = True,
        lora: str | None = None,
        pooling: Pooling | None = None,
    ) -> npt.NDArray[np.float32]:
        """Embeddings of texts, or of lists of token ids as they are: float32 (n_texts, d_model).

        Each is made of the final hidden states of the text's tokens, after the last norm: their mean, the
        first one's ("cls") or the last one's, as `pooling` says, or for None the model's file; scaled to
        length 1 unless `normalize` is False. Raises ContextLengthError or InvalidArgumentError.
        """
        encoded = [self._ids(one) for one in _prompt_list(texts)]
        if not encoded:
            return np.zeros((0, self._loaded().info.d_model), np.float32)
        vectors = np.stack(self._values(encoded, "embed", lora, pooling))
        return scaled_to_unit(vectors) if normalize else vectors

    def _loaded(self) -> LoadedModel:
        if self._model is None:
            raise LLMCoreError("[llm] the model is closed")
        return self._model

    def _ids(self, prompt: str | Sequence[int]) -> Sequence[int]:
        return self._loaded().tokenizer.encode(prompt) if isinstance(prompt, str) else prompt

    @property
    def _mail(self) -> _Mail:
        if self._post is None:
            raise LLMCoreError("[llm] the model is closed")
        return self._post

    def _submit(self, mail: _Mail, ids: Sequence[int], params: SamplingParams, lora: str | None) -> int:
        request = mail.open()
        try:
            submit(self._loaded(), request, ids, params, lora=lora)
        except BaseException:
            mail.drop(request)
            raise
        return request

    def _values(
        self,
        prompts: Sequence[Sequence[int]],
        kind: str,
        lora: str | None,
        pooling: Pooling | None = None,
    ) -> list[npt.NDArray[np.float32]]:
        model, mail = self._loaded(), self._mail
        requests: list[int] = []
        try:
            for prompt in prompts:
                requests.append(mail.open())
                submit_values(model, requests[-1], prompt, kind, lora=lora, pooling=pooling)
            values = []
            for request in requests:
                for output in mail.read(request):
                    check_output(output)
                    if output.finish == "cancelled":
                        raise LLMCoreError("[llm] the model was closed")
                    values.append(output.take_values())
            return values
        finally:
            for request in requests:
                mail.drop(request)


class _Mail:
    """Sorts the engine's outputs by request. Whichever thread waits sorts for all."""

    def __init__(self, model: LoadedModel) -> None:
        # All of it: the engine lives while a stream is read, whatever becomes of the LLM.
        self._model = model
        self._ids = itertools.count(1)
        self._boxes: dict[int, deque[_core.Output]] = {}
        self._sorting = threading.Lock()

    def open(self) -> int:
        """A new request's id and box."""
        request = next(self._ids)
        self._boxes[request] = deque()
        return request

    def drop(self, request: int) -> None:
        """No more of this request is wanted: ends it if it still runs."""
        if self._boxes.pop(request, None) is not None:
            self._model.core.abort(request)

    def read(self, request: int) -> Iterator[_core.Output]:
        """The request's outputs as they arrive, to its last."""
        box = self._boxes[request]
        while True:
            while not box:
                with self._sorting:
                    if not box:
                        self._sort()
            output = box.popleft()
            if output.request_done:
                del self._boxes[request]
            yield output
            if output.request_done:
                return

    def _sort(self) -> None:
        for output in self._model.core.wait(_WAIT):
            box = self._boxes.get(output.request)
            if box is not None:
                box.append(output)


def _deltas(mail: _Mail, request: int, params: SamplingParams) -> Generator[Delta | None, None, None]:
    try:
        yield None
        for output in mail.read(request):
            check_output(output)
            yield delta_of(output, params)
    finally:
        mail.drop(request)


def _prompt_list(prompts: str | Sequence[str] | Sequence[Sequence[int]]) -> list[str | Sequence[int]]:
    if isinstance(prompts, str):
        return [prompts]
    listed = list(prompts)
    if any(isinstance(prompt, int | np.integer) for prompt in listed):
        raise InvalidArgumentError("[llm] prompts; got a list of token ids; expected a list of such lists")
    return cast("list[str | Sequence[int]]", listed)


def _params_list(
    params: SamplingParams | Sequence[SamplingParams] | None, count: int
) -> list[SamplingParams]:
    if params is None or isinstance(params, SamplingParams):
        return [params or SamplingParams()] * count
    if len(params) != count:
        raise InvalidArgumentError(
            f"[llm] params; got {len(params)}; expected one, or one for each of {count} prompts"
        )
    return list(params)


def _adapter_list(lora: str | Sequence[str | None] | None, count: int) -> list[str | None]:
    if lora is None or isinstance(lora, str):
        return [lora] * count
    if len(lora) != count:
        raise InvalidArgumentError(
            f"[llm] lora; got {len(lora)}; expected one, or one for each of {count} prompts"
        )
    return list(lora)
