"""Loading a model, and what `LLM` and `AsyncEngine` share over it."""

from __future__ import annotations

import logging
import threading
import weakref
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from llmcore import _core, errors, explain, tuning
from llmcore.embeddings import Pooling
from llmcore.errors import ContextLengthError, InvalidArgumentError, LLMCoreError
from llmcore.grammar_guide import GrammarGuide
from llmcore.lora import LoraInfo, LoraSources, lora_sources, read_adapters
from llmcore.model_tokenizer import ModelTokenizer
from llmcore.outputs import Completion, Delta, Timings, TokenLogprob, Usage
from llmcore.sampling_params import SamplingParams

if TYPE_CHECKING:
    from llguidance import LLMatcher


logger = logging.getLogger(__name__)

# More are seldom right, and each is a row of the step.
_MAX_GUESSES = 32


class ModelInfo(msgspec.Struct, frozen=True):
    """What was loaded, and how."""

    name: str
    path: str
    architecture: str
    quantization: str
    """The format that holds most of the weights' bytes."""
    device: str
    device_note: str
    """Why the device is not the one that `auto` would rather have taken; empty if it is."""
    placement: str
    """Which layers are where, in words."""
    threads: int
    n_ctx: int
    """Tokens of one sequence, prompt and output."""
    n_ctx_train: int
    """The context the model was trained for."""
    n_vocab: int
    d_model: int
    n_layers: int
    gpu_layers: int
    """Of those: on a GPU."""
    parameters: int
    file_bytes: int
    weight_bytes: int
    """Weights in memory, as packed for the kernels."""
    kv_bytes: int
    """The KV cache at most; its pages are touched as tokens arrive."""
    kv_plan: str
    """How the cache was sized, in words."""
    kv_cache_type: str
    """The format of keys and values: F32, F16, BF16, Q8_0 or Q4_0."""
    kv_contexts: float
    """So many sequences of `n_ctx` tokens fit the cache at once."""
    draft_model: str
    """The name of the model that guesses tokens, whose memory counts above; empty without one."""
    system_fingerprint: str
    """A name for weights, kernels, build and settings: answers can be compared where it is equal."""
    adapters: tuple[LoraInfo, ...] = ()
    """LoRA adapters that requests may name, by name."""
    generates: bool = True
    """Whether the model writes text; an encoder makes embeddings alone."""
    pooling: str = "mean"
    """What its embeddings are unless a request says otherwise: mean, cls (the first token's) or last."""


class EngineStats(msgspec.Struct, frozen=True):
    """The engine's state after its last step, and totals since it was loaded."""

    running: int
    """Sequences; a request has `n` of them."""
    waiting: int
    kv_blocks_total: int
    kv_blocks_free: int
    steps: int
    requests: int
    cancelled: int
    """Requests."""
    failed: int
    """Requests."""
    expired: int
    """Requests that missed their deadline; among the failed ones too."""
    preemptions: int
    """Sequences that gave their KV blocks to older ones and waited again."""
    kept_preemptions: int
    """Of those: all that was cached of them was kept, so that they had nothing to compute again."""
    kv_spilled_ram: int
    """KV blocks that left the cache for memory (`kv_spill_ram`)."""
    kv_restored_ram: int
    """KV blocks that came back from there."""
    kv_spilled_disk: int
    """KV blocks written to `kv_cache_dir`."""
    kv_restored_disk: int
    """KV blocks read from there."""
    prompt_tokens: int
    cached_prompt_tokens: int
    """Of those: found in the cache."""
    generated_tokens: int
    guessed_tokens: int
    """Run on a guess of prompt lookup or of a draft model."""
    accepted_tokens: int
    """Of those: right."""
    wasted_tokens: int
    """Run or sampled for requests that were cancelled or missed their deadline."""
    step_seconds: float
    """Time spent in steps."""
    drafted_tokens: int
    """Of the guessed tokens: a draft model's."""
    accepted_draft_tokens: int
    """Of those: right."""
    draft_failures: int
    """Steps whose guesses a draft model failed to make; after three in a row it is no longer asked."""
    draft_seconds: float
    """Of the time spent in steps: in a draft model."""


