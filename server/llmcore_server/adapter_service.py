"""Adapters that come and go while the server runs."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from dataclasses import dataclass, field
from pathlib import Path

from llmcore_server.adapters import AdapterFile, adapter_file, file_within, unknown_adapter
from llmcore_server.disconnect import closing_scope
from llmcore_server.errors import ApiError, Text
from llmcore_server.registry import EngineRegistry, KnownModel


@dataclass(eq=False)
class AdapterService:
    """Adds adapters to models and takes them away, one at a time.

    directory: where their files must lie; None refuses all. What is added stays the model's when it is loaded
    anew, until it is taken away.
    """

    registry: EngineRegistry
    directory: Path | None
    _one: asyncio.Lock = field(default_factory=asyncio.Lock)
    _tasks: set[asyncio.Task[None]] = field(default_factory=set)

    async def load(self, model: KnownModel, name: str, path: str, scale: float) -> None:
        """Add an adapter to a model that is loaded, or loads by itself. Goes on if its caller leaves.

        Raises `ApiError` for a name in use, a file that is not the directory's or no adapter of the model,
        and as `EngineRegistry.engine`.
        """
        try:
            file = adapter_file(name, file_within(self.directory, path), scale)
        except (ValueError, OSError) as error:
            raise ApiError("INVALID_REQUEST", Text(str(error), str(error)), param="name") from None
        await self._to_its_end(self._load(model, file))

    async def unload(self, model: KnownModel, name: str) -> None:
        """Take an adapter away; requests that run keep it. Raises `ApiError` if there is none."""
        file = model.adapters.pop(name.lower(), None)
        if file is None:
            raise unknown_adapter(name)
        model.error = None  # its load may have failed for this file
        if model.resident is not None:
            model.resident.engine.unload_adapter(file.name)
            model.resident.grow(-file.size)

    async def _to_its_end(self, work: Coroutine[None, None, None]) -> None:
        # Half of it undone would leave an adapter that nobody can name or take away.
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        await asyncio.shield(task)

    async def _load(self, model: KnownModel, file: AdapterFile) -> None:
        # The model stays until this has ended, not until the request that began it.
        async with closing_scope(), self._one:
            self.registry.check_new_adapter(file.name)
            engine = await self.registry.engine(model)
            resident = model.resident
            await self.registry.make_room(file.size)
            try:
                await asyncio.to_thread(engine.load_adapter, file.name, file.path, file.scale)
            except Exception as error:
                raise _refusal(error) from error
            if resident is None or model.resident is not resident:
                # It was loaded anew meanwhile, without this adapter.
                raise ApiError("SERVICE_UNAVAILABLE", retry_after=1)
            model.adapters[file.key] = file
            resident.grow(file.size)


def _refusal(error: Exception) -> Exception:
    from llmcore import LLMCoreError  # noqa: PLC0415 - keeps the start of the process light

    if not isinstance(error, LLMCoreError):
        return error
    said = str(error)
    return ApiError("INVALID_REQUEST", Text(f"无法加载适配器：{said}", said), param="path")
