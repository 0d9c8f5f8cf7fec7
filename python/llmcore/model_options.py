"""How commands take a model on the command line, and options of loading it that several of them have."""

from __future__ import annotations

import os
from pathlib import Path

import click

from llmcore.default_model import NAME as EMBEDDED
from llmcore.default_model import locate

__all__ = [
    "EMBEDDED",
    "ModelFile",
    "draft_model_option",
    "kv_cache_type_option",
    "model_path",
    "prompt_lookup_option",
]


class ModelFile(click.Path):
    """A GGUF file, or "default" for the embedded model unless a file of that name exists."""

    name = "file"

    def __init__(self, *, exists: bool = False) -> None:
        super().__init__(exists=exists, dir_okay=False, path_type=Path)

    def convert(
        self, value: str | os.PathLike[str], param: click.Parameter | None, ctx: click.Context | None
    ) -> str | bytes | os.PathLike[str]:
        return super().convert(model_path(value), param, ctx)


def model_path(value: str | os.PathLike[str]) -> Path:
    """The file that a user's word for a model stands for; whether it exists is not looked at."""
    return locate(Path(value))


kv_cache_type_option = click.option(
    "--kv-cache-type",
    default="f16",
    show_default=True,
    type=click.Choice(["f32", "f16", "bf16", "q8_0", "q4_0"]),
    help="Format of cached keys and values; smaller ones hold more context and round more.",
)

prompt_lookup_option = click.option(
    "--prompt-lookup", type=click.IntRange(0, 32), default=0, help="Tokens to guess from what came before."
)

draft_model_option = click.option(
    "--draft-model",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="GGUF file of a small model with the same vocabulary, which guesses tokens for the large one.",
)
