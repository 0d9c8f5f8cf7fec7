"""``POST /v1/chat/completions``, whole and streaming."""

from __future__ import annotations

import time
from collections.abc import AsyncGenerator
from dataclasses import dataclass
from typing import Any

import falcon.asgi

from llmcore_server import sse
from llmcore_server.config import ServerConfig
from llmcore_server.disconnect import close_with_request
from llmcore_server.engine_protocol import Delta, Engine
from llmcore_server.errors import ApiError, Text
from llmcore_server.generation import Generation, chat_prompt
from llmcore_server.logprobs import chat_logprobs
from llmcore_server.metrics import Metrics
from llmcore_server.registry import EngineRegistry
from llmcore_server.request_body import read_request
from llmcore_server.schemas import UNSUPPORTED, BodyDecoder, ChatCompletionRequest, ChatMessage


@dataclass(frozen=True)
class _Answer:
    """What every chunk and the whole response share."""

    id: str
    created: int
    model: str
    fingerprint: str
    engine: Engine
    generation: Generation
    choices: int

    def envelope(self, kind: str) -> dict[str, Any]:
        return {
            "id": self.id,
            "object": kind,
            "created": self.created,
            "model": self.model,
            "system_fingerprint": self.fingerprint,
        }


class ChatCompletionsResource:
    """OpenAI's chat completions."""

    def __init__(
        self, registry: EngineRegistry, metrics: Metrics, config: ServerConfig, fingerprint: str
    ) -> None:
        self._registry = registry
        self._metrics = metrics
        self._config = config
        self._fingerprint = fingerprint
        self._decoder = BodyDecoder(ChatCompletionRequest, UNSUPPORTED)

    async def on_post(self, req: falcon.asgi.Request, resp: falcon.asgi.Response) -> None:
        request = await read_request(req, resp, self._decoder, self._config)
        self._check(request)
        answer = await self._start(req, request)
        if request.stream:
            await answer.generation.admitted(self._config.admission_wait)
            include_usage = bool(request.stream_options and request.stream_options.include_usage)
            sse.send_events(resp, _chunks(answer, include_usage))
        else:
            resp.media = await _whole(answer)

    def _check(self, request: ChatCompletionRequest) -> None:
        if request.top_logprobs and not request.logprobs:
            raise _invalid("top_logprobs", "需要 logprobs 为 true", "needs 'logprobs' to be true")
        if request.n is not None and request.n > self._config.max_choices:
            most = self._config.max_choices
            raise _invalid("n", f"最多为 {most}", f"is at most {most} on this server")

    async def _start(self, req: falcon.asgi.Request, request: ChatCompletionRequest) -> _Answer:
        messages = [_template_message(index, message) for index, message in enumerate(request.messages)]
        model = self._registry.resolve(request.model)
        engine = await self._registry.engine(model)
        choices = request.n or 1
        prompt = await chat_prompt(engine, messages)
        params = request.sampling_params(
            max_tokens=request.max_completion_tokens or request.max_tokens,
            n=choices,
            logprobs=(request.top_logprobs or 0) if request.logprobs else None,
        )
        generation = Generation(
            engine,
            prompt,
            params,
            request_id=req.context.request_id,
            choices=choices,
            metrics=self._metrics,
        )
        close_with_request(req.scope, generation.close)
        return _Answer(
            id=f"chatcmpl-{req.context.request_id}",
            created=int(time.time()),
            model=request.model or model.name,
            fingerprint=self._fingerprint,
            engine=engine,
            generation=generation,
            choices=choices,
        )


async def _whole(answer: _Answer) -> dict[str, Any]:
    deltas: list[list[Delta]] = [[] for _ in range(answer.choices)]
    while arrived := await answer.generation.next_deltas():
        for delta in arrived:
            deltas[delta.index].append(delta)
    choices = [
        {
            "index": index,
            "message": {
                "role": "assistant",
                "content": "".join(delta.text for delta in own),
                "refusal": None,
            },
            "logprobs": chat_logprobs(own, answer.engine.tokenizer),
            "finish_reason": own[-1].finish_reason,
        }
        for index, own in enumerate(deltas)
    ]
    return {
        **answer.envelope("chat.completion"),
        "choices": choices,
        "usage": answer.generation.usage.as_body(),
    }


async def _chunks(answer: _Answer, include_usage: bool) -> AsyncGenerator[bytes, None]:
    """Yield the stream's events: the role once a choice, text, the finish reason alone, then the usage."""
    envelope = answer.envelope("chat.completion.chunk")

    def chunk(index: int, delta: dict[str, Any], logprobs: Any = None, finish: str | None = None) -> bytes:
        choice = {"index": index, "delta": delta, "logprobs": logprobs, "finish_reason": finish}
        return sse.event({**envelope, "choices": [choice], **({"usage": None} if include_usage else {})})

    try:
        for index in range(answer.choices):
            yield chunk(index, {"role": "assistant", "content": ""})
        while arrived := await answer.generation.next_deltas():
            for delta in arrived:
                logprobs = chat_logprobs([delta], answer.engine.tokenizer)
                if delta.text or logprobs:
                    yield chunk(delta.index, {"content": delta.text}, logprobs)
                if delta.finish_reason is not None:
                    yield chunk(delta.index, {}, finish=delta.finish_reason)
        if include_usage:
            yield sse.event({**envelope, "choices": [], "usage": answer.generation.usage.as_body()})
        yield sse.DONE
    except ApiError as error:
        yield sse.event(error.openai_body())


def _template_message(index: int, message: ChatMessage) -> dict[str, Any]:
    where = f"messages[{index}]"
    if message.role in ("tool", "function"):
        raise _unsupported(f"{where}.role", message.role)
    if message.tool_calls:
        raise _unsupported(f"{where}.tool_calls", "tool_calls")
    if message.function_call is not None and bytes(message.function_call) != b"null":
        raise _unsupported(f"{where}.function_call", "function_call")
    if message.content is None and message.role != "assistant":
        raise _invalid(f"{where}.content", "不能为空", "must not be null")
    rendered = {
        # Templates know the system role; "developer" is its newer name.
        "role": "system" if message.role == "developer" else message.role,
        "content": _text_content(where, message),
    }
    return rendered if message.name is None else {**rendered, "name": message.name}


def _text_content(where: str, message: ChatMessage) -> str:
    if message.content is None or isinstance(message.content, str):
        return message.content or ""
    texts: list[str] = []
    for number, part in enumerate(message.content):
        if part.type != "text":
            raise _unsupported(f"{where}.content[{number}].type", part.type[:40])
        if part.text is None:
            raise _invalid(f"{where}.content[{number}].text", "缺少", "is missing")
        texts.append(part.text)
    return "".join(texts)


def _invalid(param: str, zh: str, en: str) -> ApiError:
    return ApiError("INVALID_REQUEST", Text(f"参数 {param} {zh}", f"parameter '{param}' {en}"), param=param)


def _unsupported(param: str, value: str) -> ApiError:
    details = Text(f"暂不支持 {param} 的取值 {value}", f"'{value}' is not supported in '{param}'")
    return ApiError("UNSUPPORTED_PARAMETER", details, param=param)
