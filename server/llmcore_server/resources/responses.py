"""``POST /v1/responses``, whole and streaming; nothing is kept, so each request brings its whole history."""

from __future__ import annotations

import time
from collections.abc import AsyncGenerator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import falcon.asgi
import msgspec

from llmcore_server import sse
from llmcore_server.assistant.response_input import response_conversation
from llmcore_server.bodies.responses import UNSUPPORTED, Reasoning, ResponsesRequest, TextOptions
from llmcore_server.chat_run import ChatRun, ChatRunner
from llmcore_server.config import ServerConfig
from llmcore_server.errors import ApiError
from llmcore_server.metrics import Metrics
from llmcore_server.registry import EngineRegistry
from llmcore_server.request_body import read_request, warn_ignored
from llmcore_server.response_output import ResponseOutput
from llmcore_server.scheduling import schedule
from llmcore_server.schemas import BodyDecoder

if TYPE_CHECKING:
    from llmcore import SamplingParams


@dataclass(frozen=True)
class _Answer:
    """A response under way."""

    run: ChatRun
    output: ResponseOutput
    skeleton: dict[str, Any]

    def body(self, status: str, **changed: Any) -> dict[str, Any]:
        items = list(self.output.items)
        return {**self.skeleton, "status": status, "output": items, **changed}

    def final(self, finish_reason: str) -> dict[str, Any]:
        counts = self.run.usage()
        usage = {
            "input_tokens": counts["prompt_tokens"],
            "input_tokens_details": {**counts["prompt_tokens_details"], "cache_write_tokens": 0},
            "output_tokens": counts["completion_tokens"],
            "output_tokens_details": counts["completion_tokens_details"],
            "total_tokens": counts["total_tokens"],
        }
        if finish_reason == "length":
            return self.body("incomplete", usage=usage, incomplete_details={"reason": "max_output_tokens"})
        return self.body("completed", usage=usage, completed_at=int(time.time()))


class ResponsesResource:
    """OpenAI's responses, stateless."""

    def __init__(self, registry: EngineRegistry, metrics: Metrics, config: ServerConfig) -> None:
        self._runner = ChatRunner(registry, metrics)
        self._config = config
        self._decoder = BodyDecoder(ResponsesRequest, UNSUPPORTED)

    async def on_post(self, req: falcon.asgi.Request, resp: falcon.asgi.Response) -> None:
        request = await read_request(req, resp, self._decoder, self._config)
        conversation = response_conversation(request)
        run = await self._runner.start(
            req,
            request.model,
            conversation,
            lambda: _params(request),
            scheduling=schedule(req, self._config),
        )
        warn_ignored(resp, _ignored(request, run))
        answer = _Answer(run, ResponseOutput(), _skeleton(req, request, run))
        if request.stream:
            await run.admitted(self._config.admission_wait)
            sse.send_events(resp, _events(answer))
        else:
            resp.media = await _whole(answer)


def _ignored(request: ResponsesRequest, run: ChatRun) -> list[str]:
    reasoning, text = request.reasoning or Reasoning(), request.text or TextOptions()
    unheard = {"reasoning.summary": reasoning.summary, "text.verbosity": text.verbosity}
    return [
        *run.ignores(reasoning.effort is not None, "reasoning.effort"),
        *(name for name, value in unheard.items() if value is not None),
        *run.loosens(request.tools),
    ]


def _params(request: ResponsesRequest) -> SamplingParams:
    from llmcore import SamplingParams  # noqa: PLC0415 - keeps the start of the process light

    return SamplingParams(
        max_tokens=request.max_output_tokens,
        temperature=1.0 if request.temperature is None else request.temperature,
        # OpenAI's range includes 0, which is the likeliest token alone; the engine's does not.
        top_p=1.0 if request.top_p is None else max(request.top_p, 1e-9),
    )


def _skeleton(req: falcon.asgi.Request, request: ResponsesRequest, run: ChatRun) -> dict[str, Any]:
    """Return the response's fields but for its status, output and usage."""
    reasoning = request.reasoning
    return {
        "id": f"resp_{req.context.request_id}",
        "object": "response",
        "created_at": int(time.time()),
        "status": "in_progress",
        "background": False,
        "error": None,
        "incomplete_details": None,
        "instructions": request.instructions,
        "max_output_tokens": request.max_output_tokens,
        "model": run.model,
        "output": [],
        "parallel_tool_calls": request.parallel_tool_calls is not False,
        "previous_response_id": None,
        "reasoning": {"effort": reasoning.effort if reasoning else None, "summary": None},
        "store": False,
        "temperature": 1.0 if request.temperature is None else request.temperature,
        "text": {"format": (request.text and request.text.format) or {"type": "text"}},
        "tool_choice": "auto" if request.tool_choice is None else request.tool_choice,
        "tools": [msgspec.to_builtins(tool) for tool in request.tools or ()],
        "top_p": 1.0 if request.top_p is None else request.top_p,
        "truncation": "disabled",
        "usage": None,
        "metadata": request.metadata or {},
    }


async def _whole(answer: _Answer) -> dict[str, Any]:
    finish = ""
    for delta, events in await answer.run.whole():
        for event in events:
            answer.output.take(event)
        finish = delta.finish_reason or finish
    answer.output.close(_item_status(finish))
    return answer.final(finish)


async def _events(answer: _Answer) -> AsyncGenerator[bytes, None]:
    """Yield the stream's events, numbered; a failure is told by the last."""
    number = -1

    def sent(payload: dict[str, Any]) -> bytes:
        nonlocal number
        number += 1
        return sse.named_event(payload["type"], {**payload, "sequence_number": number})

    try:
        for kind in ("response.created", "response.in_progress"):
            yield sent({"type": kind, "response": answer.body("in_progress")})
        finish = ""
        while arrived := await answer.run.next_events():
            for delta, events in arrived:
                for event in events:
                    for wire in answer.output.take(event):
                        yield sent(wire)
                finish = delta.finish_reason or finish
        for wire in answer.output.close(_item_status(finish)):
            yield sent(wire)
        final = answer.final(finish)
        yield sent({"type": f"response.{final['status']}", "response": final})
    except ApiError as error:
        for wire in answer.output.close("incomplete"):
            yield sent(wire)
        told: Any = error.openai_body()["error"]
        yield sent(
            {"type": "error", "code": told["code"], "message": told["message"], "param": told["param"]}
        )
        failure = {"code": "server_error", "message": told["message"]}
        yield sent({"type": "response.failed", "response": answer.body("failed", error=failure)})


def _item_status(finish_reason: str) -> str:
    return "incomplete" if finish_reason == "length" else "completed"
