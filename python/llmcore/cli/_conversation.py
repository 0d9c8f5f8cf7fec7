"""`llmcore run`'s answers and turns."""

from __future__ import annotations

from contextlib import closing
from typing import TYPE_CHECKING, cast

import click

from llmcore.cli._terminal import read_turn
from llmcore.errors import ContextLengthError, InvalidArgumentError

if TYPE_CHECKING:
    from collections.abc import Generator

    from llmcore import LLM, Delta, SamplingParams

_QUIT_WORDS = ("/exit", "/quit")
_Messages = list[dict[str, str]]


class Session:
    """Asks the model, writes its text to standard output as it comes and the statistics to standard error."""

    def __init__(self, llm: LLM, params: SamplingParams, *, lora: str | None, raw: bool, quiet: bool) -> None:
        self._llm = llm
        self._lora = lora
        self._params = params
        self._quiet = quiet
        self.remembers = not raw and llm.tokenizer.chat_template is not None
        """Whether an answer knows the messages before the last one: a chat template writes them all."""

    def answer(self, messages: _Messages) -> str:
        """The text of the answer, whole or as far as it came. Ctrl-C ends it by KeyboardInterrupt."""
        if self.remembers:
            prompt = self._llm.tokenizer.encode_chat(messages)
        else:
            prompt = self._llm.tokenize(messages[-1]["content"])
        pieces = []
        last = None
        stream = cast("Generator[Delta, None, None]", self._llm.stream(prompt, self._params, lora=self._lora))
        try:
            with closing(stream):
                for delta in stream:
                    pieces.append(delta.text)
                    click.echo(delta.text, nl=False)
                    last = delta
        finally:
            click.echo()
        if last is not None and not self._quiet:
            _report(last)
        return "".join(pieces)


def _report(last: Delta) -> None:
    if last.usage is None or last.timings is None:
        return
    n_tokens, timings = last.usage.completion_tokens, last.timings
    seconds = timings.total - timings.first_token
    speed = f"{(n_tokens - 1) / seconds:.1f} tokens/s" if n_tokens > 1 and seconds > 0 else "one token"
    click.echo(
        f"[{last.usage.prompt_tokens} prompt + {n_tokens} tokens; first after "
        f"{1000 * timings.first_token:.0f} ms, then {speed}; {last.finish_reason}]",
        err=True,
    )


class Conversation:
    """Messages behind a system message; the oldest ones go when the context is full."""

    def __init__(self, session: Session, system: _Messages) -> None:
        self._session = session
        self._system = system
        self._turns: _Messages = []
        self._told = False

    def say(self, text: str) -> None:
        """Answers a message; one that is not answered, for it does not fit or by Ctrl-C, leaves no trace."""
        kept = self._turns
        while True:
            messages = [*self._system, *kept, {"role": "user", "content": text}]
            try:
                answer = self._session.answer(messages)
            except KeyboardInterrupt:
                return
            except ContextLengthError as error:
                if not kept or not self._session.remembers:
                    click.echo(f"this message does not fit: {error}", err=True)
                    return
                kept = kept[2:]
                continue
            break
        if len(kept) < len(self._turns) and not self._told:
            self._told = True
            click.echo("note: the context is full; the oldest messages are forgotten", err=True)
        self._turns = [*kept, messages[-1], {"role": "assistant", "content": answer}]


def converse(session: Session, system: _Messages) -> None:
    """Turns until the end of input; Ctrl-C stops an answer, or the conversation where there is none."""
    click.echo(f"{' or '.join(_QUIT_WORDS)} ends the conversation, Ctrl-C an answer.", err=True)
    if not session.remembers:
        click.echo(
            "note: without a chat template each message is continued by itself; earlier ones are forgotten",
            err=True,
        )
    conversation = Conversation(session, system)
    while True:
        try:
            text = read_turn("run")
        except InvalidArgumentError as error:
            click.echo(str(error), err=True)
            continue
        except KeyboardInterrupt:
            text = None
        if text is None:
            click.echo(err=True)
            return
        if text.strip() in _QUIT_WORDS:
            return
        if text.strip():
            conversation.say(text)
