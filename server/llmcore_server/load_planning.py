"""Which file of a model to load for a request, what to make of it, and the memory that takes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from llmcore_server.adapters import AdapterFile
from llmcore_server.errors import ApiError, Text
from llmcore_server.model_file import ModelFile


@dataclass(frozen=True)
class LoadOptions:
    """What a client wants of a load; None leaves it to the server. ``quantization`` as a user writes it."""

    quantization: str | None = None
    prefer_gpu: bool | None = None


NO_OPTIONS = LoadOptions()


@dataclass(frozen=True)
class MemoryNeed:
    """Bytes a loaded model takes at most, as estimated from its file."""

    weights: int = 0
    cache: int = 0
    workspace: int = 0

    @property
    def total(self) -> int:
        return self.weights + self.cache + self.workspace


@dataclass(frozen=True)
class LoadPlan:
    """A file to load. ``quantization``: what its weights become on the way; None leaves them as they are.
    ``kv_budget``: most bytes of its KV cache; None leaves that to the engine. ``adapters``: loaded too."""

    file: ModelFile
    quantization: str | None = None
    prefer_gpu: bool | None = None
    kv_budget: int | None = None
    need: MemoryNeed = field(default_factory=MemoryNeed, compare=False)
    adapters: tuple[AdapterFile, ...] = field(default=(), compare=False)

    @property
    def name(self) -> str:
        return self.file.name

    @property
    def warning(self) -> str | None:
        """What the client should know: weights that are quantized twice lose more than once."""
        source = self.file.quantization
        if self.quantization is None or source in (None, "F32", "F16", "BF16"):
            return None
        return f"quantized from {source} to {self.quantization}"


def plan_from_name(files: Sequence[ModelFile], options: LoadOptions) -> LoadPlan:
    """Plan without reading anything: the first file as it is, its weights as large as it is."""
    return LoadPlan(
        files[0], options.quantization, options.prefer_gpu, None, MemoryNeed(weights=files[0].size)
    )


@dataclass(frozen=True)
class LoadPlanner:
    """Plans loads with the process's own options; reads headers, so it belongs on a thread.

    quantization: what a load gets that asks for none. kv_budget: bytes of each model's KV cache.
    draft_bytes: weights of the small model that guesses for each.
    kv_cache_type: the format of its numbers. kv_spill_ram: bytes beside it for blocks that leave it.
    """

    quantization: str | None = None
    n_ctx: int | None = None
    max_batch: int | None = None
    kv_budget: int | None = None
    draft_bytes: int = 0
    kv_cache_type: str = "f16"
    kv_spill_ram: int = 0

    def __call__(self, files: Sequence[ModelFile], options: LoadOptions) -> LoadPlan:
        """Raises `ApiError` for a quantization that is unknown or finer than every file of the model."""
        if options.quantization is not None:
            file, quantization = _choose(files, _mix_name(options.quantization))
        elif self.quantization is not None:
            wanted = self.quantization.upper()
            same = next((file for file in files if file.quantization == wanted), None)
            file, quantization = (same, None) if same else (_widest(files), self.quantization)
        else:
            file, quantization = files[0], None
        need = self._need(file, quantization)
        return LoadPlan(file, quantization, options.prefer_gpu, self.kv_budget, need)

    def _need(self, file: ModelFile, quantization: str | None) -> MemoryNeed:
        from llmcore import LLMCoreError, default_model  # noqa: PLC0415 - keeps the start of the process light
        from llmcore.tools.memory_estimate import estimate_memory  # noqa: PLC0415

        try:
            estimate = estimate_memory(
                file.path or default_model.path(),
                quantization=quantization,
                n_ctx=self.n_ctx,
                max_batch=self.max_batch,
                kv_budget=self.kv_budget,
                kv_cache_type=self.kv_cache_type,
            )
        except (LLMCoreError, OSError):
            return MemoryNeed(weights=file.size)  # The load itself tells what is wrong with the file.
        cache = estimate.cache + self.kv_spill_ram
        return MemoryNeed(estimate.weights + self.draft_bytes, cache, estimate.workspace)


def _mix_name(name: str) -> str:
    from llmcore import InvalidArgumentError  # noqa: PLC0415 - keeps the start of the process light
    from llmcore.tools.quant_mix import mix_name  # noqa: PLC0415

    try:
        return mix_name(name)
    except InvalidArgumentError as error:
        details = Text(f"参数 quantization 无效：{error}", f"parameter 'quantization': {error}")
        raise ApiError("INVALID_REQUEST", details, param="quantization") from None


def _choose(files: Sequence[ModelFile], wanted: str) -> tuple[ModelFile, str | None]:
    """The file that is so quantized, else the widest that is wider, to be quantized while it is loaded."""
    for file in files:
        if file.quantization is not None and file.quantization in (wanted, wanted.removesuffix("_M")):
            return file, None
    widest = _widest(files)
    bits, wanted_bits = _bits(widest.quantization), _bits(wanted)
    if bits is not None and wanted_bits is not None and bits <= wanted_bits:
        have = ", ".join(dict.fromkeys(file.quantization or "?" for file in files))
        details = Text(
            f"没有可转换为 {wanted} 的文件，现有 {have}", f"no file is as fine as {wanted}; there are: {have}"
        )
        raise ApiError("INVALID_REQUEST", details, param="quantization")
    return widest, wanted


def _widest(files: Sequence[ModelFile]) -> ModelFile:
    return max(files, key=lambda file: (_bits(file.quantization) or 0, file.size))


def _bits(quantization: str | None) -> float | None:
    """Bits a weight of a mix's main type."""
    from llmcore import _core  # noqa: PLC0415 - keeps the start of the process light

    name = quantization or ""
    for candidate in (name, name.rpartition("_")[0]):
        for entry in _core.formats():
            if entry["name"] == candidate:
                return 8 * float(entry["block_bytes"]) / float(entry["block_elements"])
    return None
