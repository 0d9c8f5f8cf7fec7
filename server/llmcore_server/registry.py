"""The models a server knows: what is listed, what is loaded, and who waits for a load."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from typing import Literal

from llmcore_server.adapters import AdaptedEngine, AdapterFile, unknown_adapter
from llmcore_server.engine_protocol import Engine
from llmcore_server.errors import ApiError, Text
from llmcore_server.load_planning import NO_OPTIONS, LoadOptions, LoadPlan, plan_from_name
from llmcore_server.model_file import ModelFile
from llmcore_server.resident_models import ResidentModel, ResidentModels
from llmcore_server.scheduling import NO_DEADLINE, Scheduling

logger = logging.getLogger(__name__)

# A model may be asked for in one quantization after another, faster than any can be loaded.
_MOST_PENDING_LOADS = 64
_LOADS_RETRY = 5

Status = Literal["unloaded", "loading", "ready", "failed"]
LoadObserver = Callable[[str, float], None]


@dataclass(eq=False)
class KnownModel:
    """A model and what has become of it. ``files`` are its quantizations, that to load by default first."""

    files: list[ModelFile]
    resident: ResidentModel | None = None
    loading: asyncio.Task[None] | None = None
    loading_options: LoadOptions = NO_OPTIONS
    options: LoadOptions = NO_OPTIONS
    error: Exception | None = None
    progress: Callable[[], float] | None = None
    adapters: dict[str, AdapterFile] = field(default_factory=dict)  # by their keys

    @property
    def file(self) -> ModelFile:
        """The file that is loaded, or would be."""
        return self.files[0] if self.resident is None else self.resident.plan.file

    @property
    def name(self) -> str:
        return self.files[0].name

    @property
    def engine(self) -> Engine | None:
        return None if self.resident is None else self.resident.engine

    @property
    def loaded(self) -> bool:
        return self.resident is not None

    @property
    def is_loading(self) -> bool:
        return self.loading is not None and not self.loading.done()

    @property
    def memory(self) -> int:
        """How many resident bytes loading it took."""
        return 0 if self.resident is None else self.resident.measured

    @property
    def status(self) -> Status:
        if self.resident is not None:
            return "ready"
        if self.is_loading:
            return "loading"
        return "unloaded" if self.error is None else "failed"

    def failure(self) -> ApiError | None:
        """What is told of a load that failed."""
        if self.error is None or isinstance(self.error, ApiError):
            return self.error
        said, path = str(self.error), self.file.path
        if path is not None:
            said = said.replace(f"{path.parent}/", "")  # Where files lie is the operator's affair.
        return ApiError("MODEL_LOAD_FAILED", Text(f"模型加载失败：{said}", said), param="model")


@dataclass(frozen=True)
class ModelChoice:
    """What a request runs on: a model, perhaps with one of its adapters."""

    model: KnownModel
    adapter: str | None = None

    @property
    def name(self) -> str:
        return self.model.name if self.adapter is None else f"{self.model.name}:{self.adapter}"


@dataclass(eq=False)
class EngineRegistry:
    """Resolves names to models and models to engines.

    models: their files; those of one name are one model, the first is the default one. load: builds an
    engine, blocking; runs on a thread, one at a time. preload: names loaded at start, in this order.
    aliases: other names of models. autoload: whether a request loads the model it names. plan: chooses file
    and memory of a load, blocking. warm_up: makes an engine's first step. on_load_failed: told when a model
    named in ``preload`` cannot be loaded. rescan: the files there are now, those of a model together, or None
    if they have not changed; blocking. adapters: of the default model. Raises `ApiError` for adapters whose
    names are taken.
    """

    models: Sequence[ModelFile]
    load: Callable[[LoadPlan], Engine]
    preload: Sequence[str] = ()
    aliases: Mapping[str, str] = field(default_factory=dict)
    load_timeout: float = 600.0
    autoload: bool = False
    plan: Callable[[Sequence[ModelFile], LoadOptions], LoadPlan] = plan_from_name
    warm_up: Callable[[Engine], Awaitable[None]] | None = None
    residents: ResidentModels = field(default_factory=ResidentModels)
    resident_bytes: Callable[[], int] = lambda: 0
    on_load_failed: Callable[[ModelFile, Exception], None] | None = None
    rescan: Callable[[], Sequence[Sequence[ModelFile]] | None] | None = None
    load_observers: list[LoadObserver] = field(default_factory=list)
    adapters: Sequence[AdapterFile] = ()

    def __post_init__(self) -> None:
        self._known: dict[str, KnownModel] = {}
        for file in self.models:
            model = self._known.setdefault(file.name, KnownModel([]))
            model.files.append(file)
        self._names = self._all_names()
        self._default = self.default
        self._found = {name.lower() for name in self._known}
        self._one_scan = asyncio.Lock()
        self._loader: ThreadPoolExecutor | None = None
        self._loads_running = 0
        self._loads_pending = 0
        self._one_load = asyncio.Lock()
        self._starting: set[str] = set(self.preload)
        for adapter in self.adapters:
            self.check_new_adapter(adapter.name)
            assert self.default is not None
            self.default.adapters[adapter.key] = adapter

    @property
    def default(self) -> KnownModel | None:
        """The model a request means that names none."""
        return next(iter(self._known.values()), None)

    @property
    def known(self) -> list[KnownModel]:
        return list(self._known.values())

    @property
    def busy_loading(self) -> bool:
        """Whether the loader's thread is at work, though nobody may wait for it any more."""
        return self._loads_running > 0

    @property
    def ready(self) -> bool:
        """Whether every model named at start has made a step."""
        return not self._starting

    def named(self, name: str | None) -> KnownModel | None:
        """Return the model of that name or alias, None if there is none; absent, empty and ``default`` mean
        the default model."""
        if name in (None, "", "default"):
            return self.default
        return self._names.get(self.aliases.get(str(name), str(name)).lower())

    async def refresh(self) -> None:
        """Take notice of files that have come or gone; what is loaded stays, and the default model."""
        if self.rescan is None:
            return
        async with self._one_scan:
            found = await asyncio.to_thread(self.rescan)
            if found is not None:
                self._found = {files[0].name.lower() for files in found}
                self._take_files(found)
            gone = [model for model in self.known if self._is_gone(model)]
            for model in gone:
                del self._known[model.name]
            if gone or found is not None:
                self._names = self._all_names()

    async def find(self, name: str | None) -> KnownModel:
        """As `resolve`, but look for new files before saying that there is no such model."""
        if self.named(name) is None:
            await self.refresh()
        return self.resolve(name)

    def resolve(self, name: str | None) -> KnownModel:
        """As `named`; raise `ApiError` if there is no such model."""
        model = self.named(name)
        if model is None:
            shown = str(name)[:100]
            raise ApiError(
                "MODEL_NOT_FOUND",
                Text(f"没有名为 {shown} 的模型", f"there is no model named '{shown}'"),
                param="model",
            )
        return model

    async def choose(self, name: str | None, lora: str | None = None) -> ModelChoice:
        """Return what a request means that names a model, an adapter, or both as ``model:adapter``; lora: the
        adapter that it names apart. Looks for new files before it raises `ApiError`."""
        try:
            return self._choose(name, lora)
        except ApiError:
            await self.refresh()
            return self._choose(name, lora)

    def _choose(self, name: str | None, lora: str | None) -> ModelChoice:
        model = self.named(name)
        adapter: str | None = None
        if model is None:
            model, adapter = self._adapted(str(name)) or (self.resolve(name), None)
        if lora is not None:
            named = _adapter_of(model, lora, "lora")
            if adapter not in (None, named):
                details = Text(
                    "model 与 lora 指定了不同的适配器", "'model' and 'lora' name different adapters"
                )
                raise ApiError("INVALID_REQUEST", details, param="lora")
            adapter = named
        return ModelChoice(model, adapter)

    def check_new_adapter(self, name: str) -> None:
        """Raise `ApiError` for a name that a model, an alias or an adapter has."""
        key = name.lower()
        others = [*map(str.lower, self.aliases), *(other for model in self.known for other in model.adapters)]
        if key == "default" or self.named(name) is not None or key in others:
            details = Text(f"名称 {name} 已被使用", f"the name '{name}' is taken")
            raise ApiError("INVALID_REQUEST", details, param="name")

    def _adapted(self, name: str) -> tuple[KnownModel, str] | None:
        base, separator, adapter = name.rpartition(":")
        model = self.named(base) if separator and base else None
        if model is not None:
            return model, _adapter_of(model, adapter, "model")
        found = (model for model in self.known if name.lower() in model.adapters)
        model = next(found, None)
        return None if model is None else (model, _adapter_of(model, name, "model"))

    async def make_room(self, need: int) -> None:
        """Have idle models leave until ``need`` more bytes fit. Raises `ApiError` if they cannot."""
        await self.residents.make_room(need, self._retire)

    async def engine(self, chosen: KnownModel | ModelChoice, scheduling: Scheduling = NO_DEADLINE) -> Engine:
        """Return the engine for the request that the current task serves, waiting for a load under way, but
        not beyond the request's deadline; the load outlives its waiters, and the engine stays until that
        request has ended. Where an adapter was chosen, all requests to the engine returned have it."""
        if isinstance(chosen, ModelChoice):
            engine = await self.engine(chosen.model, scheduling)
            return engine if chosen.adapter is None else AdaptedEngine(engine, chosen.adapter)
        model = chosen
        # What was refused for the moment is tried again; a file that is broken is not.
        may_load = self.autoload and (model.error is None or isinstance(model.error, ApiError))
        if model.resident is None and not model.is_loading and may_load:
            self.begin_load(model, model.options)
        if model.is_loading and model.resident is None:
            assert model.loading is not None
            left = scheduling.seconds_left()
            most = self.load_timeout if left is None else min(left, self.load_timeout)
            await asyncio.wait({model.loading}, timeout=most)
        if model.resident is not None:
            model.resident.hold_for_request()
            return model.resident.engine
        scheduling.seconds_left()
        raise model.failure() or ApiError("MODEL_NOT_LOADED", param="model")

    async def generator(
        self, chosen: KnownModel | ModelChoice, scheduling: Scheduling = NO_DEADLINE
    ) -> Engine:
        """Return the engine as `engine` does; raise `ApiError` for a model that makes embeddings alone."""
        engine = await self.engine(chosen, scheduling)
        if not engine.model_info.generates:
            model = chosen.model if isinstance(chosen, ModelChoice) else chosen
            details = Text(
                f"模型 {model.name} 只生成向量，请使用 /v1/embeddings",
                f"'{model.name}' is an embedding model and generates no text; use /v1/embeddings",
            )
            raise ApiError("INVALID_REQUEST", details, param="model")
        return engine

    def start(self) -> None:
        """Begin to load what is to be preloaded; returns at once."""
        for name in self.preload:
            self.begin_load(self._known[name])

    def begin_load(self, model: KnownModel, options: LoadOptions | None = None) -> asyncio.Task[None]:
        """Load a model in the background, or join the load of the same that is under way.

        A model that is loaded otherwise is loaded anew once its requests have finished. The task never fails:
        the model's ``error`` says what went wrong. Raises `ApiError` if too many loads wait already.
        """
        options = options or NO_OPTIONS
        if model.is_loading and model.loading_options == options:
            assert model.loading is not None
            return model.loading
        if self._loads_pending >= _MOST_PENDING_LOADS:
            details = Text("等待加载的模型过多，请稍后重试", "too many loads are waiting; try again later")
            raise ApiError("TOO_MANY_REQUESTS", details, retry_after=_LOADS_RETRY, reason="loads")
        self._loads_pending += 1
        before = model.loading
        model.error = None
        model.loading_options = options
        model.loading = asyncio.get_running_loop().create_task(self._load(model, options, before))
        return model.loading

    async def unload(self, model: KnownModel) -> None:
        """Free a model's memory once the requests that use it have finished."""
        if model.is_loading:
            assert model.loading is not None
            await asyncio.wait({model.loading})
        model.error, model.options = None, NO_OPTIONS
        if model.resident is not None:
            await self._retire(model.resident)

    async def plan_for(self, model: KnownModel, options: LoadOptions) -> LoadPlan:
        """Return what a load with these options would do. Raises `ApiError`."""
        return await asyncio.to_thread(self.plan, model.files, options)

    def close(self) -> None:
        """Close every engine; what still generates is cancelled."""
        for model in self._known.values():
            model.resident = None
        self.residents.close_all()
        if self._loader is not None:
            self._loader.shutdown(wait=False, cancel_futures=True)

    async def _load(self, model: KnownModel, options: LoadOptions, before: asyncio.Task[None] | None) -> None:
        began = time.perf_counter()
        outcome: str | None
        try:
            if before is not None:
                await asyncio.wait({before})
            async with self._one_load:
                outcome = "ok" if await self._load_alone(model, options) else None
        except Exception as error:
            model.error = error
            outcome = "failed"
            if model.name in self._starting and self.on_load_failed is not None:
                self.on_load_failed(model.file, error)
            elif not isinstance(error, ApiError):
                logger.error("model %s cannot be loaded: %s", model.name, error)
        finally:
            model.progress = None
            self._loads_pending -= 1
        if outcome is not None:
            for observe in self.load_observers:
                observe(outcome, time.perf_counter() - began)

    async def _load_alone(self, model: KnownModel, options: LoadOptions) -> bool:
        """Load a model; return False for one that is loaded so already."""
        plan = await self.plan_for(model, options)
        if model.resident is not None:
            if model.resident.plan == plan or options == NO_OPTIONS:
                return False
            await self._retire(model.resident)
        plan = replace(plan, adapters=tuple(model.adapters.values()))
        added = sum(adapter.size for adapter in plan.adapters)
        await self.make_room(plan.need.total + added)
        before = self.resident_bytes()
        model.progress = lambda: min(0.99, (self.resident_bytes() - before) / max(plan.need.weights, 1))
        if self._loader is None:
            self._loader = ThreadPoolExecutor(1, thread_name_prefix="model-loader")
        loop = asyncio.get_running_loop()
        engine = await loop.run_in_executor(self._loader, self._load_blocking, plan)
        try:
            if self.warm_up is not None:
                await self.warm_up(engine)
        except BaseException:
            engine.close()
            raise
        measured = max(0, self.resident_bytes() - before)
        # The estimate is of the host's memory; on a device of its own, most of a model is elsewhere.
        need = plan.need.total + added if engine.model_info.device == "cpu" else measured
        resident = ResidentModel(model.name, plan, engine, need, measured)
        self.residents.add(resident)
        model.resident, model.options = resident, options
        for adapter in plan.adapters:
            if adapter not in model.adapters.values():  # taken away meanwhile
                engine.unload_adapter(adapter.name)
        self._starting.discard(model.name)
        return True

    def _take_files(self, found: Sequence[Sequence[ModelFile]]) -> None:
        """Note the files that models have now; one that was chosen at start stays the first of its model."""
        by_name = {name.lower(): model for name, model in self._known.items()}
        for files in found:
            model = by_name.get(files[0].name.lower())
            if model is None:
                self._known[files[0].name] = KnownModel(list(files))
                continue
            first = model.files[0]
            renamed = [replace(file, name=first.name) for file in files]
            chosen = first.name in self.preload
            model.files = [first, *(f for f in renamed if f.path != first.path)] if chosen else renamed
            if not model.loaded and not isinstance(model.error, ApiError):
                model.error = None  # What was broken may be whole by now.

    def _is_gone(self, model: KnownModel) -> bool:
        kept = model.loaded or model.is_loading or model is self._default or model.name in self.preload
        return not kept and model.name.lower() not in self._found

    def _all_names(self) -> dict[str, KnownModel]:
        stems = {file.stem.lower(): model for model in self.known for file in model.files}
        return stems | {name.lower(): model for name, model in self._known.items()}

    def _load_blocking(self, plan: LoadPlan) -> Engine:
        self._loads_running += 1
        try:
            return self.load(plan)
        finally:
            self._loads_running -= 1

    async def _retire(self, resident: ResidentModel) -> None:
        """Take a model out of use at once, and out of memory when its requests have finished."""
        model = self._known.get(resident.name)
        if model is not None and model.resident is resident:
            model.resident = None
        await self.residents.close(resident)


def _adapter_of(model: KnownModel, name: str, param: str) -> str:
    """The name of a model's adapter as it is spelled. Raises `ApiError` if there is none."""
    file = model.adapters.get(name.lower())
    if file is None:
        raise unknown_adapter(name, param)
    return file.name
