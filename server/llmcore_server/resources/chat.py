"""``POST /v1/chat/completions``, whole and streaming."""

from __future__ import annotations

import time
from collections.abc import AsyncGenerator
from dataclasses import dataclass
from typing import Any

import falcon.asgi

from llmcore_server import sse
from llmcore_server.assistant.chat_input import chat_conversation
from llmcore_server.assistant.conversation import loose_tools
from llmcore_server.assistant.events import Event, Words
from llmcore_server.bodies.chat import ChatCompletionRequest
from llmcore_server.bodies.choices import OTHER_FORMS
from llmcore_server.chat_output import chat_delta, chat_message
from llmcore_server.chat_run import ChatRun, ChatRunner
from llmcore_server.config import ServerConfig
from llmcore_server.engine_protocol import Delta
from llmcore_server.errors import ApiError
from llmcore_server.logprobs import chat_logprobs
from llmcore_server.metrics import Metrics
from llmcore_server.registry import EngineRegistry
from llmcore_server.request_body import read_request, warn_ignored
from llmcore_server.scheduling import schedule
from llmcore_server.schemas import BodyDecoder

# Parameters that would change the answer and are not served, with the values that ask for nothing.
UNSUPPORTED: dict[str, tuple[object, ...]] = {
    **OTHER_FORMS,
    "modalities": (["text"],),
    "audio": (),
    "web_search_options": (),
}


@dataclass(frozen=True)
class _Answer:
    """What every chunk and the whole response share.

    names_call: the client named the function. legacy: it knows functions, not tools.
    """

    id: str
    created: int
    run: ChatRun
    names_call: bool
    legacy: bool

    def envelope(self, kind: str) -> dict[str, Any]:
        return {
            "id": self.id,
            "object": kind,
            "created": self.created,
            "model": self.run.model,
            "system_fingerprint": self.run.engine.model_info.system_fingerprint,
        }

    def finish_reason(self, delta: Delta) -> str | None:
        """Return the reason that ends a choice: OpenAI says "stop" for a call the client itself named."""
        if delta.finish_reason != "stop" or self.names_call or not self.run.readers[delta.index].calls:
            return delta.finish_reason
        return "function_call" if self.legacy else "tool_calls"


class ChatCompletionsResource:
    """OpenAI's chat completions."""

    def __init__(self, registry: EngineRegistry, metrics: Metrics, config: ServerConfig) -> None:
        self._runner = ChatRunner(registry, metrics)
        self._config = config
        self._decoder = BodyDecoder(ChatCompletionRequest, UNSUPPORTED)

    async def on_post(
        self, req: falcon.asgi.Request, resp: falcon.asgi.Response, engine: str | None = None
    ) -> None:
        """``engine`` is the model's name where the route's path tells it."""
        request = await read_request(req, resp, self._decoder, self._config)
        request.check(self._config.max_choices)
        answer = await self._start(req, resp, request, engine or request.model)
        if request.stream:
            await answer.run.admitted(self._config.admission_wait)
            include_usage = bool(request.stream_options and request.stream_options.include_usage)
            sse.send_events(resp, _chunks(answer, include_usage))
        else:
            resp.media = await _whole(answer)

    async def _start(
        self,
        req: falcon.asgi.Request,
        resp: falcon.asgi.Response,
        request: ChatCompletionRequest,
        model_name: str | None,
    ) -> _Answer:
        conversation = chat_conversation(request)
        choices = request.n or 1
        run = await self._runner.start(
            req,
            model_name,
            conversation,
            lambda: request.sampling_params(
                max_tokens=request.max_completion_tokens or request.max_tokens,
                n=choices,
                logprobs=(request.top_logprobs or 0) if request.logprobs else None,
            ),
            scheduling=schedule(req, self._config, request),
            choices=choices,
        )
        loose = [] if run.turn.holds_calls else loose_tools(request.tools)
        effort = run.ignores(request.reasoning_effort is not None, "reasoning_effort")
        warn_ignored(resp, [*effort, *loose])
        return _Answer(
            id=f"chatcmpl-{req.context.request_id}",
            created=int(time.time()),
            run=run,
            names_call=conversation.choice.name is not None,
            legacy=bool(request.functions),
        )


async def _whole(answer: _Answer) -> dict[str, Any]:
    run = answer.run
    deltas: list[list[Delta]] = [[] for _ in run.readers]
    events: list[list[Event]] = [[] for _ in run.readers]
    for delta, said in await run.whole():
        deltas[delta.index].append(delta)
        events[delta.index] += said
    choices = [
        {
            "index": index,
            "message": chat_message(events[index], legacy=answer.legacy, forced=run.turn.forced),
            "logprobs": chat_logprobs(own, run.engine.tokenizer),
            "finish_reason": answer.finish_reason(own[-1]),
        }
        for index, own in enumerate(deltas)
    ]
    return {**answer.envelope("chat.completion"), "choices": choices, "usage": run.usage()}


async def _chunks(answer: _Answer, include_usage: bool) -> AsyncGenerator[bytes, None]:
    """Yield the stream's events: the role once a choice, what is said, the finish reason alone, the usage."""
    run = answer.run
    envelope = answer.envelope("chat.completion.chunk")

    def chunk(index: int, delta: dict[str, Any], logprobs: Any = None, finish: str | None = None) -> bytes:
        choice = {"index": index, "delta": delta, "logprobs": logprobs, "finish_reason": finish}
        return sse.event({**envelope, "choices": [choice], **({"usage": None} if include_usage else {})})

    try:
        for index in range(len(run.readers)):
            yield chunk(index, {"role": "assistant", "content": ""})
        while arrived := await run.next_events():
            for delta, events in arrived:
                # The log-probabilities of a step go with the first that it says.
                logprobs = chat_logprobs([delta], run.engine.tokenizer)
                for event in events or ([Words("")] if logprobs else []):
                    yield chunk(delta.index, chat_delta(event, legacy=answer.legacy), logprobs)
                    logprobs = None
                if delta.finish_reason is not None:
                    yield chunk(delta.index, {}, finish=answer.finish_reason(delta))
        if include_usage:
            yield sse.event({**envelope, "choices": [], "usage": run.usage()})
        yield sse.DONE
    except ApiError as error:
        yield sse.event(error.openai_body())
