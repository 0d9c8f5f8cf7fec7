"""`LLM`: a model for scripts and notebooks."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, cast

import numpy as np
import numpy.typing as npt

from llmcore.completions import Collector, check_output
from llmcore.embeddings import Pooling, scaled_to_unit
from llmcore.engine import (
    LoadedModel,
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
from llmcore.explain import KernelUse, kernel_uses
from llmcore.lora import LoraSources
from llmcore.mail import Mail
from llmcore.model_tokenizer import ModelTokenizer
from llmcore.outputs import Completion, Delta
from llmcore.request_arguments import (
    Prompt,
    adapter_list,
    adapter_name,
    chat_params,
    params_list,
    prompt_list,
    token_list,
)
from llmcore.sampling_params import SamplingParams, given_params


class LLM:
    """A loaded model. Methods block; they may be called from several threads, and their requests share steps.
    They do not work in a fork of the process: load models behind it, or start processes with "spawn".

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
        """Loads a GGUF file; None for the embedded model, and "default" where no file has that name.

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
        self._post: Mail | None = Mail(self._model)

    def __enter__(self) -> LLM:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Ends running requests as "cancelled" and frees the model. May be called again; does nothing in a
        fork of the process that loaded the model."""
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
        add_adapter(self._loaded(), name, path, scale)

    def unload_adapter(self, name: str) -> None:
        """Takes an adapter away; requests that run keep it. Raises InvalidArgumentError if there is none."""
        self._loaded().core.unload_adapter(adapter_name(name))

    def generate(
        self,
        prompts: str | Sequence[Prompt],
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
        mail = self._mail
        encoded = [self._ids(prompt) for prompt in prompt_list(prompts)]
        settings = params_list(params, len(encoded))
        adapters = adapter_list(lora, len(encoded))
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
        self, prompt: Prompt, params: SamplingParams | None = None, *, lora: str | None = None
    ) -> Iterator[Delta]:
        """Continues a prompt and yields what each step adds; closing the iterator cancels the request.

        The request starts at once. Raises as `generate` does; `best_of` cannot be streamed.
        """
        params = given_params(params)
        if params.n_sequences > params.n:
            raise InvalidArgumentError("[llm] best_of cannot be streamed; use generate")
        mail = self._mail
        deltas = mail.deltas(self._submit(mail, self._ids(prompt), params, lora), params)
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
        params = chat_params(params)
        return self.generate([self._chat_ids(messages, tools)], params, lora=lora)[0]

    def stream_chat(
        self,
        messages: Sequence[Mapping[str, Any]],
        params: SamplingParams | None = None,
        tools: Sequence[Mapping[str, Any]] | None = None,
        *,
        lora: str | None = None,
    ) -> Iterator[Delta]:
        """As `chat`, but yields what each step adds to the answer; closing the iterator cancels the request.

        The request starts at once. Raises as `chat` does, when called; `best_of` cannot be streamed.
        """
        params = chat_params(params)
        return self.stream(self._chat_ids(messages, tools), params, lora=lora)

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
        ids = list(token_list(ids))
        values = self._values([ids], "logits", lora)[0]
        return values.reshape(len(ids), self._loaded().info.n_vocab)

    def embed(
        self,
        texts: str | Sequence[Prompt],
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
        encoded = [self._ids(one) for one in prompt_list(texts)]
        if not encoded:
            return np.zeros((0, self._loaded().info.d_model), np.float32)
        vectors = np.stack(self._values(encoded, "embed", lora, pooling))
        return scaled_to_unit(vectors) if normalize else vectors

    def _loaded(self) -> LoadedModel:
        if self._model is None:
            raise LLMCoreError("[llm] the model is closed")
        return self._model

    def _ids(self, prompt: Prompt) -> Sequence[int]:
        return self._loaded().tokenizer.encode(prompt) if isinstance(prompt, str) else token_list(prompt)

    def _chat_ids(
        self, messages: Sequence[Mapping[str, Any]], tools: Sequence[Mapping[str, Any]] | None
    ) -> list[int]:
        model = self._loaded()
        check_process(model.core)
        return model.tokenizer.encode_chat(messages, tools=tools)

    @property
    def _mail(self) -> Mail:
        if self._post is None:
            raise LLMCoreError("[llm] the model is closed")
        check_process(self._loaded().core)
        return self._post

    def _submit(self, mail: Mail, ids: Sequence[int], params: SamplingParams, lora: str | None) -> int:
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
