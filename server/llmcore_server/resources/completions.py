"""``POST /v1/completions``: raw prompts, whole and streaming."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator
from dataclasses import dataclass, field
from typing import Any

import falcon.asgi

from llmcore_server import sse
from llmcore_server.bodies.choices import invalid
from llmcore_server.bodies.completion import UNSUPPORTED, CompletionRequest, prompt_list
from llmcore_server.config import ServerConfig
from llmcore_server.disconnect import close_with_request
from llmcore_server.engine_protocol import Delta, Engine
from llmcore_server.errors import ApiError, Text
from llmcore_server.generation import Generation
from llmcore_server.generation_group import GenerationGroup
from llmcore_server.legacy_logprobs import LegacyLogprobs
from llmcore_server.metrics import Metrics
from llmcore_server.registry import EngineRegistry
from llmcore_server.request_body import read_request
from llmcore_server.scheduling import schedule
from llmcore_server.schemas import BodyDecoder

_DEFAULT_MAX_TOKENS = 16
# Characters whose encoding takes no longer than handing it to a thread.
_QUICKLY_ENCODED = 2048


@dataclass(frozen=True)
class _Prompt:
    """A prompt as the engine takes it; ``text`` is what an echo says, ``added`` tokens the text has not."""

    ids: list[int]
    text: str
    added: int


@dataclass
class _Choice:
    """One choice while it grows. ``echo`` is its prompt until that has been said."""

    index: int
    echo: _Prompt | None
    logprobs: LegacyLogprobs | None
    without_output: bool
    pieces: list[dict[str, Any]] = field(default_factory=list)

    def piece(self, delta: Delta) -> dict[str, Any] | None:
        """Return what a delta adds as a choice object of its own; None if that is nothing."""
        echo, self.echo = self.echo, None
        text = "" if self.without_output else delta.text
        entries = [] if self.without_output else [(one.token_id, one) for one in delta.logprobs or ()]
        finish = delta.finish_reason
        if self.without_output and finish is not None:
            finish = "length"
        logprobs = None
        if self.logprobs is not None:
            parts = [] if echo is None else [self._prompt_part(echo, delta)]
            if entries:
                parts.append(self.logprobs.listed(entries))
            logprobs = _joined(parts) if parts else None
        text = (echo.text if echo else "") + text
        if not text and logprobs is None and finish is None:
            return None
        return {"text": text, "index": self.index, "logprobs": logprobs, "finish_reason": finish}

    def _prompt_part(self, prompt: _Prompt, delta: Delta) -> dict[str, Any]:
        assert self.logprobs is not None
        known = delta.prompt_logprobs or [None] * len(prompt.ids)
        entries = list(zip(prompt.ids, known, strict=True))[prompt.added :]
        if entries:
            entries[0] = (entries[0][0], None)
        return self.logprobs.listed(entries, prompt.text)


@dataclass(frozen=True)
class _Answer:
    """What every chunk and the whole response share."""

    envelope: dict[str, Any]
    group: GenerationGroup
    choices: list[_Choice]
    per_prompt: int
    without_output: bool

    def usage(self) -> dict[str, int]:
        usage = self.group.usage.as_body()
        if self.without_output:
            usage |= {"completion_tokens": 0, "total_tokens": usage["prompt_tokens"]}
        return usage


class CompletionsResource:
    """OpenAI's legacy completions."""

    def __init__(self, registry: EngineRegistry, metrics: Metrics, config: ServerConfig) -> None:
        self._registry = registry
        self._metrics = metrics
        self._config = config
        self._decoder = BodyDecoder(CompletionRequest, UNSUPPORTED)

    async def on_post(
        self, req: falcon.asgi.Request, resp: falcon.asgi.Response, engine: str | None = None
    ) -> None:
        """``engine`` is the model's name where the route's path tells it."""
        request = await read_request(req, resp, self._decoder, self._config)
        request.check(self._config.max_choices)
        answer = await self._start(req, request, engine or request.model)
        if request.stream:
            await answer.group.admitted(self._config.admission_wait)
            include_usage = bool(request.stream_options and request.stream_options.include_usage)
            sse.send_events(resp, _chunks(answer, include_usage))
        else:
            resp.media = await _whole(answer)

    async def _start(
        self, req: falcon.asgi.Request, request: CompletionRequest, model_name: str | None
    ) -> _Answer:
        given = prompt_list(request.prompt, self._config.max_prompts)
        request.check_total(len(given), self._config.max_prompts)
        model = await self._registry.choose(model_name)
        scheduling = schedule(req, self._config, request)
        engine = await self._registry.generator(model, scheduling)
        prompts = await _all_encoded(engine, request, given)
        per_prompt = request.n or 1
        max_tokens = _DEFAULT_MAX_TOKENS if request.max_tokens is None else request.max_tokens
        params = request.sampling_params(
            # The engine makes one token at least; of none at all, only the prompt is told.
            max_tokens=max(1, max_tokens),
            n=per_prompt,
            best_of=request.best_of,
            logprobs=request.logprobs,
            prompt_logprobs=request.logprobs if request.echo else None,
        )
        group = GenerationGroup(
            [
                Generation(
                    engine,
                    prompt.ids,
                    params,
                    request_id=f"{req.context.request_id}-{number}",
                    choices=per_prompt,
                    scheduling=scheduling,
                    metrics=self._metrics,
                )
                for number, prompt in enumerate(prompts)
            ]
        )
        close_with_request(group.close)
        choices = [
            _Choice(
                index=number * per_prompt + place,
                echo=prompt if request.echo else None,
                logprobs=None
                if request.logprobs is None
                else LegacyLogprobs(engine.tokenizer, request.logprobs),
                without_output=max_tokens == 0,
            )
            for number, prompt in enumerate(prompts)
            for place in range(per_prompt)
        ]
        envelope = {
            "id": f"cmpl-{req.context.request_id}",
            "object": "text_completion",
            "created": int(time.time()),
            "model": model_name or model.name,
            "system_fingerprint": engine.model_info.system_fingerprint,
        }
        return _Answer(envelope, group, choices, per_prompt, max_tokens == 0)


