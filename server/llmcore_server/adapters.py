"""LoRA adapters as the server knows them: their files and names, and engines that answer with one."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from llmcore_server.engine_protocol import Delta, Embedding, Engine, EngineStats, ModelInfo, Tokenizer
from llmcore_server.errors import ApiError, Text

if TYPE_CHECKING:
    from llmcore import SamplingParams
    from llmcore.embeddings import Pooling

# Part of model names such as `base:adapter`, of routes and of lists.
ADAPTER_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")


@dataclass(frozen=True)
class AdapterFile:
    """An adapter's name and file. ``scale``: what the file's own scale is multiplied by."""

    name: str
    path: Path
    scale: float = 1.0
    size: int = 0
    created: int = 0

    @property
    def key(self) -> str:
        """Names are looked up without regard to case, as those of models."""
        return self.name.lower()


def adapter_file(name: str, path: Path, scale: float = 1.0) -> AdapterFile:
    """Describe an adapter's file. Raises OSError if it is not there, ValueError for a name that is none."""
    if not ADAPTER_NAME.fullmatch(name):
        raise ValueError(
            f"'{name[:100]}' is no name of an adapter: letters, digits, '.', '_' and '-', at most 64"
        )
    status = path.stat()
    return AdapterFile(name, path, scale, status.st_size, int(status.st_mtime))


def file_within(directory: Path | None, path: str) -> Path:
    """Return the GGUF file of that name below a directory, however the name is written.

    Raises `ApiError`, the same for files that are not there and for those that lie elsewhere.
    """
    if directory is None:
        details = Text("服务器启动时未指定 --models-dir", "the server was started without --models-dir")
        raise ApiError("INVALID_REQUEST", details, param="path")
    root = directory.resolve()
    try:
        found = (root / path).resolve()
        known = found.is_relative_to(root) and found.suffix == ".gguf" and found.is_file()
    except (OSError, ValueError, RuntimeError):
        known = False
    if not known:
        shown = path[:100]
        details = Text(
            f"模型目录中没有 GGUF 文件 {shown}", f"there is no GGUF file '{shown}' in the models directory"
        )
        raise ApiError("INVALID_REQUEST", details, param="path")
    return found


def unknown_adapter(name: str, param: str = "lora") -> ApiError:
    """What is told of an adapter that is not there."""
    shown = name[:100]
    details = Text(f"没有名为 {shown} 的 LoRA 适配器", f"there is no LoRA adapter named '{shown}'")
    return ApiError("MODEL_NOT_FOUND", details, param=param)


@dataclass(frozen=True)
class AdaptedEngine:
    """An engine whose every request has one adapter."""

    base: Engine
    adapter: str

    @property
    def model_info(self) -> ModelInfo:
        return self.base.model_info

    @property
    def tokenizer(self) -> Tokenizer:
        return self.base.tokenizer

    def generate(
        self,
        prompt: str | list[int],
        params: SamplingParams,
        *,
        request_id: str | None = None,
        priority: int = 0,
        tenant: str | None = None,
        lora: str | None = None,
        deadline: float | None = None,
    ) -> AsyncIterator[Delta]:
        return self.base.generate(
            prompt,
            params,
            request_id=request_id,
            priority=priority,
            tenant=tenant,
            lora=lora or self.adapter,
            deadline=deadline,
        )

    async def embed(
        self,
        prompts: Sequence[str | Sequence[int]],
        *,
        normalize: bool = True,
        lora: str | None = None,
        pooling: Pooling | None = None,
    ) -> Sequence[Embedding]:
        lora = lora or self.adapter
        return await self.base.embed(prompts, normalize=normalize, lora=lora, pooling=pooling)

    def load_adapter(self, name: str, path: str | Path, scale: float = 1.0) -> None:
        self.base.load_adapter(name, path, scale)

    def unload_adapter(self, name: str) -> None:
        self.base.unload_adapter(name)

    def abort(self, request_id: str) -> None:
        self.base.abort(request_id)

    def stats(self) -> EngineStats:
        return self.base.stats()

    def close(self) -> None:
        self.base.close()
