"""``POST /api/v1/batch/generate``: several prompts, run together by the engine."""

from __future__ import annotations

import asyncio
import logging

import falcon.asgi
import msgspec

from llmcore_server.answers import BatchAnswer, BatchResult
from llmcore_server.config import ServerConfig
from llmcore_server.errors import ApiError, Language, Text, error_from_engine, preferred_language
from llmcore_server.middleware.access_control import charge_requests
from llmcore_server.native_generation import NativeGenerations, token_usage, whole_text
from llmcore_server.request_body import read_request, warn_ignored
from llmcore_server.schemas import UNSUPPORTED, BatchRequest, BodyDecoder, GenerateRequest

logger = logging.getLogger(__name__)


class BatchGenerateResource:
    """Answers in the order of the requests; the error of one is its own result."""

    def __init__(self, generations: NativeGenerations, config: ServerConfig) -> None:
        self._generations = generations
        self._config = config
        self._decoder = BodyDecoder(BatchRequest, {})
        self._item_decoder = BodyDecoder(GenerateRequest, UNSUPPORTED)

    async def on_post(self, req: falcon.asgi.Request, resp: falcon.asgi.Response) -> None:
        batch = await read_request(req, resp, self._decoder, self._config)
        most = self._config.max_batch_items
        if len(batch.requests) > most:
            details = Text(f"requests 最多 {most} 项", f"'requests' holds at most {most}")
            raise ApiError("INVALID_REQUEST", details, param="requests")
        await charge_requests(req, len(batch.requests) - 1)
        language = preferred_language(req.get_header("Accept-Language"))
        ignored: list[str] = []
        results = await asyncio.gather(
            *(
                self._result(req, number, bytes(raw), language, ignored)
                for number, raw in enumerate(batch.requests)
            )
        )
        warn_ignored(resp, ignored)
        resp.media = BatchAnswer(results)

    async def _result(
        self,
        req: falcon.asgi.Request,
        number: int,
        body: bytes,
        language: Language,
        ignored: list[str],
    ) -> BatchResult:
        """``ignored``: where the names of its fields that change nothing are added."""
        try:
            request, names = self._item_decoder.decode(body)
            ignored += [f"requests[{number}].{name}" for name in names]
            if request.stream:
                details = Text("批量请求不支持流式输出", "a batch does not stream")
                raise ApiError("UNSUPPORTED_PARAMETER", details, param="stream")
            generation = await self._generations.start(req, request, part=f"-{number}")
            text = await whole_text(generation)
            return BatchResult(text=text, usage=token_usage(generation))
        except Exception as error:
            refusal = error_from_engine(error)
            if refusal is None:
                logger.exception("item %d of a batch failed", number)
                refusal = ApiError("INTERNAL_ERROR")
            return msgspec.convert(refusal.native_body(language), BatchResult)
