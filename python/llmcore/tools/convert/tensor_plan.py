"""Which tensors the GGUF file will have, with shape and type, before the first one is read."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass

import gguf
import numpy as np
from gguf import GGMLQuantizationType as Type

from llmcore.tools.convert.config import Config
from llmcore.tools.convert.errors import some, unusable
from llmcore.tools.convert.mxfp4 import repacked, unpacked_shape
from llmcore.tools.convert.safetensors_file import Array, StoredTensor
from llmcore.tools.convert.tensor_maps import IGNORED_BEGINNINGS, IGNORED_ENDINGS, RENAMED_BEGINNINGS
from llmcore.tools.convert.tensor_rules import Rule, Shape

_CHUNK = 1 << 22  # values converted at a time
# What becomes of a checkpoint's types where nothing else is asked for.
KEPT_TYPES = {"F32": Type.F32, "F16": Type.F16, "BF16": Type.BF16}
# Small, and every reader takes them as float32 alone.
_SMALL = ("ffn_gate_inp.weight", "ffn_gate_inp_shexp.weight", "position_embd.weight", "token_types.weight")


@dataclass(frozen=True)
class PlannedTensor:
    """A tensor to write: `shape` in row-major order, `type` of the file, `pieces` of its bytes in order."""

    name: str
    shape: Shape
    type: Type
    pieces: Callable[[], Iterator[Array]]

    @property
    def n_bytes(self) -> int:
        """Bytes of the tensor in the file."""
        elements, size = gguf.GGML_QUANT_SIZES[self.type]
        return math.prod(self.shape) // elements * size


def language_model(tensors: Mapping[str, StoredTensor]) -> dict[str, StoredTensor]:
    """The language model's tensors under the names that a text checkpoint gives them."""
    found: dict[str, StoredTensor] = {}
    bare = "embed_tokens.weight" in tensors  # saved without its head: no tensor is under `model.`
    for name, tensor in tensors.items():
        if name.startswith(IGNORED_BEGINNINGS) or name.endswith(IGNORED_ENDINGS):
            continue
        renamed = next(
            (new + name.removeprefix(old) for old, new in RENAMED_BEGINNINGS if name.startswith(old)), name
        )
        found["model." + renamed if bare and renamed != "lm_head.weight" else renamed] = tensor
    return found


