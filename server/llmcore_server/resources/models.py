"""The models: lists in the specification's shape and in OpenAI's, one model, loading and unloading."""

from __future__ import annotations

import asyncio

import falcon.asgi
import msgspec

from llmcore_server.answers import (
    AdapterSummary,
    LoadAnswer,
    MemoryPlan,
    ModelDetail,
    ModelList,
    ModelSummary,
)
from llmcore_server.config import ServerConfig
from llmcore_server.errors import Language, Text, preferred_language
from llmcore_server.load_planning import LoadOptions, LoadPlan
from llmcore_server.process_memory import readable_size
from llmcore_server.registry import EngineRegistry, KnownModel, ModelChoice
from llmcore_server.request_body import read_request
from llmcore_server.schemas import BodyDecoder, LoadRequest, UnloadRequest
from llmcore_server.v1_answers.models import ServedModel, ServedModels


class ModelsResource:
    """``GET /api/v1/models``."""

    def __init__(self, registry: EngineRegistry) -> None:
        self._registry = registry

    async def on_get(self, req: falcon.asgi.Request, resp: falcon.asgi.Response) -> None:  # noqa: ARG002
        await self._registry.refresh()
        resp.media = ModelList([_summary(model) for model in self._registry.known])


class ModelResource:
    """One model: ``GET /api/v1/models/{name}``, ``POST …/load`` and ``…/unload``."""

    def __init__(self, registry: EngineRegistry, config: ServerConfig) -> None:
        self._registry = registry
        self._config = config
        self._load_decoder = BodyDecoder(LoadRequest, {})
        self._unload_decoder = BodyDecoder(UnloadRequest, {})

    async def on_get(self, req: falcon.asgi.Request, resp: falcon.asgi.Response, name: str) -> None:
        resp.media = model_detail(self._registry, await self._registry.find(name), req)

    async def on_post_load(self, req: falcon.asgi.Request, resp: falcon.asgi.Response, name: str) -> None:
        request = await read_request(req, resp, self._load_decoder, self._config, default=LoadRequest())
        model = await self._registry.find(name)
        options = LoadOptions(request.quantization, request.prefer_gpu)
        # Also where nothing is planned by it: what cannot be is a 400 before anything starts.
        plan = await self._registry.plan_for(model, options)
        if plan.warning is not None:
            resp.append_header("x-llmcore-warnings", plan.warning)
        if request.dry_run:
            resp.media = self._planned(model, plan, req)
            return
        loading = self._registry.begin_load(model, options)
        if request.wait is not False:
            await asyncio.wait({loading}, timeout=self._config.load_timeout)
        if model.is_loading:
            resp.status = falcon.HTTP_202
        elif model.error is not None and (failure := model.failure()) is not None:
            raise failure
        if request.prefer_gpu and model.engine is not None and model.engine.model_info.device == "cpu":
            resp.append_header("x-llmcore-warnings", "prefer_gpu: the model runs on the CPU")
        resp.media = model_detail(self._registry, model, req)

    async def on_post_unload(self, req: falcon.asgi.Request, resp: falcon.asgi.Response, name: str) -> None:
        await read_request(req, resp, self._unload_decoder, self._config, default=UnloadRequest())
        model = await self._registry.find(name)
        await self._registry.unload(model)
        resp.media = model_detail(self._registry, model, req)

    def _planned(self, model: KnownModel, plan: LoadPlan, req: falcon.asgi.Request) -> LoadAnswer:
        residents = self._registry.residents
        reloaded = model.resident.need if model.resident is not None else 0
        leaving = residents.leaving_for(plan.need.total - reloaded)
        return LoadAnswer(
            dry_run=True,
            **msgspec.structs.asdict(model_detail(self._registry, model, req)),
            source_quantization=plan.file.quantization,
            target_quantization=plan.quantization or plan.file.quantization,
            memory=MemoryPlan(
                weights=plan.need.weights,
                cache=plan.need.cache,
                workspace=plan.need.workspace,
                total=plan.need.total,
                limit=residents.limit,
                fits=leaving is not None,
                unloads=[resident.name for resident in leaving or () if resident.name != model.name],
            ),
        )


def model_detail(registry: EngineRegistry, model: KnownModel, req: falcon.asgi.Request) -> ModelDetail:
    """Return a model and its state, in the language of the request."""
    failure = model.failure() if model.status == "failed" else None
    info = None if model.engine is None else model.engine.model_info
    progress = 0.0 if model.progress is None else round(max(0.0, model.progress()), 3)
    return ModelDetail(
        **msgspec.structs.asdict(_summary(model)),
        status=model.status,
        progress=1.0 if model.loaded else progress,
        quantizations=list(dict.fromkeys(file.quantization or "unknown" for file in model.files)),
        aliases=[alias for alias in registry.aliases if registry.named(alias) is model],
        device=None if info is None else info.device,
        generates=None if info is None else info.generates,
        pooling=None if info is None else info.pooling,
        adapters=[
            AdapterSummary(name=adapter.name, scale=adapter.scale, size=readable_size(adapter.size))
            for adapter in model.adapters.values()
        ],
        error=None if failure is None else (failure.details or Text("", ""))(_language(req)),
    )


def _summary(model: KnownModel) -> ModelSummary:
    file, resident = model.file, model.resident
    return ModelSummary(
        name=model.name,
        size=readable_size(file.size),
        loaded=model.loaded,
        memory_usage=readable_size(model.memory),
        quantization=(resident.plan.quantization if resident is not None else None) or file.quantization,
        architecture=file.architecture,
        context_length=file.context_length if resident is None else resident.engine.model_info.n_ctx,
    )


def _language(req: falcon.asgi.Request) -> Language:
    return preferred_language(req.get_header("Accept-Language"))


class OpenAIModelsResource:
    """``GET /v1/models``, with aliases, and ``GET /v1/models/{name}``."""

    def __init__(self, registry: EngineRegistry) -> None:
        self._registry = registry

    async def on_get(self, req: falcon.asgi.Request, resp: falcon.asgi.Response) -> None:  # noqa: ARG002
        await self._registry.refresh()
        names: dict[str, KnownModel | ModelChoice] = {model.name: model for model in self._registry.known}
        aliased = {alias: self._registry.named(alias) for alias in self._registry.aliases}
        # An alias may outlive the file that it stands for.
        names |= {alias: model for alias, model in aliased.items() if model is not None}
        adapters = {
            file.name: ModelChoice(model, file.name)
            for model in self._registry.known
            for file in model.adapters.values()
        }
        resp.media = ServedModels([served_model(name, model) for name, model in (names | adapters).items()])

    async def on_get_one(self, req: falcon.asgi.Request, resp: falcon.asgi.Response, name: str) -> None:  # noqa: ARG002
        resp.media = served_model(name, await self._registry.choose(name))


def served_model(name: str, chosen: KnownModel | ModelChoice) -> ServedModel:
    """Return OpenAI's object for a model under one of its names; an adapter tells whose it is, as vLLM's."""
    model, adapter = (chosen.model, chosen.adapter) if isinstance(chosen, ModelChoice) else (chosen, None)
    if adapter is None:
        return ServedModel(id=name, created=model.file.created, owned_by="llmcore")
    created = model.adapters[adapter.lower()].created
    return ServedModel(id=name, created=created, owned_by="llmcore", parent=model.name)
