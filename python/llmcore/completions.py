"""From the engine's outputs to what people see: deltas, and completions joined of them."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from llmcore import _core, errors
from llmcore.errors import LLMCoreError
from llmcore.outputs import Completion, Delta, Timings, TokenLogprob, Usage
from llmcore.sampling_params import SamplingParams


def check_output(output: _core.Output) -> None:
    """Raises the error that ended a request, if one did."""
    if output.finish == "error":
        kind: type[LLMCoreError] = getattr(errors, output.error_name)
        raise kind(output.error_message)


def delta_of(output: _core.Output, params: SamplingParams) -> Delta:
    """An engine's output as people see it."""
    finish = output.finish
    prompt_logprobs = output.prompt_logprobs
    return Delta(
        index=output.index,
        text=output.text,
        token_ids=tuple(output.tokens),
        logprobs=None if params.logprobs is None else _logprobs(output.logprobs),
        finish_reason=finish,
        usage=None if finish is None else _usage(output),
        timings=None
        if finish is None
        else Timings(output.queue_seconds, output.first_token_seconds, output.total_seconds),
        prompt_logprobs=None if prompt_logprobs is None else (None, *_logprobs(prompt_logprobs)),
    )


def _usage(output: _core.Output) -> Usage:
    return Usage(output.prompt_tokens, output.completion_tokens, output.cached_tokens)


def _logprobs(entries: list[tuple[int, float, list[tuple[int, float]]]]) -> tuple[TokenLogprob, ...]:
    return tuple(TokenLogprob(token, logprob, tuple(top)) for token, logprob, top in entries)


class Collector:
    """Joins the outputs of one request into its completions."""

    def __init__(self, params: SamplingParams) -> None:
        self._params = params
        self._deltas: list[list[Delta]] = [[] for _ in range(params.n_sequences)]
        self._scores = [0.0] * params.n_sequences

    def add(self, output: _core.Output) -> None:
        """Raises the error that ended the request, if one did."""
        check_output(output)
        self._deltas[output.index].append(delta_of(output, self._params))
        if output.logprob_sum is not None:
            self._scores[output.index] = output.logprob_sum / max(1, output.completion_tokens)

    def completions(self) -> list[Completion]:
        """The request's `n` completions, in order of index; the best `n`, best first, of `best_of`."""
        order = list(range(len(self._deltas)))
        if len(order) > self._params.n:
            order.sort(key=lambda index: -self._scores[index])
        chosen = [
            join_deltas(self._deltas[place], index) for index, place in enumerate(order[: self._params.n])
        ]
        others = [self._deltas[place][-1].usage for place in order[self._params.n :]]
        if discarded := sum(usage.completion_tokens for usage in others if usage is not None):
            usage = msgspec.structs.replace(chosen[0].usage, discarded_tokens=discarded)
            chosen[0] = msgspec.structs.replace(chosen[0], usage=usage)
        return chosen


def join_deltas(deltas: Sequence[Delta], index: int) -> Completion:
    """The completion that the deltas of one index make up, its last among them."""
    last = deltas[-1]
    assert last.finish_reason is not None
    assert last.usage is not None
    logprobs = None
    if last.logprobs is not None:
        logprobs = tuple(entry for delta in deltas for entry in delta.logprobs or ())
    return Completion(
        text="".join(delta.text for delta in deltas),
        token_ids=tuple(token for delta in deltas for token in delta.token_ids),
        finish_reason=last.finish_reason,
        usage=last.usage,
        logprobs=logprobs,
        index=index,
        timings=last.timings,
        prompt_logprobs=next((d.prompt_logprobs for d in deltas if d.prompt_logprobs is not None), None),
    )


def whole_delta(completion: Completion) -> Delta:
    """A completion as the one delta that it is made of."""
    return Delta(
        index=completion.index,
        text=completion.text,
        token_ids=completion.token_ids,
        logprobs=completion.logprobs,
        finish_reason=completion.finish_reason,
        usage=completion.usage,
        timings=completion.timings,
        prompt_logprobs=completion.prompt_logprobs,
    )
