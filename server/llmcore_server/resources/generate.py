"""``POST /api/v1/generate`` and ``/api/v1/generate/stream``."""

from __future__ import annotations

from collections.abc import AsyncGenerator

import falcon.asgi

from llmcore_server import sse
from llmcore_server.config import ServerConfig
from llmcore_server.disconnect import close_with_request
from llmcore_server.engine_protocol import Engine
from llmcore_server.errors import ApiError, Language, preferred_language
from llmcore_server.generation import Generation, chat_prompt
from llmcore_server.metrics import Metrics
from llmcore_server.registry import EngineRegistry
from llmcore_server.request_body import read_request
from llmcore_server.schemas import UNSUPPORTED, BodyDecoder, GenerateRequest


class GenerateResource:
    """A prompt in, a text out: whole, or as a stream if ``stream`` is true."""

    def __init__(self, registry: EngineRegistry, metrics: Metrics, config: ServerConfig) -> None:
        self._registry = registry
        self._metrics = metrics
        self._config = config
        self._decoder = BodyDecoder(GenerateRequest, UNSUPPORTED)

    async def on_post(self, req: falcon.asgi.Request, resp: falcon.asgi.Response) -> None:
        request = await read_request(req, resp, self._decoder, self._config)
        if request.stream:
            await self._answer_stream(req, resp, request)
        else:
            await self._answer_whole(req, resp, request)

    async def on_post_stream(self, req: falcon.asgi.Request, resp: falcon.asgi.Response) -> None:
        request = await read_request(req, resp, self._decoder, self._config)
        await self._answer_stream(req, resp, request)

    async def _answer_whole(
        self, req: falcon.asgi.Request, resp: falcon.asgi.Response, request: GenerateRequest
    ) -> None:
        generation = await self._start(req, request)
        pieces: list[str] = []
        while deltas := await generation.next_deltas():
            pieces += [delta.text for delta in deltas]
        resp.media = {
            "text": "".join(pieces),
            "usage": generation.usage.as_body(),
            "latency": round(generation.elapsed, 3),
        }

    async def _answer_stream(
        self, req: falcon.asgi.Request, resp: falcon.asgi.Response, request: GenerateRequest
    ) -> None:
        generation = await self._start(req, request)
        await generation.admitted(self._config.admission_wait)
        language = preferred_language(req.get_header("Accept-Language"))
        sse.send_events(resp, _token_events(generation, sse.Pacer(self._config.event_interval), language))

    async def _start(self, req: falcon.asgi.Request, request: GenerateRequest) -> Generation:
        engine = await self._registry.engine(self._registry.resolve(request.model))
        config = self._config
        params = request.sampling_params(
            max_tokens=request.max_tokens or config.default_max_tokens,
            temperature=config.default_temperature if request.temperature is None else request.temperature,
        )
        generation = Generation(
            engine,
            await _prompt(engine, request),
            params,
            request_id=req.context.request_id,
            choices=1,
            metrics=self._metrics,
        )
        close_with_request(req.scope, generation.close)
        return generation


async def _prompt(engine: Engine, request: GenerateRequest) -> str | list[int]:
    if request.raw or engine.tokenizer.chat_template is None:
        return request.prompt
    return await chat_prompt(engine, [{"role": "user", "content": request.prompt}])


async def _token_events(
    generation: Generation, pacer: sse.Pacer, language: Language
) -> AsyncGenerator[bytes, None]:
    """Yield the specification's events; tokens that arrive before an event may leave join it."""
    finished = False
    try:
        while not finished and (deltas := await generation.next_deltas()):
            await pacer.wait()
            deltas += generation.arrived_deltas()
            text = "".join(delta.text for delta in deltas)
            finished = any(delta.finish_reason is not None for delta in deltas)
            if text or finished:
                yield sse.event({"token": text, "finished": finished})
                pacer.written()
    except ApiError as error:
        await pacer.wait()
        yield sse.event({"token": "", "finished": True, **error.native_body(language)})
