"""``POST /api/v1/generate`` and ``/api/v1/generate/stream``."""

from __future__ import annotations

from collections.abc import AsyncGenerator

import falcon.asgi

from llmcore_server import sse
from llmcore_server.answers import GenerateAnswer, TokenEvent
from llmcore_server.config import ServerConfig
from llmcore_server.errors import ApiError, Language, preferred_language
from llmcore_server.generation import Generation
from llmcore_server.native_generation import NativeGenerations, token_usage, whole_text
from llmcore_server.request_body import read_request
from llmcore_server.schemas import UNSUPPORTED, BodyDecoder, GenerateRequest


class GenerateResource:
    """A prompt in, a text out: whole, or as a stream if ``stream`` is true."""

    def __init__(self, generations: NativeGenerations, config: ServerConfig) -> None:
        self._generations = generations
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
        generation = await self._generations.start(req, request)
        text = await whole_text(generation)
        resp.media = GenerateAnswer(text, token_usage(generation), round(generation.elapsed, 3))

    async def _answer_stream(
        self, req: falcon.asgi.Request, resp: falcon.asgi.Response, request: GenerateRequest
    ) -> None:
        generation = await self._generations.start(req, request)
        await generation.admitted(self._config.admission_wait)
        language = preferred_language(req.get_header("Accept-Language"))
        sse.send_events(resp, _token_events(generation, sse.Pacer(self._config.event_interval), language))


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
                yield sse.event(TokenEvent(text, finished))
                pacer.written()
    except ApiError as error:
        await pacer.wait()
        yield sse.event({"token": "", "finished": True, **error.native_body(language)})
