"""What commands that load a model share about where it runs."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from llmcore.engine_info import ModelInfo

# Also by the names that llama.cpp has for it.
gpu_layers_option = click.option(
    "--gpu-layers",
    "--n-gpu-layers",
    "-ngl",
    "gpu_layers",
    default="auto",
    show_default=True,
    metavar="N|auto|all",
    help="Layers that a GPU gets, the last ones; the CPU runs the others.",
)


def tell_where(info: ModelInfo) -> None:
    """Tells, on standard error, why a GPU was passed over and what it got."""
    if info.device_note:
        click.echo(info.device_note, err=True)
    if info.gpu_layers:
        click.echo(info.placement, err=True)
