"""`llmcore kernels`: every kernel of this build, and which of them this machine can run."""

# ruff: noqa: PLC0415 - commands import what they need when they run, so that help is instant

import json

import click

from llmcore.cli._terminal import console, table


@click.command(short_help="List the kernels of this build.")
@click.option("--json", "as_json", is_flag=True, help="One JSON array on standard output.")
def command(*, as_json: bool) -> None:
    """List the kernels of this build by name, with what each computes and whether this machine can run it.

    LLMCORE_KERNEL=NAME,… makes a model use the named ones wherever they fit; LLMCORE_ISA sets a ceiling.
    """
    from llmcore import _core

    kernels = _core.kernels()
    if as_json:
        click.echo(json.dumps(kernels))
        return

    shown = table("kernel", "operation", "format", "activations", "instruction set", "usable")
    for kernel in kernels:
        shown.add_row(
            kernel["name"],
            kernel["op"],
            kernel["format"] or "",
            kernel["act_layout"],
            kernel["isa"],
            "yes" if kernel["usable"] else "no",
        )
    console().print(shown)
