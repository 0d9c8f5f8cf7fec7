"""The C++ layers look one way only, and kernel files see nothing but POD headers."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

# Each directory of csrc with those it may include from, itself left out.
ALLOWED: dict[str, set[str]] = {
    "base": set(),
    "quant": {"base"},
    "gguf": {"base", "quant"},
    "kernels": {"base", "quant"},
    "backend": {"base", "quant", "kernels"},
    "cuda": {"base", "quant", "kernels", "backend"},
    "cache": {"base", "quant", "kernels", "backend"},
    "tokenizer": {"base", "gguf"},
    "sampling": {"base", "kernels", "tokenizer"},
    "model": {"base", "gguf", "quant", "kernels", "backend", "cache"},
    "engine": {"base", "gguf", "quant", "kernels", "backend", "cache", "model", "sampling", "tokenizer"},
    "bindings": {
        *("base", "gguf", "quant", "kernels", "backend", "cache"),
        *("model", "sampling", "tokenizer", "engine"),
    },
}
INCLUDE = re.compile(r'^#include ([<"])([^">]+)[">]', re.MULTILINE)
POD_SYSTEM_HEADERS = {"stddef.h", "stdint.h", "string.h", "math.h", "float.h", "immintrin.h", "arm_neon.h"}
POD_HEADERS = {
    "base/isa.h",
    "quant/formats.h",
    "quant/half.h",
    "quant/block_expand.h",
    "quant/block_expand_grid.h",
    "quant/grids.h",
    "kernels/kernel.h",
    "kernels/activation_layout.h",
    "kernels/peak.h",
}


def includes(path: Path) -> list[tuple[str, str]]:
    return INCLUDE.findall(path.read_text(encoding="utf-8"))


@pytest.mark.parametrize("layer", ALLOWED)
def test_layer_includes_only_lower_layers(repository: Path, layer: str) -> None:
    csrc = repository / "csrc"
    sources = [path for path in (csrc / layer).rglob("*") if path.suffix in {".h", ".cpp", ".cu"}]
    assert sources
    for path in sources:
        for kind, name in includes(path):
            if kind == '"' and "/" in name:
                other = name.split("/", 1)[0]
                assert other == layer or other in ALLOWED[layer], f"{path.relative_to(csrc)} includes {name}"


def test_every_directory_is_a_layer(repository: Path) -> None:
    found = {path.name for path in (repository / "csrc").iterdir() if path.is_dir()}
    assert found == set(ALLOWED)


def test_kernel_files_include_only_pod_headers(repository: Path) -> None:
    folder = repository / "csrc" / "kernels" / "cpu"
    for path in folder.iterdir():
        for kind, name in includes(path):
            if kind == "<":
                assert name in POD_SYSTEM_HEADERS, f"{path.name} includes <{name}>"
            else:
                beside = name.removeprefix("kernels/cpu/")
                assert name in POD_HEADERS or (folder / beside).is_file(), f"{path.name} includes {name}"


def test_intrinsics_live_with_the_kernels(repository: Path) -> None:
    csrc = repository / "csrc"
    for path in csrc.rglob("*"):
        if path.suffix in {".h", ".cpp"} and path.parent != csrc / "kernels" / "cpu":
            text = path.read_text(encoding="utf-8")
            assert not re.search(r"\b_mm(256|512)_|arm_neon\.h", text), path
