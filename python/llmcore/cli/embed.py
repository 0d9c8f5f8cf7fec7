"""`llmcore embed`: texts to vectors."""

# ruff: noqa: PLC0415 - commands import what they need when they run, so that help is instant

import json
from pathlib import Path
from typing import Any

import click

from llmcore.cli._terminal import has_piped_input, read_input
from llmcore.device_options import gpu_layers_option, tell_where
from llmcore.model_options import ModelFile


@click.command(short_help="Make vectors of texts.")
@click.argument("model", metavar="MODEL", type=ModelFile(exists=True))
@click.argument("texts", metavar="[TEXT]...", nargs=-1)
@click.option(
    "--pooling",
    type=click.Choice(["mean", "cls", "last"]),
    help="What is made of the tokens' states; by default what the model's file says.",
)
@click.option("--no-normalize", is_flag=True, help="Leave the vectors their own length.")
@click.option("--similarity", is_flag=True, help="Print the texts' cosine similarities instead.")
@click.option("--n-ctx", type=int, help="Context in tokens; by default the model's.")
@click.option("--quantization", metavar="TYPE", help="Convert wider weights to this type while loading.")
@click.option("-t", "--threads", type=int, help="By default one a processor.")
@click.option("--device", type=click.Choice(["auto", "cpu", "cuda"]), default="auto", show_default=True)
@gpu_layers_option
def command(
    *,
    model: Path,
    texts: tuple[str, ...],
    pooling: Any,
    no_normalize: bool,
    similarity: bool,
    n_ctx: int | None,
    quantization: str | None,
    threads: int | None,
    device: str,
    gpu_layers: str,
) -> None:
    """Print a vector for each TEXT, a JSON array a line, made by MODEL, a GGUF file or "default".

    Without TEXT, each line of standard input is one.
    """
    if not texts:
        if not has_piped_input():
            raise click.UsageError("Missing argument 'TEXT'.")
        texts = tuple(line for line in read_input("embed").splitlines() if line)

    from llmcore import LLM
    from llmcore.embeddings import scaled_to_unit

    with LLM(
        model,
        device=device,
        gpu_layers=gpu_layers,
        threads=threads,
        n_ctx=n_ctx,
        quantization=quantization,
    ) as llm:
        tell_where(llm.model_info)
        vectors = llm.embed(texts, normalize=not no_normalize, pooling=pooling)
    if similarity:
        units = scaled_to_unit(vectors)
        for row in units @ units.T:
            click.echo("  ".join(f"{value:6.3f}" for value in row))
        return
    for vector in vectors:
        click.echo(json.dumps([float(f"{value:.8g}") for value in vector]))
