"""`llmcore run`: one prompt, or a conversation, in the terminal."""

# ruff: noqa: PLC0415 - commands import what they need when they run, so that help is instant

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from llmcore.cli._conversation import Session, converse
from llmcore.cli._terminal import decoded, has_piped_input, read_input
from llmcore.device_options import gpu_layers_option, tell_where
from llmcore.errors import InvalidArgumentError
from llmcore.model_options import (
    EMBEDDED,
    draft_model_option,
    kv_cache_type_option,
    model_path,
    prompt_lookup_option,
)

if TYPE_CHECKING:
    from llmcore.structured_output import StructuredOutput

# Options that are `LLM`'s; the rest are `SamplingParams`'.
_LOADING = (
    *("device", "gpu_layers", "threads", "n_ctx", "quantization", "mmap"),
    *("kv_cache_type", "draft_model", "prompt_lookup"),
)
_INTERRUPTED = 130  # what a shell reports for Ctrl-C


def _read_arguments(arguments: tuple[str, ...], interactive: bool) -> tuple[Path | None, str | None]:
    """The model (None: the embedded one) and the prompt, from standard input where none is given."""
    if len(arguments) > 2:
        raise click.UsageError("Expected [MODEL] PROMPT; put a prompt of several words in quotes.")
    if len(arguments) == 2:
        model, prompt = model_path(arguments[0]), arguments[1]
        _check_readable(model)
        return model, read_input("run") if prompt == "-" else prompt
    only_model = bool(arguments) and (interactive or _is_model(arguments[0]))
    named = model_path(arguments[0]) if only_model else None
    if named is not None:
        _check_readable(named)
    if interactive:
        return named, None
    if arguments and not only_model and arguments[0] != "-":
        return None, arguments[0]
    if not has_piped_input():
        raise click.UsageError("Missing argument 'PROMPT'.")
    return named, read_input("run")


def _is_model(argument: str) -> bool:
    """Whether an argument by itself is the model: by its name, or by what is in the file of that name.

    A sentence may end in such a name; a missing file whose name has a space needs its folder before it.
    """
    a_name = os.sep in argument or len(argument.split()) == 1
    if argument == EMBEDDED or (argument.endswith(".gguf") and (a_name or Path(argument).is_file())):
        return True
    try:
        with Path(argument).open("rb") as file:
            return file.read(4) == b"GGUF"
    except (OSError, ValueError):
        return False


def _structured(json_schema: str | None, grammar: Path | None) -> StructuredOutput | None:
    """The form that the options ask for: a schema as JSON or in a file; GBNF, or Lark, in a file."""
    if json_schema is not None and grammar is not None:
        raise click.UsageError("--json-schema and --grammar exclude each other.")
    from llmcore.structured_output import StructuredOutput

    if json_schema is not None:
        is_json = json_schema.lstrip().startswith("{")
        return StructuredOutput("json_schema", json_schema if is_json else _read_text(Path(json_schema)))
    if grammar is None:
        return None
    text = _read_text(grammar)
    is_gbnf = grammar.suffix != ".lark" and (grammar.suffix == ".gbnf" or "::=" in text)
    return StructuredOutput("gbnf" if is_gbnf else "lark", text)


def _read_text(path: Path) -> str:
    return decoded(path.read_bytes(), "run", path).replace("\r\n", "\n").replace("\r", "\n")


def _check_readable(model: Path) -> None:
    try:
        with model.open("rb"):
            pass
    except OSError as error:
        raise InvalidArgumentError(f"cannot read '{model}': {error.strerror}") from error


@click.command(short_help="Answer a prompt in the terminal.")
@click.argument("arguments", nargs=-1, metavar="[MODEL] PROMPT")
@click.option("-i", "--interactive", is_flag=True, help="Hold a conversation.")
@click.option("--raw", is_flag=True, help="Continue the prompt as plain text, without the chat template.")
@click.option("--system", help="A system message for the chat template.")
@click.option(
    "-n", "--max-tokens", type=int, default=512, show_default=True, help="-1: as many as the context holds."
)
@click.option(
    "--temperature", type=float, default=0.7, show_default=True, help="0 takes the likeliest token."
)
@click.option("--top-k", type=int, default=0, show_default=True, help="0 is off.")
@click.option("--top-p", type=float, default=1.0, show_default=True)
@click.option("--min-p", type=float, default=0.0, show_default=True)
@click.option("--repetition-penalty", type=float, default=1.0, show_default=True)
@click.option("--seed", type=int, help="The same seed gives the same text.")
@click.option("--stop", multiple=True, help="A text that ends the answer; may be repeated.")
@click.option("--json-schema", metavar="FILE|JSON", help="The answer is JSON that this schema allows.")
@click.option(
    "--grammar",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    metavar="FILE",
    help="The answer has the form of this grammar, GBNF or Lark.",
)
@click.option("--ignore-eos", is_flag=True, help="Go on after the model's end token.")
@click.option("--n-ctx", type=int, help="Context in tokens; by default the model's.")
@kv_cache_type_option
@click.option("--quantization", metavar="TYPE", help="Convert wider weights to this type while loading.")
@click.option("--lora", metavar="PATH[:SCALE]", help="A LoRA adapter of the model, as a GGUF file.")
@draft_model_option
@prompt_lookup_option
@click.option("-t", "--threads", type=int, help="By default one a processor.")
@click.option("--device", type=click.Choice(["auto", "cpu", "cuda"]), default="auto", show_default=True)
@gpu_layers_option
@click.option("--mmap", is_flag=True, help="Leave the weights in the file's pages, which processes share.")
@click.option("--explain", is_flag=True, help="Print the kernels that ran, and why these.")
@click.option("-q", "--quiet", is_flag=True, help="No statistics.")
def command(
    *,
    arguments: tuple[str, ...],
    interactive: bool,
    raw: bool,
    system: str | None,
    max_tokens: int,
    json_schema: str | None,
    grammar: Path | None,
    lora: str | None,
    explain: bool,
    quiet: bool,
    **others: Any,
) -> None:
    """Answer PROMPT with MODEL, a GGUF file, or with the embedded model if none or "default" is named.

    Without PROMPT, or with "-", it is read from standard input. The answer goes to standard output, speed to
    standard error.
    """
    if raw and system:
        raise click.UsageError("--system needs the chat template that --raw leaves out.")
    structured = _structured(json_schema, grammar)
    model, prompt = _read_arguments(arguments, interactive)

    from llmcore import LLM, SamplingParams
    from llmcore.lora import parse_lora

    adapters = [] if lora is None else [parse_lora(lora)]
    loading = {name: others.pop(name) for name in _LOADING}
    limit = None if max_tokens == -1 else max_tokens
    params = SamplingParams(max_tokens=limit, structured=structured, **others)
    messages = [{"role": "system", "content": system}] if system else []
    with LLM(model, max_batch=1, lora=adapters, **loading) as llm:
        if system and llm.tokenizer.chat_template is None:
            raise InvalidArgumentError(
                "[run] --system; got a model without a chat template; expected one that has it"
            )
        tell_where(llm.model_info)
        session = Session(llm, params, lora=adapters[0].name if adapters else None, raw=raw, quiet=quiet)
        try:
            if interactive:
                converse(session, messages)
            else:
                assert prompt is not None
                session.answer([*messages, {"role": "user", "content": prompt}])
        except KeyboardInterrupt:
            sys.exit(_INTERRUPTED)
        finally:
            if explain:
                click.echo(llm.explain(), err=True)
