"""LoRA adapters as PEFT saves them, to GGUF as llama.cpp's convert_lora_to_gguf.py writes them.

For a tensor W of the model that the adapter changes, the file has `W.lora_a` (rank, columns) and `W.lora_b`
(rows, rank); W changes by alpha / rank * B A (Hu et al. 2021).
"""

from __future__ import annotations

import errno
import math
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from gguf import GGMLQuantizationType as Type
from gguf import GGUFWriter

from llmcore import _core
from llmcore.errors import InvalidArgumentError
from llmcore.tools.convert.architectures import ARCHITECTURES, find_architecture
from llmcore.tools.convert.config import Config
from llmcore.tools.convert.conversion import TYPES, write_file
from llmcore.tools.convert.errors import some, unusable
from llmcore.tools.convert.json_file import read_json
from llmcore.tools.convert.safetensors_file import Array, StoredTensor, read_safetensors
from llmcore.tools.convert.tensor_maps import RENAMED_BEGINNINGS
from llmcore.tools.convert.tensor_plan import KEPT_TYPES, PlannedTensor, converted
from llmcore.tools.convert.tensor_rules import Rule, Transform, keep, key_pairs, query_pairs

CONFIG = "adapter_config.json"
_WEIGHTS = "adapter_model.safetensors"
_WRAPPER = "base_model.model."
# Rearrangements of rows: those of W are those of B.
_OF_ROWS = (keep, query_pairs, key_pairs)
# What would make the change another than alpha / rank * B A, with the values that ask for nothing.
_PLAIN: Mapping[str, tuple[object, ...]] = {
    "use_dora": (False,),
    "fan_in_fan_out": (False,),
    "bias": ("none",),
    "modules_to_save": ([],),
    "alpha_pattern": ({},),
    "layer_replication": ([],),
    "lora_bias": (False,),
    "alora_invocation_tokens": ([],),
    "trainable_token_indices": ([], {}),
}


@dataclass(frozen=True)
class AdapterConversion:
    """What was written: the base model's architecture, matrices that change, the largest rank, bytes."""

    architecture: str
    n_matrices: int
    rank: int
    n_bytes: int


@dataclass(frozen=True)
class _Base:
    """What the adapter's names mean: the rules of a model's conversion, and its numbers."""

    architecture: str
    rules: tuple[Rule, ...]
    config: Config


def is_adapter_folder(folder: Path) -> bool:
    """Whether the folder is one that PEFT saved an adapter to."""
    return (folder / CONFIG).is_file()


def convert_adapter(
    folder: Path | str, out: Path | str, *, base: Path | str, type_name: str = "auto", overwrite: bool = False
) -> AdapterConversion:
    """Converts the PEFT adapter in `folder` into the GGUF file `out`.

    `base` is the model it was trained for: its GGUF file, or its Hugging Face folder, of which config.json is
    enough. `type_name`: as `convert`.

    Raises ModelError for a folder that is damaged or of another kind of adapter, or does not suit the base,
    InvalidArgumentError for an unknown type, FileExistsError if `out` is there and `overwrite` is not set.
    """
    folder, out = Path(folder), Path(out)
    if type_name not in TYPES:
        raise InvalidArgumentError(f"[convert] type; got {type_name!r}; expected one of {', '.join(TYPES)}")
    if out.exists() and not overwrite:
        raise FileExistsError(errno.EEXIST, "exists already; --force overwrites it", str(out))
    try:
        known = _read_base(Path(base))
        settings = Config(read_json(folder / CONFIG))
        _check_settings(settings)
        if not (folder / _WEIGHTS).is_file():
            raise unusable(f"{folder} lacks {_WEIGHTS}; pickled weights are not read")
        pairs = _pairs(read_safetensors(folder / _WEIGHTS))
        tensors, ranks = _plan(pairs, known, TYPES[type_name])
        alpha = _alpha(settings, ranks)
        return _write(out, known, tensors, alpha, ranks)
    except UnicodeEncodeError as error:
        raise unusable(f"{folder} has text that is not Unicode: {error.reason}") from error
    except RecursionError as error:
        raise unusable(f"{folder} has JSON that is nested too deeply") from error


def _read_base(base: Path) -> _Base:
    if base.is_dir():
        if not (base / "config.json").is_file():
            raise unusable(f"{base} is no model folder: it has no config.json")
        architecture, config = find_architecture(read_json(base / "config.json"))
        return _Base(architecture.name, architecture.rules, config)
    file = _core.GGUFFile(base)
    name = file.get("general.architecture")
    # Families that share an architecture name their tensors each in its own way.
    families = [row for row in ARCHITECTURES.values() if row.name == name]
    if not families:
        known = sorted({row.name for row in ARCHITECTURES.values()})
        raise unusable(f"architecture of {base.name}", name, ", ".join(known))
    heads = file.get(f"{name}.attention.head_count")
    numbers = {
        "num_attention_heads": heads,
        "num_key_value_heads": file.get(f"{name}.attention.head_count_kv") or heads,
    }
    rules = tuple(rule for family in families for rule in family.rules)
    return _Base(str(name), rules, Config(numbers))


