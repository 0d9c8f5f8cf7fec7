"""`llmcore quantize`: a model written again with narrower tensors."""

# ruff: noqa: PLC0415 - commands import what they need when they run, so that help is instant

import os
from pathlib import Path
from typing import TYPE_CHECKING

import click

from llmcore.model_options import ModelFile

if TYPE_CHECKING:
    from llmcore.tools.quantize_plan import Change


@click.command(short_help="Write a model with narrower weights.")
@click.argument("source", metavar="IN", type=ModelFile(exists=True))
@click.argument("out", metavar="OUT", type=click.Path(dir_okay=False, path_type=Path))
@click.argument("quant", metavar="TYPE")
@click.option("--threads", type=click.IntRange(min=1), help="Threads to use; one a processor by default.")
@click.option("--output-tensor-type", metavar="TYPE", help="The type of the output head.")
@click.option("--token-embedding-type", metavar="TYPE", help="The type of the token embeddings.")
@click.option("--pure", is_flag=True, help="Give every weight the same type, without exceptions.")
@click.option("--force", is_flag=True, help="Overwrite OUT.")
def command(
    *,
    source: Path,
    out: Path,
    quant: str,
    threads: int | None,
    output_tensor_type: str | None,
    token_embedding_type: str | None,
    pure: bool,
    force: bool,
) -> None:
    """Quantize the GGUF model IN to TYPE (Q4_K_M, Q8_0, ...; a wrong one lists them) and write it to OUT.

    Of a split model name any part; OUT is one file. Tensors only become narrower.
    """
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn

    from llmcore import _core
    from llmcore.tools.quantize import quantize_model
    from llmcore.tools.quantize_plan import Choice, plan

    choice = Choice(quant, pure, output_tensor_type, token_embedding_type)
    file = _core.GGUFFile(source)
    if out.exists() and not force and not any(os.path.samefile(out, part) for part in file.paths):
        raise click.UsageError(f"{out} exists; --force overwrites it")
    changes = plan(file, choice)
    _warn_if_quantized(changes)
    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True)) as progress:
        task = progress.add_task(out.name, total=None)
        quantize_model(
            file, out, choice, changes, threads=threads or int(_core.machine()["processors"]),
            progress=lambda done, total: progress.update(task, completed=done, total=total),
        )  # fmt: skip
    click.echo(
        f"{out}: {choice.quant}, {file.file_bytes / 1e6:.1f} MB -> {out.stat().st_size / 1e6:.1f} MB",
        err=True,
    )


def _warn_if_quantized(changes: "list[Change]") -> None:
    lossy = sorted(
        {
            change.source.name
            for change in changes
            if change.source is not change.target and change.source.name not in ("F32", "F16", "BF16")
        }
    )
    if lossy:
        click.echo(
            f"warning: tensors are already quantized ({', '.join(lossy)}); "
            "quantizing the original model loses less",
            err=True,
        )
