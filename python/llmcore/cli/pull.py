"""`llmcore pull`: a model from a hub."""

# ruff: noqa: PLC0415 - commands import what they need when they run, so that help is instant

import os
from pathlib import Path

import click


def models_folder() -> Path:
    """Where models are kept unless told otherwise, by the XDG base directory specification."""
    return Path(os.environ.get("XDG_DATA_HOME") or Path.home() / ".local" / "share") / "llmcore" / "models"


@click.command(short_help="Fetch a model from a hub.")
@click.argument("model")
@click.option(
    "--models-dir",
    type=click.Path(file_okay=False, path_type=Path),
    default=models_folder,
    show_default="~/.local/share/llmcore/models",
    help="Where to put it; llmcore serve --models-dir serves what is there.",
)
@click.option(
    "--quantization", default="Q4_K_M", show_default=True, metavar="TYPE", help="Which of its files."
)
@click.option(
    "--hub",
    type=click.Choice(["huggingface", "modelscope"]),
    default="huggingface",
    show_default=True,
    help="Where to fetch it from.",
)
def command(model: str, models_dir: Path, quantization: str, hub: str) -> None:
    """Fetch MODEL: qwen-7b-chat, qwen-14b-chat, gemma-7b, gemma-2b, llama-2-7b-chat, chatglm3-6b, or any
    OWNER/REPOSITORY[:FILE] of GGUF files.

    HF_ENDPOINT (or MODELSCOPE_ENDPOINT) names another hub, HF_TOKEN opens gated models. An interrupted fetch
    goes on where it was; every file is compared with the hub's checksum.
    """
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, Progress, TaskID, TextColumn, TransferSpeedColumn

    from llmcore.tools.hub import open_hub, pull, wanted_model

    wanted, source = wanted_model(model), open_hub(hub)
    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TransferSpeedColumn())
    with Progress(*columns, console=Console(stderr=True)) as bars:
        tasks: dict[str, TaskID] = {}

        def show(file: str, done: int, total: int) -> None:
            if file not in tasks:
                tasks[file] = bars.add_task(file, total=total)
            bars.update(tasks[file], completed=done)

        files = pull(source, wanted, models_dir, quantization, show)
    for file in files:
        click.echo(file)
    click.echo(f"Serve it: llmcore serve {files[0]}", err=True)
