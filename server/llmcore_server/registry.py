"""The models a server knows: what is listed, what is loaded, and who waits for a load."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

from llmcore_server.engine_protocol import Engine
from llmcore_server.errors import ApiError, Text

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class ModelFile:
    """A model that can be loaded; ``path`` is None for the embedded one. ``size`` is in bytes, ``created`` in
    seconds since the epoch."""

    name: str
    path: Path | None
    size: int
    created: int


@dataclass(eq=False)
class KnownModel:
    """A model and what has become of it; ``memory`` is how many resident bytes loading it took."""

    file: ModelFile
    engine: Engine | None = None
    loading: asyncio.Task[None] | None = None
    error: Exception | None = None
    memory: int = 0

    @property
    def name(self) -> str:
        return self.file.name

    @property
    def loaded(self) -> bool:
        return self.engine is not None


@dataclass(eq=False)
class EngineRegistry:
    """Resolves names to models and models to engines.

    models: the first is the default one. load: builds an engine, blocking; runs on a thread, one at a time.
    preload: names loaded at start, in this order. aliases: other names of models.
    on_load_failed: told when a model named in ``preload`` cannot be loaded.
    """

    models: Sequence[ModelFile]
    load: Callable[[ModelFile], Engine]
    preload: Sequence[str] = ()
    aliases: Mapping[str, str] = field(default_factory=dict)
    load_timeout: float = 600.0
    resident_bytes: Callable[[], int] = lambda: 0
    on_load_failed: Callable[[ModelFile, Exception], None] | None = None

    def __post_init__(self) -> None:
        self._known = {file.name: KnownModel(file) for file in self.models}
        self._loader: ThreadPoolExecutor | None = None
        self._loads_running = 0

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

    def resolve(self, name: str | None) -> KnownModel:
        """Return the model of that name or alias; absent, empty and ``default`` mean the default model."""
        model = (
            self.default
            if name in (None, "", "default")
            else self._known.get(self.aliases.get(str(name), str(name)))
        )
        if model is None:
            shown = str(name)[:100]
            raise ApiError(
                "MODEL_NOT_FOUND",
                Text(f"没有名为 {shown} 的模型", f"there is no model named '{shown}'"),
                param="model",
            )
        return model

    async def engine(self, model: KnownModel) -> Engine:
        """Return the model's engine, waiting for a load under way; the load itself outlives its waiters."""
        if model.loading is not None and not model.loading.done():
            await asyncio.wait({model.loading}, timeout=self.load_timeout)
        if model.engine is not None:
            return model.engine
        if model.error is not None:
            said = str(model.error)
            raise ApiError("MODEL_LOAD_FAILED", Text(f"模型加载失败：{said}", said), param="model")
        raise ApiError("MODEL_NOT_LOADED", param="model")

    def start(self) -> None:
        """Begin to load what is to be preloaded; returns at once."""
        for name in self.preload:
            self.begin_load(self._known[name])

    def begin_load(self, model: KnownModel) -> None:
        """Load a model in the background unless it is loaded or loading."""
        if model.engine is None and (model.loading is None or model.loading.done()):
            model.error = None
            model.loading = asyncio.get_running_loop().create_task(self._load(model))

    async def _load(self, model: KnownModel) -> None:
        if self._loader is None:
            self._loader = ThreadPoolExecutor(1, thread_name_prefix="model-loader")
        loop = asyncio.get_running_loop()
        before = self.resident_bytes()
        try:
            model.engine = await loop.run_in_executor(self._loader, self._load_blocking, model.file)
            model.memory = max(0, self.resident_bytes() - before)
        except Exception as error:
            model.error = error
            if self.on_load_failed is not None:
                self.on_load_failed(model.file, error)
            else:
                logger.error("model %s cannot be loaded: %s", model.name, error)

    def _load_blocking(self, file: ModelFile) -> Engine:
        self._loads_running += 1
        try:
            return self.load(file)
        finally:
            self._loads_running -= 1

    def close(self) -> None:
        """Close every engine; what still generates is cancelled."""
        for model in self._known.values():
            engine, model.engine = model.engine, None
            if engine is not None:
                engine.close()
        if self._loader is not None:
            self._loader.shutdown(wait=False, cancel_futures=True)
