"""One GGUF file as the server knows it before anything of it is loaded, and what its names mean."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

_PART = re.compile(r"-(\d{5})-of-\d{5}$")
_QUANTIZATION = re.compile(
    r"[-._](i?q\d+(?:_(?:0|1|k|nl|xs|xxs|s|m))?(?:_(?:xs|s|m|l|xl))?|tq[12]_0|mxfp4(?:_moe)?|b?f16|f32|fp16|fp32)$",
    re.IGNORECASE,
)
# File names that say nothing of the model: converters' defaults, and the digests of download caches.
_NAMELESS = re.compile(r"(?:ggml|gguf)?[-_]?(?:model|weights)?|[0-9a-f]{32,}", re.IGNORECASE)
# The values of ``general.file_type`` that are in use.
_MIXES = {
    **{2: "Q4_0", 3: "Q4_1", 7: "Q8_0", 8: "Q5_0", 9: "Q5_1", 10: "Q2_K", 11: "Q3_K_S", 12: "Q3_K_M"},
    **{13: "Q3_K_L", 14: "Q4_K_S", 15: "Q4_K_M", 16: "Q5_K_S", 17: "Q5_K_M", 18: "Q6_K", 19: "IQ2_XXS"},
    **{20: "IQ2_XS", 21: "Q2_K_S", 22: "IQ3_XS", 23: "IQ3_XXS", 24: "IQ1_S", 25: "IQ4_NL", 26: "IQ3_S"},
    **{27: "IQ3_M", 28: "IQ2_S", 29: "IQ2_M", 30: "IQ4_XS", 31: "IQ1_M", 36: "TQ1_0", 37: "TQ2_0"},
    **{0: "F32", 1: "F16", 32: "BF16", 38: "MXFP4_MOE"},
}
_WIDE_FLOATS = {"FP16": "F16", "FP32": "F32"}


@dataclass(frozen=True)
class ModelFile:
    """A file that can be loaded, the first part if it is split; ``path`` is None for the embedded model.

    ``name`` is the model's: files of one name are its quantizations. ``size`` is that of all parts, in bytes,
    ``created`` in seconds since the epoch. What the header does not tell is None.
    """

    name: str
    path: Path | None
    size: int
    created: int
    quantization: str | None = None
    architecture: str | None = None
    context_length: int | None = None

    @property
    def stem(self) -> str:
        """The file's name without ``.gguf`` and number of part; another name of the model."""
        return self.name if self.path is None else whole_stem(self.path)


def whole_stem(path: Path) -> str:
    """Return a file's name without its suffix and its number among the parts of a split model; bytes that are
    no UTF-8 are replaced, for names go into JSON."""
    name = path.name.encode("utf-8", "surrogateescape").decode("utf-8", "replace")
    return _PART.sub("", name.removesuffix(".gguf"))


def is_later_part(path: Path) -> bool:
    """Whether the file is a part of a split model that the first part stands for."""
    part = _PART.search(path.stem)
    return part is not None and int(part[1]) != 1


def model_name(stem: str, title: str | None) -> str:
    """Return the model's name: the file's without quantization, or ``general.name`` where that says nothing.

    ``Qwen-7B-Chat.Q4_0`` is ``Qwen-7B-Chat``; names are looked up without regard to case.
    """
    name = _QUANTIZATION.sub("", stem)
    if _NAMELESS.fullmatch(name) and title:
        name = re.sub(r"[^\w.]+", "-", title, flags=re.ASCII).strip("-.").lower()[:100] or name
    return name or stem


def named_quantization(stem: str) -> str | None:
    """Return the quantization a file's name ends with, in capitals."""
    found = _QUANTIZATION.search(stem)
    return None if found is None else _WIDE_FLOATS.get(found[1].upper(), found[1].upper())


def mix_of_file_type(value: object) -> str | None:
    """Return the mix that ``general.file_type`` states."""
    return _MIXES.get(value) if isinstance(value, int) else None


def by_preference(files: Sequence[ModelFile]) -> list[ModelFile]:
    """Return a model's files, that to load by default first: the smallest of 4 bits a weight or more."""

    def rank(file: ModelFile) -> tuple[int, int]:
        digit = re.search(r"\d+", file.quantization or "")
        fine = digit is not None and int(digit[0]) >= 4
        return (0, file.size) if fine else (1, -file.size)

    return sorted(files, key=rank)
