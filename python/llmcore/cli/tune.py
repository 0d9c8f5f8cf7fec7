"""`llmcore tune`: measures this machine's kernels and keeps what was found for the engine to load."""

# ruff: noqa: PLC0415 - commands import what they need when they run, so that help is instant

from pathlib import Path

import click

from llmcore.model_options import ModelFile


def _names(_context: click.Context, _parameter: click.Parameter, value: str) -> tuple[str, ...]:
    return tuple(name.strip() for name in value.split(",") if name.strip())


@click.command(short_help="Measure which kernels are the fastest here.")
@click.option("--model", type=ModelFile(), help="Measure the matrices of this GGUF file.")
@click.option("--formats", default="", callback=_names, metavar="Q4_0,…", help="Only these tensor formats.")
@click.option("--quick", is_flag=True, help="Fewer sizes and shorter samples.")
@click.option(
    "--out", type=click.Path(path_type=Path), help="Write the table here.  [default: the user's cache]"
)
@click.option("-t", "--threads", type=click.IntRange(1, 1024), help="By default one a processor.")
@click.option("--portable", is_flag=True, help="Also the portable kernels, which seldom win.")
def command(
    *,
    model: Path | None,
    formats: tuple[str, ...],
    quick: bool,
    out: Path | None,
    threads: int | None,
    portable: bool,
) -> None:
    """Measure which kernel is the fastest on this machine for each tensor format, size of matrix and number
    of rows, and write a table of them.

    Models that are loaded later use the table (LLMCORE_TUNE=PATH names another one, LLMCORE_TUNE=off none)
    as long as processor and build are the same. Run it while nothing else runs.
    """
    from llmcore import _core, tuning
    from llmcore.tools import tune

    matrices = tune.usual_matrices(formats) if model is None else tune.matrices_of(model)
    if model is not None and formats:
        matrices = [matrix for matrix in matrices if matrix.format in formats]
    table = tune.measure(
        matrices,
        tune.QUICK if quick else tune.FULL,
        threads=threads or int(_core.machine()["processors"]),
        portable=portable,
        report=lambda line: click.echo(line, err=True),
    )
    path = out or tuning.cache_path()
    tuning.save(table, path)
    faster = sum(1 for choice in table.choices if choice.seconds < choice.built_in_seconds)
    click.echo(f"{len(table.choices)} products measured, {faster} with another kernel than built in: {path}")