class LoadedModel(msgspec.Struct, frozen=True, weakref=True):
    """A model with its engine thread running."""

    core: _core.Engine
    tokenizer: ModelTokenizer
    info: ModelInfo
    guide: GrammarGuide
    tuning: str
    """Where measured choices of kernels came from, in words."""
    mmap: bool

    def explain(self) -> str:
        """The kernels that what has run so far gets, as a text."""
        return explain.report(self.core, self.tuning, self.mmap)


def load_model(
    model: str | Path | None,
    *,
    device: str,
    threads: int | None,
    n_ctx: int | None,
    kv_cache_type: str,
    max_batch: int | None,
    lora: LoraSources,
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
) -> LoadedModel:
    """Loads a GGUF model; None for the embedded one. Blocks until it can generate.

    quantization: the type ("q4_0", "Q4_K_M") that wider weights are converted to as they are loaded.
    kv_budget: bytes the KV cache may take in host memory; None: a quarter of what is available.
    The others: see `LLM` and `AsyncEngine`.

    Raises GGUFError, ModelError or InvalidArgumentError.
    """
    for name, value in (
        ("threads", threads),
        ("n_ctx", n_ctx),
        ("max_batch", max_batch),
        ("max_queue", max_queue),
    ):
        if value is not None and not 1 <= value < 1 << 31:
            raise InvalidArgumentError(f"[engine] {name}; got {value}; expected 1 or more, or None")
    sizes = {
        "kv_budget": kv_budget,
        "kv_spill_ram": kv_spill_ram,
        "kv_cache_dir_limit": kv_cache_dir_limit,
    }
    for name, value in sizes.items():
        if value is not None and not 1 <= value < 1 << 62:
            raise InvalidArgumentError(f"[engine] {name}; got {value}; expected bytes, 1 or more, or None")
    if kv_cache_dir_limit is not None and kv_cache_dir is None:
        raise InvalidArgumentError("[engine] kv_cache_dir_limit; got no kv_cache_dir; expected both")
    if max_itl_ms is not None and not 1 <= max_itl_ms <= 1e6:
        raise InvalidArgumentError(f"[engine] max_itl_ms; got {max_itl_ms}; expected 1 to 1000000, or None")
    if not 0 <= prompt_lookup <= _MAX_GUESSES:
        raise InvalidArgumentError(
            f"[engine] prompt_lookup; got {prompt_lookup}; expected 0 to {_MAX_GUESSES}"
        )
    if not 1 <= draft_tokens <= _MAX_GUESSES:
        raise InvalidArgumentError(f"[engine] draft_tokens; got {draft_tokens}; expected 1 to {_MAX_GUESSES}")
    path = _embedded_model() if model is None else Path(model)
    chosen = {"threads": threads, "n_ctx": n_ctx, "max_batch": max_batch, "max_queue": max_queue}
    given: dict[str, Any] = {name: value for name, value in chosen.items() if value is not None}
    if max_itl_ms is not None:
        given["max_itl_seconds"] = max_itl_ms / 1000
    guide = GrammarGuide()
    given |= {name: value for name, value in sizes.items() if value is not None}
    if kv_cache_dir is not None:
        given["kv_cache_dir"] = Path(kv_cache_dir).expanduser().absolute()
    tuned = tuning.load()
    given |= {
        "device": device,
        "gpu_layers": str(gpu_layers),
        "kv_cache_type": kv_cache_type,
        "tensor_formats": _tensor_formats(path, quantization),
        "guide": guide,
        "prefix_cache": prefix_cache,
        "prompt_lookup": prompt_lookup,
        "deterministic": deterministic,
        "mmap": mmap,
        "tuned": list(tuned.choices),
        "lora": [(one.name, Path(one.path), one.scale) for one in lora_sources(lora)],
        "draft_model": None if draft_model is None else Path(draft_model),
        "draft_tokens": draft_tokens,
    }
    core, tokenizer = _load_both(path, given)
    guide.attach(tokenizer.tokenizer, core.info.n_vocab)
    loaded = LoadedModel(core, tokenizer, _model_info(core.info, path), guide, tuned.description, mmap)
    logger.info("%s", core.info.placement)
    _tell_once(core)
    # The engine's threads must have ended before the interpreter does.
    weakref.finalize(loaded, _end, core, guide)
    return loaded