def _check_settings(settings: Config) -> None:
    kind = settings.find("peft_type")
    if kind != "LORA":
        raise unusable(f"peft_type in {CONFIG}", kind, "LORA")
    for key, plain in _PLAIN.items():
        value = settings.find(key)
        if value is not None and value not in plain:
            raise unusable(f"{key} in {CONFIG} is not supported", value, "none")


def _alpha(settings: Config, ranks: set[int]) -> float:
    alpha = settings.number("lora_alpha")
    if not settings.flag("use_rslora"):
        return alpha
    # Rank-stabilized adapters (Kalajdzievski 2023) scale by alpha / sqrt(rank), the file by alpha / rank.
    if len(ranks) > 1:
        raise unusable(f"use_rslora in {CONFIG} with several ranks", sorted(ranks), "one rank")
    return alpha * math.sqrt(next(iter(ranks)))


def _pairs(stored: Mapping[str, StoredTensor]) -> dict[str, dict[str, StoredTensor]]:
    """The halves "A" and "B" of each changed tensor, by its name in the model's checkpoint."""
    pairs: dict[str, dict[str, StoredTensor]] = {}
    strange = []
    for name, tensor in stored.items():
        module, separator, half = name.removeprefix(_WRAPPER).rpartition(".lora_")
        half = half.removesuffix(".weight").removesuffix(".default")
        if not separator or half not in ("A", "B"):
            strange.append(name)
            continue
        renamed = next(
            (new + module.removeprefix(old) for old, new in RENAMED_BEGINNINGS if module.startswith(old)),
            module,
        )
        pairs.setdefault(f"{renamed}.weight", {})[half] = tensor
    if strange:
        raise unusable("the adapter has tensors that are no halves of low-rank changes", some(strange))
    if lonely := [name for name, halves in pairs.items() if len(halves) < 2]:
        raise unusable("the adapter lacks the other half of tensors", some(lonely))
    if not pairs:
        raise unusable("the adapter changes nothing")
    return pairs


def _plan(
    pairs: Mapping[str, Mapping[str, StoredTensor]], base: _Base, wanted: Type | None
) -> tuple[list[PlannedTensor], set[int]]:
    layers = [int(part) for name in pairs for part in name.split(".") if part.isdecimal() and len(part) < 6]
    rules = {
        rule.source.format(i=layer): (rule.target.format(i=layer), rule)
        for rule in base.rules
        if "{e}" not in rule.source and not rule.scales
        for layer in sorted(set(layers) or {0})
    }
    unknown = [name for name in pairs if name not in rules]
    if unknown:
        raise unusable(f"the adapter changes tensors that {base.architecture} does not have", some(unknown))
    tensors: list[PlannedTensor] = []
    ranks = set()
    for name, halves in pairs.items():
        target, rule = rules[name]
        if rule.transform not in _OF_ROWS or rule.shift or target == "token_embd.weight":
            raise unusable(f"adapters of {name} are not supported")
        a, b = halves["A"], halves["B"]
        if len(a.shape) != 2 or len(b.shape) != 2 or a.shape[0] != b.shape[1] or 0 in (*a.shape, *b.shape):
            raise unusable(
                f"shapes of the halves of {name}",
                f"{a.shape} and {b.shape}",
                "(rank, columns) and (rows, rank)",
            )
        ranks.add(a.shape[0])
        tensors.append(_planned(f"{target}.lora_a", a, keep, base.config, wanted))
        tensors.append(_planned(f"{target}.lora_b", b, rule.transform, base.config, wanted))
    return tensors, ranks


def _planned(
    target: str, source: StoredTensor, transform: Transform, config: Config, wanted: Type | None
) -> PlannedTensor:
    if source.dtype not in KEPT_TYPES:
        raise unusable(f"type of tensor {source.name}", source.dtype, ", ".join(KEPT_TYPES))
    type_ = wanted if wanted is not None else KEPT_TYPES[source.dtype]
    transform(source.array(), config)  # refuses what it cannot rearrange

    def pieces() -> Iterator[Array]:
        view, shape = transform(source.array(), config)
        yield converted(np.ascontiguousarray(view).reshape(shape), source, type_, 0.0)

    return PlannedTensor(target, source.shape, type_, pieces)


def _write(
    out: Path, base: _Base, tensors: list[PlannedTensor], alpha: float, ranks: set[int]
) -> AdapterConversion:
    unfinished = out.with_name(out.name + ".part")
    writer = GGUFWriter(unfinished, base.architecture)
    try:
        writer.add_type("adapter")
        writer.add_string("adapter.type", "lora")
        writer.add_float32("adapter.lora.alpha", alpha)
        written = write_file(writer, tensors, None)
        os.replace(unfinished, out)
    finally:
        writer.close()
        unfinished.unlink(missing_ok=True)
    return AdapterConversion(base.architecture, len(tensors) // 2, max(ranks), written)
