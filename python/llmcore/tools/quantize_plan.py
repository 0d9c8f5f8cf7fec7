"""Which type each tensor of a GGUF model gets when the model is quantized."""

from dataclasses import dataclass
from math import prod
from pathlib import Path

import numpy as np
from gguf import GGML_QUANT_SIZES
from gguf import GGMLQuantizationType as Type

from llmcore import _core
from llmcore.errors import InvalidArgumentError, ModelError
from llmcore.tools.quant_mix import (
    MIXES,
    ModelFacts,
    can_change,
    fit_row,
    is_embedding,
    is_head,
    mix_name,
    value_layer,
    weight_type,
)

_UNQUANTIZED = (Type.F32, Type.F16, Type.BF16)


@dataclass(frozen=True)
class Choice:
    """What to quantize to: a name such as "Q4_K_M", and what departs from it.

    `pure`: every weight gets the mix's main type. `output_type` and `embedding_type`: the types of the
    output head and of the token embeddings. Names are checked on construction: InvalidArgumentError.
    """

    quant: str
    pure: bool = False
    output_type: str | None = None
    embedding_type: str | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "quant", mix_name(self.quant))
        for field in ("output_type", "embedding_type"):
            name = getattr(self, field)
            if name is not None:
                object.__setattr__(self, field, _writable_type(name))

    def wanted(self, facts: ModelFacts, tensor: _core.GGUFTensor) -> Type:
        """The type of a tensor of the mix; its own where quantization leaves it alone."""
        name, row = tensor.name, _row(tensor)
        if not can_change(name, len(tensor.shape)):
            return Type[tensor.type]
        if self.embedding_type is not None and is_embedding(name):
            return fit_row(Type[self.embedding_type], row)
        if self.output_type is not None and is_head(facts, name):
            return fit_row(Type[self.output_type], row)
        if self.pure:
            return fit_row(MIXES[self.quant].base, row)
        return weight_type(self.quant, facts, name, row)


@dataclass(frozen=True)
class Change:
    """A tensor and the type it gets."""

    tensor: _core.GGUFTensor
    target: Type

    @property
    def source(self) -> Type:
        """The type it has."""
        return Type[self.tensor.type]

    @property
    def rows(self) -> int:
        """Of all matrices that the tensor stacks."""
        return prod(self.tensor.shape[1:])

    @property
    def columns(self) -> int:
        """Elements of a row."""
        return _row(self.tensor)

    @property
    def row_bytes(self) -> int:
        """Of a row as written."""
        block, size = GGML_QUANT_SIZES[self.target]
        return self.columns // block * size


def tensor_formats(path: Path | str, quant: str) -> dict[str, str]:
    """The format each tensor of a model should be held in when it is loaded as `quant`: name -> format.

    Tensors only become narrower: one that takes no more bits already keeps its format. Raises GGUFError for
    a file that cannot be read, InvalidArgumentError for an unknown `quant` (see MIXES).
    """
    choice = Choice(quant)
    file = _core.GGUFFile(path)
    facts = model_facts(file)
    formats = {}
    for tensor in file.tensors:
        wanted = choice.wanted(facts, tensor)
        source = Type[tensor.type]
        narrower = _bits(wanted) < _bits(source) and _can("dequantize", source)
        formats[tensor.name] = (wanted if narrower else source).name
    return formats


def plan(file: _core.GGUFFile, choice: Choice) -> list[Change]:
    """What becomes of each tensor: unquantized ones take the type wanted, quantized ones if it is narrower.

    Raises InvalidArgumentError if nothing would change.
    """
    facts = model_facts(file)
    changes = []
    for tensor in file.tensors:
        source, wanted = Type[tensor.type], choice.wanted(facts, tensor)
        changed = source in _UNQUANTIZED or _bits(wanted) < _bits(source)
        changes.append(Change(tensor, wanted if changed and _can("dequantize", source) else source))
    if all(change.source is change.target for change in changes):
        raise InvalidArgumentError(
            f"[quantize] nothing to do; got a model without a tensor that {choice.quant} makes narrower; "
            "expected a finer model or a smaller type"
        )
    return changes


def model_facts(file: _core.GGUFFile) -> ModelFacts:
    """What the mixes need to know of a model. Raises ModelError if its metadata does not say it."""
    architecture = file.get("general.architecture")
    if not isinstance(architecture, str):
        raise ModelError("[quantize] the file has no general.architecture; expected a model's name for it")
    names = [tensor.name for tensor in file.tensors]
    layers = {layer for name in names if (layer := value_layer(name)) is not None}
    n_heads = _count(file, f"{architecture}.attention.head_count", 1)
    return ModelFacts(
        architecture=architecture,
        n_layers=_count(file, f"{architecture}.block_count", 0),
        n_heads=n_heads,
        n_kv_heads=_count(file, f"{architecture}.attention.head_count_kv", n_heads),
        n_experts=_count(file, f"{architecture}.expert_count", 0),
        tied_embeddings="output.weight" not in names,
        value_layers=tuple(sorted(layers)),
    )


def _count(file: _core.GGUFFile, key: str, default: int) -> int:
    """A number, or the first of one number a layer."""
    value = file.get(key, default)
    if isinstance(value, np.ndarray) and value.size:
        value = value.tolist()[0]
    if isinstance(value, bool) or not isinstance(value, int):
        raise ModelError(f"[quantize] {key}; got {type(value).__name__}; expected an integer")
    return value


def _row(tensor: _core.GGUFTensor) -> int:
    return int(tensor.shape[0]) if tensor.shape else 1


def _bits(kind: Type) -> float:
    elements, size = GGML_QUANT_SIZES[kind]
    return 8 * size / elements


def _can(what: str, kind: Type) -> bool:
    return any(entry["name"] == kind.name and entry[f"can_{what}"] for entry in _core.formats())


def _writable_type(name: str) -> str:
    writable = [entry["name"] for entry in _core.formats() if entry["can_quantize"]]
    if name.upper() not in writable:
        raise InvalidArgumentError(
            f"[quantize] unknown tensor type; got {name!r}; expected one of {', '.join(writable)}"
        )
    return name.upper()
