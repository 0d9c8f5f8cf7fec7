"""`llmcore synth`: a model with random weights, of a published model's shape."""

# ruff: noqa: PLC0415 - commands import what they need when they run, so that help is instant

from pathlib import Path

import click


@click.command(short_help="Write a model with random weights.")
@click.option(
    "--shape", required=True, metavar="NAME", help="A published model's shape; `--shape list` shows them."
)
@click.option(
    "--quant",
    default="Q4_0",
    show_default=True,
    metavar="TYPE",
    help="A tensor type or a mix such as Q4_K_M.",
)
@click.option("--layers", type=click.IntRange(min=1), help="Keep only this many layers.")
@click.option(
    "--ctx",
    "n_ctx",
    type=click.IntRange(1, (1 << 31) - 1),
    default=8192,
    show_default=True,
    help="Context length to state; an encoder's is at most the published one.",
)
@click.option(
    "--seed",
    type=click.IntRange(min=0),
    default=1,
    show_default=True,
    help="The same seed gives the same file.",
)
@click.option(
    "--vocab",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="Copy the vocabulary of this GGUF file instead of making one up.",
)
@click.option("--force", is_flag=True, help="Overwrite OUT.")
@click.argument("out", type=click.Path(dir_okay=False, path_type=Path), required=False)
def command(
    *,
    shape: str,
    quant: str,
    layers: int | None,
    n_ctx: int,
    seed: int,
    vocab: Path | None,
    force: bool,
    out: Path | None,
) -> None:
    """Write OUT, a GGUF file with random weights of a published model's shape.

    It runs at the real model's speed and needs no download; what it says means nothing.
    """
    from llmcore.tools.encoder_shapes import ALL_SHAPES

    if shape == "list":
        click.echo("\n".join(ALL_SHAPES))
        return
    if out is None:
        raise click.UsageError("Missing argument 'OUT'.")
    if out.exists() and not force:
        raise click.UsageError(f"{out} exists; --force overwrites it")

    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn

    from llmcore.tools.quant_mix import base_type
    from llmcore.tools.synthesize import find_shape, synthesize
    from llmcore.tools.synthetic_vocab import vocabulary_of

    quant = quant.upper()
    wanted = find_shape(shape, layers)
    base_type(quant)  # refuses an unknown name before anything is drawn
    vocabulary = None if vocab is None else vocabulary_of(vocab)
    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True)) as progress:
        task = progress.add_task(out.name, total=None)
        written = synthesize(
            out, wanted, quant, name=shape, n_ctx=n_ctx, seed=seed, vocabulary=vocabulary,
            progress=lambda done, total: progress.update(task, completed=done, total=total),
        )  # fmt: skip
    click.echo(
        f"{out}: {shape}, {wanted.n_layers} layers, {quant}, {written / 1e6:.1f} MB of weights",
        err=True,
    )
