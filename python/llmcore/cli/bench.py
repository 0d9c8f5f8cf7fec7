"""`llmcore bench`: prompt and generation speed through the engine that serves."""

# ruff: noqa: PLC0415 - commands import what they need when they run, so that help is instant

import json
from pathlib import Path
from typing import Any

import click

from llmcore.cli._terminal import console, table
from llmcore.device_options import gpu_layers_option
from llmcore.model_options import ModelFile


def _show(outcome: dict[str, Any]) -> None:
    title = f"{Path(outcome['model']).name}, {outcome['device']}, {outcome['threads']} threads"
    shown = table("test", "tokens", "batch", "depth", "tokens/s", "samples", "weights GB/s", title=title)
    for result in outcome["results"]:
        weights = "" if result["weight_gb_s"] is None else f"{result['weight_gb_s']:.1f}"
        samples = " ".join(f"{sample:.1f}" for sample in result["samples"])
        tokens = result["n_prompt"] or result["n_gen"]
        shown.add_row(
            result["test"], str(tokens), str(result["batch"]), str(result["depth"]),
            f"{result['tps']:.2f}", samples, weights,
        )  # fmt: skip
    console().print(shown)


@click.command(short_help="Measure prompt and generation speed.")
@click.argument("model", type=ModelFile())
@click.option(
    "-p",
    "n_prompt",
    type=click.IntRange(0),
    help="Prompt tokens; 0: skip.  [default: 512, or what the model's context holds]",
)
@click.option(
    "-n", "n_gen", type=click.IntRange(0), default=32, show_default=True, help="Decode steps; 0: skip."
)
@click.option(
    "-b", "batch", type=click.IntRange(1), default=1, show_default=True, help="Sequences that run at once."
)
@click.option(
    "-d", "depth", type=click.IntRange(0), default=0, show_default=True, help="Tokens cached before decoding."
)
@click.option(
    "-r",
    "repetitions",
    type=click.IntRange(1),
    default=3,
    show_default=True,
    help="Samples; the median counts.",
)
@click.option("-t", "threads", type=click.IntRange(0), default=0, help="Threads; by default one a processor.")
@click.option("--device", type=click.Choice(["auto", "cpu", "cuda"]), default="auto", show_default=True)
@gpu_layers_option
@click.option("--mmap", is_flag=True, help="Leave the weights in the file's pages.")
@click.option("--explain", is_flag=True, help="Print the kernels that ran, and why these.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def command(
    *,
    model: Path,
    n_prompt: int | None,
    threads: int,
    device: str,
    gpu_layers: str,
    mmap: bool,
    explain: bool,
    as_json: bool,
    **what: int,
) -> None:
    """Measure how fast MODEL, a GGUF file or "default", reads prompts and generates.

    Prefill counts from submission to the first token. Decode counts the steps after the last sequence's
    first token, with all sequences running.
    """

    from llmcore.tools.speed import fitting_options, measure

    def report(line: str) -> None:
        click.echo(line, err=True)

    outcome = measure(
        model,
        fitting_options(model, n_prompt, **what),
        threads=threads,
        device=device,
        gpu_layers=gpu_layers,
        report=report,
        mmap=mmap,
        explains=explain,
    )
    if as_json:
        click.echo(json.dumps(outcome))
    else:
        _show(outcome)