async def _all_encoded(
    engine: Engine, request: CompletionRequest, prompts: list[str | list[int]]
) -> list[_Prompt]:
    if sum(map(len, prompts)) + len(request.suffix or "") <= _QUICKLY_ENCODED:
        return [_encoded(engine, request, prompt) for prompt in prompts]
    # It may take long, and the event loop goes on.
    return await asyncio.to_thread(lambda: [_encoded(engine, request, prompt) for prompt in prompts])


def _encoded(engine: Engine, request: CompletionRequest, prompt: str | list[int]) -> _Prompt:
    tokenizer = engine.tokenizer
    if request.suffix:
        if not isinstance(prompt, str):
            raise invalid("suffix", "要求 prompt 为文本", "needs the prompt to be a text")
        ids = tokenizer.encode_infill(prompt, request.suffix)
        if ids is None:
            no_tokens = Text(
                "该模型的词表没有中间填充词元，不支持 suffix",
                "the model's vocabulary has no fill-in-the-middle tokens, so 'suffix' cannot be served",
            )
            raise ApiError("UNSUPPORTED_PARAMETER", no_tokens, param="suffix")
        return _Prompt(ids, prompt, 0)
    if not isinstance(prompt, str):
        return _Prompt(prompt, tokenizer.decode(prompt) if request.echo else "", 0)
    ids = tokenizer.encode(prompt)
    if not ids:
        raise invalid("prompt", "不能为空", "must not be empty: this model has no token to begin a text with")
    added = 0
    if request.echo and request.logprobs is not None:
        added = len(ids) - len(tokenizer.encode(prompt, add_special=False))
    return _Prompt(ids, prompt, added)


async def _whole(answer: _Answer) -> dict[str, Any]:
    for number, delta in await answer.group.whole():
        choice = answer.choices[number * answer.per_prompt + delta.index]
        if (piece := choice.piece(delta)) is not None:
            choice.pieces.append(piece)
    choices = [
        {
            "text": "".join(piece["text"] for piece in choice.pieces),
            "index": choice.index,
            "logprobs": _joined([piece["logprobs"] for piece in choice.pieces if piece["logprobs"]])
            if choice.logprobs is not None
            else None,
            "finish_reason": choice.pieces[-1]["finish_reason"],
        }
        for choice in answer.choices
    ]
    return {**answer.envelope, "choices": choices, "usage": answer.usage()}


async def _chunks(answer: _Answer, include_usage: bool) -> AsyncGenerator[bytes, None]:
    """Yield the stream's events, each with what one step added to one choice, then the usage."""
    extra: dict[str, Any] = {"usage": None} if include_usage else {}
    try:
        while arrived := await answer.group.next_deltas():
            for number, delta in arrived:
                piece = answer.choices[number * answer.per_prompt + delta.index].piece(delta)
                if piece is not None:
                    yield sse.event({**answer.envelope, "choices": [piece], **extra})
        if include_usage:
            yield sse.event({**answer.envelope, "choices": [], "usage": answer.usage()})
        yield sse.DONE
    except ApiError as error:
        yield sse.event(error.openai_body())


def _joined(parts: list[dict[str, Any]]) -> dict[str, Any]:
    """Return one ``logprobs`` object for all tokens of several."""
    names = ("tokens", "token_logprobs", "top_logprobs", "text_offset")
    if not parts:
        return {name: [] for name in names}
    return {
        name: None if parts[0][name] is None else [item for part in parts for item in part[name]]
        for name in names
    }
