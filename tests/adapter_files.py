"""LoRA adapters with random weights, as llama.cpp's converter writes them, and what they add to a model.

Imports nothing of llmcore.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from itertools import cycle
from pathlib import Path

import numpy as np
import numpy.typing as npt
from gguf import GGMLQuantizationType, GGUFReader, GGUFWriter
from gguf.quants import dequantize, quantize

Array = npt.NDArray[np.float64]

FORMATS = (GGMLQuantizationType.F32, GGMLQuantizationType.F16, GGMLQuantizationType.BF16)


@lru_cache(None)
def matrices_of(model: Path) -> dict[str, tuple[int, int]]:
    """Rows and columns of the matrices that an adapter may change, by name."""
    return {
        tensor.name: (int(tensor.shape[1]), int(tensor.shape[0]))
        for tensor in GGUFReader(model).tensors
        if len(tensor.shape) == 2 and tensor.name.endswith(".weight") and tensor.name != "token_embd.weight"
    }


@lru_cache(None)
def architecture_of(model: Path) -> str:
    return str(GGUFReader(model).fields["general.architecture"].contents())


def write_adapter(
    path: Path,
    architecture: str,
    halves: Mapping[str, tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]],
    *,
    alpha: float | None = 16.0,
    formats: tuple[GGMLQuantizationType, ...] = FORMATS,
) -> Path:
    """Writes A (rank, columns) and B (rows, rank) of each matrix, in these formats by turns."""
    writer = GGUFWriter(path, architecture)
    writer.add_type("adapter")
    writer.add_string("adapter.type", "lora")
    if alpha is not None:
        writer.add_float32("adapter.lora.alpha", alpha)
    turns = cycle(formats)
    for name, pair in halves.items():
        for half, values in zip(("lora_a", "lora_b"), pair, strict=True):
            kind = next(turns)
            writer.add_tensor(f"{name}.{half}", quantize(values, kind), raw_dtype=kind)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def random_adapter(
    path: Path,
    model: Path,
    *,
    seed: int,
    alpha: float | None = 16.0,
    rank: int | None = None,
    every: int = 1,
    strength: float = 1.0,
    formats: tuple[GGMLQuantizationType, ...] = FORMATS,
) -> Path:
    """An adapter of every n-th matrix of a model, of ranks 1 to 7 by turns unless one is given; it changes
    weights by about as much as there is times `strength`."""
    dice = np.random.default_rng(seed)
    halves = {}
    for place, (name, (rows, cols)) in enumerate(matrices_of(model).items()):
        if place % every:
            continue
        r = rank or 1 + place % 7
        share = 1.0 if alpha is None else alpha / r
        a = dice.normal(0.0, 1.0 / np.sqrt(cols), (r, cols))
        b = dice.normal(0.0, strength / (share * np.sqrt(r)), (rows, r))
        halves[name] = (a.astype(np.float32), b.astype(np.float32))
    return write_adapter(path, architecture_of(model), halves, alpha=alpha, formats=formats)


def differences(path: Path, scale: float = 1.0) -> dict[str, Array]:
    """What the file adds to each matrix, (rows, columns), in float64: scale * alpha / rank * B A;
    scale * B A where there is no alpha (llama.cpp, src/llama-adapter.h)."""
    reader = GGUFReader(path)
    field = reader.fields.get("adapter.lora.alpha")
    alpha = 0.0 if field is None else float(field.contents())
    values = {
        tensor.name: dequantize(tensor.data, tensor.tensor_type).astype(np.float64)
        for tensor in reader.tensors
    }
    found = {}
    for name, a in values.items():
        if name.endswith(".lora_a"):
            matrix = name.removesuffix(".lora_a")
            share = scale * (alpha / a.shape[0] if alpha else 1.0)
            found[matrix] = share * (values[f"{matrix}.lora_b"] @ a)
    return found
