"""Anthropic's ``POST /v1/messages``, whole and streaming, and ``/v1/messages/count_tokens``."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import falcon.asgi

from llmcore_server import sse
from llmcore_server.assistant.messages_input import messages_conversation
from llmcore_server.assistant.turn import plan_turn
from llmcore_server.bodies.messages import UNSUPPORTED, CountTokensRequest, MessagesRequest
from llmcore_server.chat_run import ChatRun, ChatRunner
from llmcore_server.config import ServerConfig
from llmcore_server.engine_protocol import Delta
from llmcore_server.errors import ApiError
from llmcore_server.message_output import MessageOutput
from llmcore_server.metrics import Metrics
from llmcore_server.registry import EngineRegistry
from llmcore_server.request_body import read_request, warn_ignored
from llmcore_server.scheduling import schedule
from llmcore_server.schemas import BodyDecoder
from llmcore_server.v1_answers.messages import InputTokens

if TYPE_CHECKING:
    from llmcore import SamplingParams


@dataclass
class _Answer:
    """A message under way; ``tokens`` are those of its text, ``last`` is its last delta."""

    id: str
    run: ChatRun
    stops: list[str]
    output: MessageOutput = field(default_factory=MessageOutput)
    tokens: list[int] = field(default_factory=list)
    last: Delta | None = None

    async def next_events(self) -> list[dict[str, Any]]:
        """Return what has arrived as events of the stream, waiting for a step; empty at the end."""
        while arrived := await self.run.next_events():
            wires: list[dict[str, Any]] = []
            for delta, events in arrived:
                self.last = delta
                self.tokens += delta.token_ids
                for event in events:
                    wires += self.output.take(event)
            if wires:
                return wires
        return []

    def body(self) -> dict[str, Any]:
        return {
            "id": self.id,
            "type": "message",
            "role": "assistant",
            "model": self.run.model,
            "content": self.output.content(),
            "stop_reason": None,
            "stop_sequence": None,
            "usage": self.usage(),
        }

    def usage(self) -> dict[str, int]:
        counts = self.run.generation.usage
        return {
            "input_tokens": counts.prompt_tokens - counts.cached_tokens,
            "cache_creation_input_tokens": 0,
            "cache_read_input_tokens": counts.cached_tokens,
            "output_tokens": counts.completion_tokens,
        }

    def stop(self) -> dict[str, Any]:
        """Return why the message ended, and the stop sequence if one ended it."""
        last = self.last
        if last is None or last.finish_reason == "length":
            return {"stop_reason": "max_tokens", "stop_sequence": None}
        if last.usage is not None and last.usage.completion_tokens == len(self.tokens):
            # Every token is in the text: no end token ended it.
            said = self.run.engine.tokenizer.decode(self.tokens)
            found = [(place, stop) for stop in self.stops if (place := said.find(stop)) >= 0]
            if found:
                return {"stop_reason": "stop_sequence", "stop_sequence": min(found)[1]}
        return {"stop_reason": "tool_use" if self.output.calls else "end_turn", "stop_sequence": None}


class MessagesResource:
    """Messages, as Anthropic's clients know them."""

    def __init__(self, registry: EngineRegistry, metrics: Metrics, config: ServerConfig) -> None:
        self._registry = registry
        self._runner = ChatRunner(registry, metrics)
        self._config = config
        self._decoder = BodyDecoder(MessagesRequest, UNSUPPORTED)
        self._count_decoder = BodyDecoder(CountTokensRequest, UNSUPPORTED)

    async def on_post(self, req: falcon.asgi.Request, resp: falcon.asgi.Response) -> None:
        request = await read_request(req, resp, self._decoder, self._config)
        conversation = messages_conversation(request)
        run = await self._runner.start(
            req,
            request.model,
            conversation,
            lambda: _params(request),
            scheduling=schedule(req, self._config),
        )
        warn_ignored(resp, _ignored(request, run))
        answer = _Answer(f"msg_{req.context.request_id}", run, request.stop_sequences or [])
        if request.stream:
            await run.admitted(self._config.admission_wait)
            sse.send_events(resp, _events(answer))
            return
        while await answer.next_events():
            pass
        answer.output.close()
        resp.media = {**answer.body(), **answer.stop()}

    async def on_post_count(self, req: falcon.asgi.Request, resp: falcon.asgi.Response) -> None:
        request = await read_request(req, resp, self._count_decoder, self._config)
        conversation = messages_conversation(request)
        engine = await self._registry.engine(await self._registry.choose(request.model))
        turn = await asyncio.to_thread(plan_turn, engine.tokenizer, conversation)
        resp.media = InputTokens(len(turn.prompt))


def _ignored(request: MessagesRequest, run: ChatRun) -> list[str]:
    effort = request.output_config is not None and request.output_config.effort is not None
    thinking = run.ignores(request.thinking is not None, "thinking")
    return [*thinking, *run.ignores(effort, "output_config.effort"), *run.loosens(request.tools)]


def _params(request: MessagesRequest) -> SamplingParams:
    from llmcore import SamplingParams  # noqa: PLC0415 - keeps the start of the process light

    return SamplingParams(
        max_tokens=request.max_tokens,
        temperature=1.0 if request.temperature is None else request.temperature,
        top_p=1.0 if request.top_p is None else max(request.top_p, 1e-9),
        top_k=request.top_k or 0,
        stop=request.stop_sequences or (),
    )


async def _events(answer: _Answer) -> AsyncGenerator[bytes, None]:
    """Yield the stream's events; a failure is told by the last."""
    try:
        yield _sent({"type": "message_start", "message": answer.body()})
        while wires := await answer.next_events():
            for wire in wires:
                yield _sent(wire)
        for wire in answer.output.close():
            yield _sent(wire)
        yield _sent({"type": "message_delta", "delta": answer.stop(), "usage": answer.usage()})
        yield _sent({"type": "message_stop"})
    except ApiError as error:
        yield _sent(error.anthropic_body())


def _sent(payload: dict[str, Any]) -> bytes:
    return sse.named_event(str(payload["type"]), payload)
