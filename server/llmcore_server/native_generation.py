"""What the generating routes under ``/api/v1`` share: from a request to its generation, and to its text."""

from __future__ import annotations

import asyncio

import falcon.asgi

from llmcore_server.answers import TokenUsage
from llmcore_server.assistant.answer_form import AnswerForm, read_format
from llmcore_server.assistant.conversation import Conversation
from llmcore_server.assistant.turn import plan_turn
from llmcore_server.chat_run import with_form
from llmcore_server.config import ServerConfig
from llmcore_server.disconnect import close_with_request
from llmcore_server.engine_protocol import Engine
from llmcore_server.errors import ApiError, Text
from llmcore_server.generation import Generation, chat_prompt
from llmcore_server.metrics import Metrics
from llmcore_server.registry import EngineRegistry
from llmcore_server.scheduling import schedule
from llmcore_server.schemas import GenerateRequest


class NativeGenerations:
    """Starts generations with the defaults of ``/api/v1``."""

    def __init__(self, registry: EngineRegistry, metrics: Metrics, config: ServerConfig) -> None:
        self._registry = registry
        self._metrics = metrics
        self._config = config

    async def start(self, req: falcon.asgi.Request, request: GenerateRequest, part: str = "") -> Generation:
        """Begin a generation that ends with the HTTP request; ``part`` tells those of one request apart.

        Raises `ApiError` for what is refused before the engine sees it.
        """
        config = self._config
        if len(request.prompt) > config.max_prompt_chars:
            most = config.max_prompt_chars
            details = Text(f"prompt 最多 {most} 个字符", f"a prompt is at most {most} characters")
            raise ApiError("CONTEXT_LENGTH_EXCEEDED", details, param="prompt")
        scheduling = schedule(req, config, request)
        chosen = await self._registry.choose(request.model, request.lora)
        engine = await self._registry.generator(chosen, scheduling)
        form = read_format(request.response_format, "response_format")
        params = request.sampling_params(
            max_tokens=request.max_tokens or config.default_max_tokens,
            temperature=config.default_temperature if request.temperature is None else request.temperature,
        )
        generation = Generation(
            engine,
            await _prompt(engine, request, form),
            with_form(params, form),
            request_id=req.context.request_id + part,
            choices=1,
            scheduling=scheduling,
            metrics=self._metrics,
        )
        close_with_request(generation.close)
        return generation


async def whole_text(generation: Generation) -> str:
    """Return the whole text once it is there. Raises the `ApiError` that ended the generation."""
    return "".join(delta.text for delta in await generation.whole())


def token_usage(generation: Generation) -> TokenUsage:
    """Return the tokens used so far."""
    return TokenUsage(**generation.usage.as_body())


async def _prompt(engine: Engine, request: GenerateRequest, form: AnswerForm | None) -> str | list[int]:
    if request.raw or engine.tokenizer.chat_template is None:
        return request.prompt
    messages = [{"role": "user", "content": request.prompt}]
    if form is None:
        return await chat_prompt(engine, messages)
    # An answer of a form begins with it: the prompt ends the reasoning that a model would begin with.
    turn = await asyncio.to_thread(plan_turn, engine.tokenizer, Conversation(messages, form=form))
    return turn.prompt