@dataclass(frozen=True)
class Plan:
    """Rules applied to a checkpoint."""

    rules: tuple[Rule, ...]
    config: Config
    n_layers: int
    n_experts: int
    wanted: Type | None
    """Type of the weights; None keeps the checkpoint's."""

    def tensors(self, stored: Mapping[str, StoredTensor]) -> list[PlannedTensor]:
        """One entry a tensor of the GGUF file. Raises ModelError if any is missing or left over."""
        alternatives: dict[str, list[Rule]] = {}
        for rule in self.rules:
            alternatives.setdefault(rule.target, []).append(rule)
        used: set[str] = set()
        missing: list[str] = []
        planned: list[PlannedTensor] = []
        for target, layer in self._targets(alternatives):
            rules = alternatives[target]
            rule = next((rule for rule in rules if self._sources(rule, layer)[0] in stored), rules[0])
            sources = self._sources(rule, layer)
            absent = [name for name in sources if name not in stored]
            if not absent:
                used.update(sources)
                planned.append(
                    self._planned(target.format(i=layer), rule, [stored[name] for name in sources])
                )
            elif not rule.optional:
                missing += absent
        if missing:
            raise unusable("the checkpoint lacks tensors", some(missing))
        if extra := stored.keys() - used:
            raise unusable("the checkpoint has tensors that its architecture does not know", some(extra))
        return planned

    def _targets(self, targets: Iterable[str]) -> Iterator[tuple[str, int | None]]:
        for target in targets:
            if "{i}" not in target:
                yield target, None
        for layer in range(self.n_layers):
            for target in targets:
                if "{i}" in target:
                    yield target, layer

    def _sources(self, rule: Rule, layer: int | None) -> list[str]:
        if "{e}" not in rule.source:
            return [name.format(i=layer) for name in (rule.source, rule.scales) if name]
        return [rule.source.format(i=layer, e=expert) for expert in range(self.n_experts)]

    def _planned(self, target: str, rule: Rule, sources: list[StoredTensor]) -> PlannedTensor:
        if rule.scales:
            return self._packed(target, rule, *sources)
        if len({(source.dtype, source.shape) for source in sources}) > 1:
            raise unusable(f"experts of {target} are not of one shape and type")
        first = sources[0]
        _, shape = rule.transform(first.array(), self.config)
        if "{e}" in rule.source:
            shape = (len(sources), *shape)
        if not shape or math.prod(shape) == 0:
            raise unusable(f"tensor {first.name} is empty", list(shape))
        if first.dtype not in KEPT_TYPES:
            raise unusable(f"type of tensor {first.name}", first.dtype, ", ".join(KEPT_TYPES))
        type_ = self._type(target, shape, first.dtype)

        def pieces() -> Iterator[Array]:
            for source in sources:
                view, _ = rule.transform(source.array(), self.config)
                for chunk in _chunks(view):
                    yield converted(chunk, source, type_, rule.shift)

        return PlannedTensor(target, shape, type_, pieces)

    def _packed(self, target: str, rule: Rule, blocks: StoredTensor, scales: StoredTensor) -> PlannedTensor:
        views = [rule.transform(tensor.array(), self.config)[0] for tensor in (blocks, scales)]
        type_ = Type.MXFP4 if self.wanted is None else self.wanted

        def pieces() -> Iterator[Array]:
            for packed in repacked(*views):
                if type_ == Type.MXFP4:
                    yield packed
                else:
                    yield gguf.quants.quantize(gguf.quants.dequantize(packed, Type.MXFP4), type_)

        return PlannedTensor(target, unpacked_shape(*views), type_, pieces)

    def _type(self, target: str, shape: Shape, dtype: str) -> Type:
        if len(shape) == 1 or not target.endswith(".weight") or target.endswith(("_norm.weight", *_SMALL)):
            return Type.F32
        return self.wanted if self.wanted is not None else KEPT_TYPES[dtype]


def _chunks(view: Array) -> Iterator[Array]:
    """Slices of at most `_CHUNK` values, or of one row."""
    if view.ndim > 1 and view.size > _CHUNK:
        rows = max(1, _CHUNK // (view.size // view.shape[0]))
        for begin in range(0, view.shape[0], rows):
            part = view[begin : begin + rows]
            if rows == 1 and part.size > _CHUNK:
                yield from _chunks(part[0])
            else:
                yield part
    else:
        yield view


def converted(values: Array, source: StoredTensor, type_: Type, shift: float) -> Array:
    """Values of `source`, as its file has them, as a type of the GGUF file, with `shift` added."""
    if KEPT_TYPES[source.dtype] == type_ and shift == 0.0:
        return np.ascontiguousarray(values)
    if source.dtype == "BF16":
        numbers = (np.ascontiguousarray(values).astype(np.uint32) << 16).view(np.float32)
    else:
        numbers = np.ascontiguousarray(values, np.float32)
    if shift != 0.0:
        numbers = numbers + np.float32(shift)
    if type_ == Type.F16:
        return _as_half(numbers, source.name)
    if type_ == Type.BF16:
        return gguf.quants.quantize(numbers.reshape(1, -1), Type.BF16)
    return numbers


def _as_half(numbers: Array, name: str) -> Array:
    with np.errstate(over="ignore"):
        halves = numbers.astype(np.float16)
    if not np.array_equal(np.isfinite(halves), np.isfinite(numbers)):
        largest = float(np.abs(numbers[np.isfinite(numbers)]).max())
        raise unusable(f"values of {name} do not fit f16", largest, "--type bf16 or f32")
    return halves
