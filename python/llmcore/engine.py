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

from llmcore import _core, explain, tuning
from llmcore.embeddings import Pooling
from llmcore.engine_info import EngineStats, ModelInfo
from llmcore.engine_options import check_options, file_path, model_path
from llmcore.errors import ContextLengthError, InvalidArgumentError
from llmcore.grammar_guide import GrammarGuide
from llmcore.lora import LoraSource, LoraSources, check_source, lora_sources, read_adapters
from llmcore.model_tokenizer import ModelTokenizer
from llmcore.request_arguments import adapter_name, refused_types
from llmcore.sampling_params import SamplingParams

if TYPE_CHECKING:
    from llguidance import LLMatcher


logger = logging.getLogger(__name__)


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
    sizes = {
        "kv_budget": kv_budget,
        "kv_spill_ram": kv_spill_ram,
        "kv_cache_dir_limit": kv_cache_dir_limit,
    }
    chosen = {"threads": threads, "n_ctx": n_ctx, "max_batch": max_batch, "max_queue": max_queue}
    check_options(
        **chosen,
        **sizes,
        device=device,
        gpu_layers=gpu_layers,
        kv_cache_type=kv_cache_type,
        quantization=quantization,
        max_itl_ms=max_itl_ms,
        prefix_cache=prefix_cache,
        prompt_lookup=prompt_lookup,
        deterministic=deterministic,
        mmap=mmap,
        draft_tokens=draft_tokens,
    )
    if kv_cache_dir_limit is not None and kv_cache_dir is None:
        raise InvalidArgumentError("[engine] kv_cache_dir_limit; got no kv_cache_dir; expected both")
    path = model_path(model)
    given: dict[str, Any] = {name: value for name, value in chosen.items() if value is not None}
    if max_itl_ms is not None:
        given["max_itl_seconds"] = max_itl_ms / 1000
    guide = GrammarGuide()
    given |= {name: value for name, value in sizes.items() if value is not None}
    if kv_cache_dir is not None:
        given["kv_cache_dir"] = file_path("kv_cache_dir", kv_cache_dir).expanduser().absolute()
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
        "draft_model": None if draft_model is None else file_path("draft_model", draft_model),
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


def check_process(core: _core.Engine) -> None:
    """Raises InvalidArgumentError in a fork of the process that loaded the model: it lacks its threads."""
    if core.forked:
        raise InvalidArgumentError(
            "[engine] the model was loaded in another process; load it after fork, or use spawn"
        )


def _end(core: _core.Engine, guide: GrammarGuide) -> None:
    if core.forked:
        return
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


def add_adapter(model: LoadedModel, name: str, path: str | Path, scale: float) -> None:
    """Loads a LoRA adapter beside requests. Raises GGUFError, ModelError or InvalidArgumentError."""
    check_source(LoraSource(name, path, scale))
    model.core.load_adapter(name, Path(path), scale)


def current_info(model: LoadedModel) -> ModelInfo:
    """What was loaded, with the adapters there are now."""
    return msgspec.structs.replace(model.info, adapters=read_adapters(model.core))


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
    check_process(model.core)
    _check_length(model, prompt)
    tenant = "" if tenant is None else tenant
    scheduling = {"priority": priority, "tenant": tenant, "deadline": deadline, "lora": adapter_name(lora)}
    if params.structured is not None:
        matcher = matcher or model.guide.compile(params.structured)
        model.guide.open(request, matcher, params.n_sequences)
    try:
        _submit_to_core(model, request, prompt, params, **scheduling)
    except TypeError as error:
        model.guide.close(request, params.n_sequences)
        raise refused_types(prompt, scheduling) from error
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
    check_process(model.core)
    if kind == "embed":
        _check_length(model, prompt, spare=0)
    rest: dict[str, Any] = {"lora": adapter_name(lora), "pooling": pooling}
    try:
        model.core.submit(request, list(prompt), kind=kind, **rest)
    except TypeError as error:
        raise refused_types(prompt, rest) from error


def _check_length(model: LoadedModel, prompt: Sequence[int], spare: int = 1) -> None:
    if len(prompt) > model.info.n_ctx:
        # Converting millions of ids for the core to refuse would hold up every other request.
        raise ContextLengthError(
            f"[engine] the prompt does not fit the context; got {len(prompt)} tokens; expected at most "
            f"{model.info.n_ctx - spare}"
        )
