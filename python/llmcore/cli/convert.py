"""`llmcore convert`: a GGUF file from a Hugging Face model folder."""

# ruff: noqa: PLC0415 - commands import what they need when they run, so that help is instant

from pathlib import Path

import click


@click.command(short_help="Convert a Hugging Face model folder to GGUF.")
@click.argument("folder", metavar="DIR", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.argument("out", metavar="OUT.gguf", type=click.Path(dir_okay=False, path_type=Path))
@click.option(
    "--type",
    "type_name",
    type=click.Choice(["auto", "f32", "f16", "bf16"]),
    default="auto",
    show_default=True,
    help="Type of the weights; auto keeps the checkpoint's.",
)
@click.option(
    "--base",
    type=click.Path(exists=True, path_type=Path),
    help="Of an adapter: the model it is for, a GGUF file or a folder with config.json.",
)
@click.option("--force", is_flag=True, help="Overwrite OUT.gguf if it is there.")
def command(*, folder: Path, out: Path, type_name: str, base: Path | None, force: bool) -> None:
    """Convert the Hugging Face model in DIR into OUT.gguf: weights, tokenizer and chat template.

    DIR has config.json, *.safetensors and the tokenizer's files. Nothing in it is executed; pickled weights
    (*.bin) are refused. `llmcore quantize` makes the result smaller.

    A folder with adapter_config.json is a LoRA adapter; --base names its model.
    """
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn

    from llmcore.tools.convert import convert
    from llmcore.tools.convert.lora import convert_adapter, is_adapter_folder

    if is_adapter_folder(folder):
        if base is None:
            raise click.UsageError(f"{folder} is a LoRA adapter: name its model with --base.")
        made = convert_adapter(folder, out, base=base, type_name=type_name, overwrite=force)
        click.echo(
            f"{out}: a LoRA adapter of {made.architecture}, {made.n_matrices} matrices, rank {made.rank}, "
            f"{made.n_bytes / 1e6:.1f} MB",
            err=True,
        )
        return
    if base is not None:
        raise click.UsageError("--base is for LoRA adapters.")

    def warn(line: str) -> None:
        click.echo(f"warning: {line}", err=True)

    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TimeRemainingColumn())
    console = Console(stderr=True)
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as progress:
        task = progress.add_task(out.name, total=None)
        done = convert(
            folder, out, type_name=type_name, overwrite=force, warn=warn,
            progress=lambda written, total: progress.update(task, completed=written, total=total),
        )  # fmt: skip
    click.echo(
        f"{out}: {done.architecture}, {done.type}, {done.n_tensors} tensors, {done.n_bytes / 1e6:.1f} MB of "
        f"weights, {done.n_tokens} tokens",
        err=True,
    )
