"""`llmcore run`: one prompt, or a conversation, in the terminal."""

# ruff: noqa: PLC0415 - commands import what they need when they run, so that help is instant

from __future__ import annotations

import sys
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import click

from llmcore.device_options import gpu_layers_option, tell_where

if TYPE_CHECKING:
    from collections.abc import Generator

    from llmcore import LLM, Delta, SamplingParams

_INTERRUPTED = 130  # what a shell reports for Ctrl-C
_QUIT_WORDS = ("/exit", "/quit")


class _Session:
    """Asks the model, writes its text to standard output as it comes and the statistics to standard error."""

    def __init__(self, llm: LLM, params: SamplingParams, *, lora: str | None, raw: bool, quiet: bool) -> None:
        self._llm = llm
        self._lora = lora
        self._params = params
        self._raw = raw or llm.tokenizer.chat_template is None
        self._quiet = quiet

    def answer(self, messages: list[dict[str, str]]) -> str:
        """The text of the answer, whole or as far as it came. Ctrl-C ends it by KeyboardInterrupt."""
        if self._raw:
            prompt = self._llm.tokenize(messages[-1]["content"])
        else:
            prompt = self._llm.tokenizer.encode_chat(messages)
        pieces = []
        stream = cast("Generator[Delta, None, None]", self._llm.stream(prompt, self._params, lora=self._lora))
        try:
            with closing(stream):
                for delta in stream:
                    pieces.append(delta.text)
                    click.echo(delta.text, nl=False)
                    if delta.finish_reason is not None:
                        self._report(delta)
        finally:
            click.echo()
        return "".join(pieces)

    def _report(self, delta: Delta) -> None:
        if self._quiet or delta.usage is None or delta.timings is None:
            return
        n_tokens, timings = delta.usage.completion_tokens, delta.timings
        seconds = timings.total - timings.first_token
        speed = f"{(n_tokens - 1) / seconds:.1f} tokens/s" if n_tokens > 1 and seconds > 0 else "one token"
        click.echo(
            f"\n[{delta.usage.prompt_tokens} prompt + {n_tokens} tokens; first after "
            f"{1000 * timings.first_token:.0f} ms, then {speed}; {delta.finish_reason}]",
            err=True,
            nl=False,
        )


def _read_arguments(arguments: tuple[str, ...], interactive: bool) -> tuple[Path | None, str | None]:
    """The model (None: the embedded one) and the prompt, from standard input where none is given."""
    if len(arguments) > 2:
        raise click.UsageError("Expected [MODEL] PROMPT; put a prompt of several words in quotes.")
    if len(arguments) == 2:
        model, prompt = Path(arguments[0]), arguments[1]
        return model, sys.stdin.read() if prompt == "-" else prompt
    only_model = bool(arguments) and (interactive or _is_model_file(arguments[0]))
    model_path = Path(arguments[0]) if only_model else None
    if interactive:
        return model_path, None
    if arguments and not only_model and arguments[0] != "-":
        return None, arguments[0]
    if sys.stdin.isatty():
        raise click.UsageError("Missing argument 'PROMPT'.")
    return model_path, sys.stdin.read()


def _is_model_file(argument: str) -> bool:
    return argument.endswith(".gguf") and Path(argument).is_file()


def _converse(session: _Session, system: list[dict[str, str]], first: str | None) -> None:
    """Turns until the end of input; Ctrl-C stops an answer, or the conversation where there is none."""
    click.echo(f"{' or '.join(_QUIT_WORDS)} ends the conversation, Ctrl-C an answer.", err=True)
    messages = list(system)
    pending = first
    while True:
        try:
            text = pending if pending is not None else click.prompt(">", prompt_suffix=" ", err=True)
        except (click.Abort, EOFError):
            click.echo(err=True)
            return
        pending = None
        if text.strip() in _QUIT_WORDS:
            return
        messages.append({"role": "user", "content": text})
        try:
            messages.append({"role": "assistant", "content": session.answer(messages)})
        except KeyboardInterrupt:
            messages.pop()


@click.command(short_help="Answer a prompt in the terminal.")
@click.argument("arguments", nargs=-1, metavar="[MODEL] PROMPT")
@click.option("-i", "--interactive", is_flag=True, help="Hold a conversation.")
@click.option("--raw", is_flag=True, help="Continue the prompt as plain text, without the chat template.")
@click.option("--system", help="A system message for the chat template.")
@click.option("-n", "--max-tokens", type=int, default=512, show_default=True)
@click.option(
    "--temperature", type=float, default=0.7, show_default=True, help="0 takes the likeliest token."
)
@click.option("--top-k", type=int, default=0, show_default=True, help="0 is off.")
@click.option("--top-p", type=float, default=1.0, show_default=True)
@click.option("--min-p", type=float, default=0.0, show_default=True)
@click.option("--repetition-penalty", type=float, default=1.0, show_default=True)
@click.option("--seed", type=int, help="The same seed gives the same text.")
@click.option("--stop", multiple=True, help="A text that ends the answer; may be repeated.")
@click.option("--ignore-eos", is_flag=True, help="Go on after the model's end token.")
@click.option("--n-ctx", type=int, help="Context in tokens; by default the model's.")
@click.option("--quantization", metavar="TYPE", help="Convert wider weights to this type while loading.")
@click.option("--lora", metavar="PATH[:SCALE]", help="A LoRA adapter of the model, as a GGUF file.")
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
    n_ctx: int | None,
    quantization: str | None,
    lora: str | None,
    threads: int | None,
    device: str,
    gpu_layers: str,
    mmap: bool,
    explain: bool,
    quiet: bool,
    **sampling: Any,
) -> None:
    """Answer PROMPT with MODEL, a GGUF file, or with the embedded model if none is named.

    Without PROMPT, or with "-", it is read from standard input. The answer goes to standard output, speed to
    standard error.
    """
    model, prompt = _read_arguments(arguments, interactive)

    from llmcore import LLM, SamplingParams
    from llmcore.lora import parse_lora

    adapters = [] if lora is None else [parse_lora(lora)]
    params = SamplingParams(**sampling)
    messages = [{"role": "system", "content": system}] if system else []
    with LLM(
        model,
        device=device,
        gpu_layers=gpu_layers,
        threads=threads,
        n_ctx=n_ctx,
        max_batch=1,
        lora=adapters,
        quantization=quantization,
        mmap=mmap,
    ) as llm:
        tell_where(llm.model_info)
        session = _Session(llm, params, lora=adapters[0].name if adapters else None, raw=raw, quiet=quiet)
        try:
            if interactive:
                _converse(session, messages, prompt)
            else:
                assert prompt is not None
                session.answer([*messages, {"role": "user", "content": prompt}])
        except KeyboardInterrupt:
            sys.exit(_INTERRUPTED)
        finally:
            if explain:
                click.echo(llm.explain(), err=True)
