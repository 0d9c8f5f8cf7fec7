"""`llmcore inspect`: what a GGUF file holds."""

# ruff: noqa: PLC0415 - commands import what they need when they run, so that help is instant

import json
import math
from pathlib import Path
from typing import Any

import click

from llmcore.cli._terminal import console, table
from llmcore.model_options import ModelFile

_LONGEST_VALUE = 100


def describe(path: Path) -> dict[str, Any]:
    """Everything about a file but its weights. Raises GGUFError if it is damaged or no GGUF file."""
    from llmcore import _core

    file = _core.GGUFFile(path)
    tensors = [
        {
            "name": tensor.name,
            "type": tensor.type,
            "shape": list(tensor.shape),
            "parameters": math.prod(tensor.shape),
            "bytes": tensor.n_bytes,
        }
        for tensor in file.tensors
    ]
    types: dict[str, dict[str, int]] = {}
    for tensor in tensors:
        row = types.setdefault(tensor["type"], {"tensors": 0, "parameters": 0, "bytes": 0})
        row["tensors"] += 1
        row["parameters"] += tensor["parameters"]
        row["bytes"] += tensor["bytes"]
    parameters = sum(row["parameters"] for row in types.values())
    weight_bytes = sum(row["bytes"] for row in types.values())
    return {
        "file": str(path),
        "parts": len(file.paths),
        "version": file.version,
        "bytes": file.file_bytes,
        "architecture": file.get("general.architecture"),
        "name": file.get("general.name"),
        "parameters": parameters,
        "weight_bytes": weight_bytes,
        "bits_per_weight": round(8 * weight_bytes / parameters, 3) if parameters else None,
        "types": dict(sorted(types.items(), key=lambda item: -item[1]["bytes"])),
        "metadata": {key: _plain(value) for key, value in file.metadata.items()},
        "tensors": tensors,
    }


def _plain(value: Any) -> Any:
    """A value that JSON can hold; arrays are told by their length and first elements, for vocabularies are
    long.
    """
    if isinstance(value, str):
        return value.encode("utf-8", "surrogateescape").decode("utf-8", "replace")
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    if isinstance(value, bool | int | float):
        return value
    first = value[:8] if isinstance(value, list) else value[:8].tolist()
    return {"length": len(value), "first": [_plain(element) for element in first]}


def _count(parameters: int) -> str:
    """A number of parameters as people name models by it: 292.8 K, 5.5 M, 7.24 B."""
    for unit, size in (("B", 1e9), ("M", 1e6), ("K", 1e3)):
        # What would round to 1000 of a unit is one of the next.
        if parameters >= 0.9995 * size:
            return f"{parameters / size:.4g} {unit}"
    return str(parameters)


def _show(summary: dict[str, Any], every_tensor: bool) -> None:
    from rich.filesize import decimal
    from rich.markup import escape

    output = console()
    bits = summary["bits_per_weight"]
    output.print(
        f"[bold]{escape(summary['file'])}[/bold]: GGUF v{summary['version']}, {decimal(summary['bytes'])}"
    )
    output.print(
        f"{escape(str(summary['architecture']))}, {_count(summary['parameters'])} parameters"
        + (f", {bits:.2f} bits a weight" if bits else "")
    )
    metadata = table("key", "value", title="Metadata", left=True)
    for key, value in summary["metadata"].items():
        text = f"[{value['length']}] {value['first']}" if isinstance(value, dict) else str(value)
        text = text.replace("\n", "\\n")
        metadata.add_row(
            escape(key), escape(text if len(text) <= _LONGEST_VALUE else text[:_LONGEST_VALUE] + "…")
        )
    output.print(metadata)
    mix = table("type", "tensors", "parameters", "size", "share", title="Quantization mix", left=True)
    for name, row in summary["types"].items():
        share = row["bytes"] / summary["weight_bytes"]
        mix.add_row(
            name, str(row["tensors"]), f"{row['parameters']:,}", decimal(row["bytes"]), f"{share:.1%}"
        )
    output.print(mix)
    if every_tensor:
        tensors = table("tensor", "type", "shape", "size", title="Tensors (shape in GGUF order)", left=True)
        for tensor in summary["tensors"]:
            shape = " × ".join(map(str, tensor["shape"]))
            tensors.add_row(escape(_plain(tensor["name"])), tensor["type"], shape, decimal(tensor["bytes"]))
        output.print(tensors)


@click.command(short_help="Show what a GGUF file holds.")
@click.option("--tensors", "every_tensor", is_flag=True, help="List every tensor.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object, tensors included.")
@click.argument("file", type=ModelFile())
def command(file: Path, every_tensor: bool, as_json: bool) -> None:
    """Show the metadata of FILE, a GGUF file or "default", its tensors by type and its quantization mix."""
    summary = describe(file)
    if as_json:
        click.echo(json.dumps(summary, ensure_ascii=False, indent=2))
    else:
        _show(summary, every_tensor)
