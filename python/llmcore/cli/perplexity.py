"""`llmcore perplexity`: how well a model predicts a text, and how far it is from another model."""

# ruff: noqa: PLC0415 - commands import what they need when they run, so that help is instant

import json
import math
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import asdict
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import click

from llmcore.cli._terminal import decoded
from llmcore.device_options import gpu_layers_option
from llmcore.model_options import ModelFile, kv_cache_type_option

if TYPE_CHECKING:
    from llmcore.tools.perplexity import Measurement
    from llmcore.tools.perplexity_statistics import Estimate
    from llmcore.tools.perplexity_windows import WindowPlan


def _read(file: IO[bytes]) -> str:
    return decoded(file.read(), "perplexity", "the text")


def _run(
    model: Path,
    text: str,
    *,
    n_ctx: int | None,
    stride: int | None,
    windows: int | None,
    parse_special: bool,
    save: Path | None,
    kl: Path | None,
    progress: Callable[[int, int, float], None],
    **engine: Any,
) -> dict[str, Any]:
    from llmcore import LLM
    from llmcore.tools import perplexity as tool
    from llmcore.tools.perplexity_reference import ReferenceReader, ReferenceWriter, row_bytes

    with ExitStack() as stack:
        reference = None if kl is None else stack.enter_context(ReferenceReader(kl))
        if reference is not None:
            n_ctx, stride = reference.plan.n_ctx, reference.plan.stride
        n_ctx = n_ctx or tool.default_window(model)
        llm = stack.enter_context(LLM(model, n_ctx=n_ctx, max_batch=1, **engine))
        plan = tool.plan_for(llm, n_ctx, stride)
        tokens = tool.encode_text(llm, plan, text, parse_special=parse_special)
        if reference is not None:
            tokens = tool.check_reference(llm, reference, tokens)
        tokens = tokens[: plan.n_used(len(tokens), windows)]
        plan.windows(tokens)  # refuses a short text before a file is made
        writer = None
        if save is not None:
            n_bytes = row_bytes(llm.model_info.n_vocab) * plan.n_scored(len(tokens))
            writer = stack.enter_context(
                ReferenceWriter(
                    save, model=llm.model_info.name, n_vocab=llm.model_info.n_vocab, plan=plan, tokens=tokens
                )
            )
            click.echo(f"{save}: {n_bytes / 1e6:.1f} MB", err=True)
        found = tool.measure(llm, tokens, plan, save=writer, reference=reference, progress=progress)
        return {
            "model": str(model),
            "reference": None if reference is None else reference.model,
            "plan": plan,
            "measurement": found,
        }


def _report(outcome: dict[str, Any]) -> dict[str, Any]:
    """What --json prints; estimates are {"value", "error"}, and what is no number is null."""
    plan: WindowPlan = outcome["plan"]
    return {
        "model": outcome["model"],
        "reference": outcome["reference"],
        "n_ctx": plan.n_ctx,
        "stride": plan.stride,
        "bos": plan.bos,
        **_plain(asdict(outcome["measurement"])),
    }


def _plain(values: dict[str, Any]) -> dict[str, Any]:
    plain = {}
    for name, value in values.items():
        infinite = isinstance(value, float) and not math.isfinite(value)
        plain[name] = _plain(value) if isinstance(value, dict) else None if infinite else value
    return plain


def _show(outcome: dict[str, Any]) -> None:
    plan: WindowPlan = outcome["plan"]
    found: Measurement = outcome["measurement"]
    scored = "their second halves" if plan.stride is None else f"a stride of {plan.stride}"
    click.echo(f"perplexity {_value(found.perplexity)}")
    click.echo(f"{found.n_scored} tokens scored in {found.n_windows} windows of {plan.n_ctx}, {scored}")
    click.echo(f"{found.tokens_per_second:.1f} tokens/s")
    divergence = found.divergence
    if divergence is None:
        return
    click.echo(f"Against {outcome['reference']!r:.80}:")
    rows = [
        ("reference perplexity", _value(divergence.reference_perplexity)),
        ("perplexity ratio", _value(divergence.perplexity_ratio)),
        ("KL divergence, mean", _value(divergence.kl_mean)),
        ("  median", f"{divergence.kl_median:.6f}"),
        ("  99th percentile", f"{divergence.kl_p99:.6f}"),
        ("  max", f"{divergence.kl_max:.6f}"),
        ("same likeliest token", _value(divergence.same_top, 100, " %")),
        ("right token's change", _value(divergence.right_change, 100, " %")),
        ("  root mean square", f"{100 * divergence.right_change_rms:.4f} %"),
    ]
    for name, shown in rows:
        click.echo(f"{name:<22} {shown}")


def _value(estimate: "Estimate", scale: float = 1.0, unit: str = "") -> str:
    return f"{scale * estimate.value:.6g} ± {scale * estimate.error:.2g}{unit}"


@click.command(short_help="Measure how well a model predicts a text.")
@click.argument("model", type=ModelFile())
@click.argument("text", type=click.File("rb"))
@click.option(
    "--ctx",
    "n_ctx",
    type=click.IntRange(min=3),
    help="Tokens a window; by default 512, or the model's context if that is less.",
)
@click.option(
    "--stride",
    type=click.IntRange(min=1),
    help="Begin a window every so many tokens and score all; by default windows follow each other and their "
    "second halves are scored.",
)
@click.option("--windows", type=click.IntRange(min=1), help="Stop after this many windows.")
@click.option(
    "--parse-special",
    is_flag=True,
    help="Read names of control tokens in the text as the tokens: for texts of your own.",
)
@click.option(
    "--save-logits",
    "save",
    type=click.Path(dir_okay=False, path_type=Path),
    metavar="FILE",
    help="Keep the log-probabilities, 2 bytes a scored token and vocabulary entry.",
)
@click.option(
    "--kl",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    metavar="FILE",
    help="Compare with log-probabilities kept by --save-logits, over the same text and windows.",
)
@click.option("-t", "--threads", type=click.IntRange(min=1), help="By default one a processor.")
@click.option("--device", type=click.Choice(["auto", "cpu", "cuda"]), default="auto", show_default=True)
@gpu_layers_option
@kv_cache_type_option
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def command(*, model: Path, text: IO[bytes], as_json: bool, **options: Any) -> None:
    """Measure the perplexity of MODEL, a GGUF file or "default" for the embedded model, over TEXT, a file or
    "-" for standard input.

    To see what quantization costs, keep the log-probabilities of the full model with --save-logits, then
    compare the quantized one with --kl.
    """
    if options["kl"] is not None and any(options[name] for name in ("n_ctx", "stride", "windows")):
        raise click.UsageError(
            "--kl takes its windows from the file: leave out --ctx, --stride and --windows."
        )

    save: Path | None = options["save"]
    if save is not None and not save.parent.is_dir():
        raise click.UsageError(f"there is no folder '{save.parent}' for --save-logits")

    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True)) as bar:
        task = bar.add_task("perplexity", total=None)

        def progress(done: int, total: int, so_far: float) -> None:
            bar.update(task, completed=done, total=total, description=f"perplexity {so_far:.4f}")

        outcome = _run(model, _read(text), progress=progress, **options)
    if as_json:
        click.echo(json.dumps(_report(outcome)))
    else:
        _show(outcome)