def _load_both(path: Path, options: dict[str, Any]) -> tuple[_core.Engine, ModelTokenizer]:
    """The weights and, on another thread meanwhile, the tokenizer; its errors come first."""
    with ThreadPoolExecutor(1) as beside:
        reading = beside.submit(ModelTokenizer.from_gguf, path)
        try:
            core = _core.Engine(path, **options)
        except BaseException:
            reading.result()
            raise
        try:
            return core, reading.result()
        except BaseException:
            core.close()
            raise


def _end(core: _core.Engine, guide: GrammarGuide) -> None:
    if guide.is_called_here:
        # The engine waits for this very call.
        threading.Thread(target=core.close).start()
    else:
        core.close()
        _tell_once(core)


def _tensor_formats(path: Path, quantization: str | None) -> dict[str, str]:
    if quantization is None:
        return {}
    from llmcore.tools.quantize_plan import tensor_formats  # noqa: PLC0415 - loading a file as it is needs none of it

    return tensor_formats(path, quantization)


def _model_info(info: _core.ModelInfo, path: Path) -> ModelInfo:
    own = ("path", "adapters")
    told = {name: getattr(info, name) for name in ModelInfo.__struct_fields__ if name not in own}
    return ModelInfo(path=str(path), **told)


def current_info(model: LoadedModel) -> ModelInfo:
    """What was loaded, with the adapters there are now."""
    return msgspec.structs.replace(model.info, adapters=read_adapters(model.core))


def _embedded_model() -> Path:
    from llmcore import default_model  # noqa: PLC0415 - only where no model is named

    return default_model.path()


def _tell_once(core: _core.Engine) -> None:
    """Logs what went wrong below the KV cache since this was last asked."""
    if warning := core.new_warning():
        logger.warning("%s", warning)


def read_stats(core: _core.Engine) -> EngineStats:
    """A snapshot of the engine's counters."""
    _tell_once(core)
    stats = core.stats()
    return EngineStats(**{name: getattr(stats, name) for name in EngineStats.__struct_fields__})


def submit(
    model: LoadedModel,
    request: int,
    prompt: Sequence[int],
    params: SamplingParams,
    *,
    priority: int = 0,
    tenant: str | None = None,
    deadline: float | None = None,
    matcher: LLMatcher | None = None,
    lora: str | None = None,
) -> None:
    """Hands a request to the engine's thread. matcher: of `params.structured`, where it is compiled already.
    lora: the name of one of the model's adapters; None: the model as it is.

    Raises ContextLengthError, QueueFullError, GrammarError or InvalidArgumentError; then nothing was
    submitted.
    """
    _check_length(model, prompt)
    scheduling = {"priority": priority, "tenant": tenant or "", "deadline": deadline}
    if params.structured is not None:
        matcher = matcher or model.guide.compile(params.structured)
        model.guide.open(request, matcher, params.n_sequences)
    try:
        _submit_to_core(model, request, prompt, params, lora=_adapter_name(lora), **scheduling)
    except BaseException:
        model.guide.close(request, params.n_sequences)
        raise


def _submit_to_core(
    model: LoadedModel, request: int, prompt: Sequence[int], params: SamplingParams, **scheduling: Any
) -> None:
    model.core.submit(
        request,
        list(prompt),
        max_tokens=params.max_tokens if params.max_tokens is not None else model.info.n_ctx,
        n=params.n_sequences,
        temperature=params.temperature,
        top_k=params.top_k,
        top_p=params.top_p,
        min_p=params.min_p,
        seed=None if params.seed is None else params.seed & ((1 << 64) - 1),
        repetition_penalty=params.repetition_penalty,
        frequency_penalty=params.frequency_penalty,
        presence_penalty=params.presence_penalty,
        logit_bias=list((params.logit_bias or {}).items()),
        min_tokens=params.min_tokens,
        ignore_eos=params.ignore_eos,
        logprobs=params.logprobs,
        prompt_logprobs=params.prompt_logprobs,
        stop=list(params.stop),
        stop_token_ids=list(params.stop_token_ids),
        score=params.n_sequences > params.n,
        guided=params.structured is not None,
        filters=params.filters,
        **scheduling,
    )


def submit_values(
    model: LoadedModel,
    request: int,
    prompt: Sequence[int],
    kind: str,
    *,
    lora: str | None = None,
    pooling: Pooling | None = None,
) -> None:
    """Hands a request for an embedding ("embed") or for logits to the engine's thread; raises as `submit`."""
    if kind == "embed":
        _check_length(model, prompt, spare=0)
    model.core.submit(request, list(prompt), kind=kind, lora=_adapter_name(lora), pooling=pooling)


def _adapter_name(lora: str | None) -> str:
    if lora == "":
        raise InvalidArgumentError("[lora] no such adapter; got ''; expected a name, or None")
    return lora or ""


def _check_length(model: LoadedModel, prompt: Sequence[int], spare: int = 1) -> None:
    if len(prompt) > model.info.n_ctx:
        # Converting millions of ids for the core to refuse would hold up every other request.
        raise ContextLengthError(
            f"[engine] the prompt does not fit the context; got {len(prompt)} tokens; expected at most "
            f"{model.info.n_ctx - spare}"
        )


def check_output(output: _core.Output) -> None:
    """Raises the error that ended a request, if one did."""
    if output.finish == "error":
        kind: type[LLMCoreError] = getattr(errors, output.error_name)
        raise kind(output.error_message)


def delta_of(output: _core.Output, params: SamplingParams) -> Delta:
    """An engine's output as people see it."""
    finish = output.finish
    prompt_logprobs = output.prompt_logprobs
    return Delta(
        index=output.index,
        text=output.text,
        token_ids=tuple(output.tokens),
        logprobs=None if params.logprobs is None else _logprobs(output.logprobs),
        finish_reason=finish,
        usage=None if finish is None else _usage(output),
        timings=None
        if finish is None
        else Timings(output.queue_seconds, output.first_token_seconds, output.total_seconds),
        prompt_logprobs=None if prompt_logprobs is None else (None, *_logprobs(prompt_logprobs)),
    )


def _usage(output: _core.Output) -> Usage:
    return Usage(output.prompt_tokens, output.completion_tokens, output.cached_tokens)


def _logprobs(entries: list[tuple[int, float, list[tuple[int, float]]]]) -> tuple[TokenLogprob, ...]:
    return tuple(TokenLogprob(token, logprob, tuple(top)) for token, logprob, top in entries)


class Collector:
    """Joins the outputs of one request into its completions."""

    def __init__(self, params: SamplingParams) -> None:
        self._params = params
        self._deltas: list[list[Delta]] = [[] for _ in range(params.n_sequences)]
        self._scores = [0.0] * params.n_sequences

    def add(self, output: _core.Output) -> None:
        """Raises the error that ended the request, if one did."""
        check_output(output)
        self._deltas[output.index].append(delta_of(output, self._params))
        if output.logprob_sum is not None:
            self._scores[output.index] = output.logprob_sum / max(1, output.completion_tokens)

    def completions(self) -> list[Completion]:
        """The request's `n` completions, in order of index; the best `n`, best first, of `best_of`."""
        order = list(range(len(self._deltas)))
        if len(order) > self._params.n:
            order.sort(key=lambda index: -self._scores[index])
        chosen = [_join(self._deltas[place], index) for index, place in enumerate(order[: self._params.n])]
        others = [self._deltas[place][-1].usage for place in order[self._params.n :]]
        if discarded := sum(usage.completion_tokens for usage in others if usage is not None):
            usage = msgspec.structs.replace(chosen[0].usage, discarded_tokens=discarded)
            chosen[0] = msgspec.structs.replace(chosen[0], usage=usage)
        return chosen


def _join(deltas: list[Delta], index: int) -> Completion:
    last = deltas[-1]
    assert last.finish_reason is not None
    assert last.usage is not None
    logprobs = None
    if last.logprobs is not None:
        logprobs = tuple(entry for delta in deltas for entry in delta.logprobs or ())
    return Completion(
        text="".join(delta.text for delta in deltas),
        token_ids=tuple(token for delta in deltas for token in delta.token_ids),
        finish_reason=last.finish_reason,
        usage=last.usage,
        logprobs=logprobs,
        index=index,
        timings=last.timings,
        prompt_logprobs=next((d.prompt_logprobs for d in deltas if d.prompt_logprobs is not None), None),
    )
