"""A conversation handed to an engine: started in one way for every route that takes one."""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import falcon.asgi

from llmcore_server.assistant.answer_form import AnswerForm
from llmcore_server.assistant.conversation import Conversation
from llmcore_server.assistant.effort import knows_effort
from llmcore_server.assistant.events import Event
from llmcore_server.assistant.turn import Reader, Turn, plan_turn
from llmcore_server.disconnect import close_with_request
from llmcore_server.engine_protocol import Delta, Engine
from llmcore_server.errors import ApiError, error_from_engine
from llmcore_server.generation import Generation
from llmcore_server.metrics import Metrics
from llmcore_server.registry import EngineRegistry
from llmcore_server.scheduling import Scheduling

if TYPE_CHECKING:
    from llmcore import SamplingParams


@dataclass(frozen=True)
class ChatRun:
    """A running answer; ``model`` is the name the client asked for."""

    model: str
    engine: Engine
    generation: Generation
    readers: Sequence[Reader]
    turn: Turn

    async def admitted(self, wait: float) -> None:
        """Return once the engine begins to answer, or after ``wait`` seconds; raise its refusal."""
        try:
            await self.generation.admitted(wait)
        except ApiError as error:
            raise self._named(error) from None

    async def next_events(self) -> list[tuple[Delta, list[Event]]]:
        """Return all deltas that have arrived and what they say, waiting for one; empty at the end.

        Raises the `ApiError` that ended the generation.
        """
        try:
            deltas = await self.generation.next_deltas()
        except ApiError as error:
            raise self._named(error) from None
        return [(delta, self.readers[delta.index].read(delta)) for delta in deltas]

    async def whole(self) -> list[tuple[Delta, list[Event]]]:
        """Return every delta and what it says once the last has arrived; raises as `next_events`."""
        try:
            deltas = await self.generation.whole()
        except ApiError as error:
            raise self._named(error) from None
        return [(delta, self.readers[delta.index].read(delta)) for delta in deltas]

    def _named(self, error: ApiError) -> ApiError:
        """Return the engine's refusal with the parameter that it is about."""
        form = self.turn.form or self.turn.guard
        if error.code == "INVALID_SCHEMA" and form is not None:
            error.param = form.param
        return error

    def ignores(self, asked: bool, param: str) -> list[str]:
        """Return the parameter that asks how hard to think, if it is given and the template knows no such."""
        return [param] if asked and not knows_effort(self.engine.tokenizer.chat_template or "") else []

    def loosens(self, tools: Sequence[Any] | None) -> list[str]:
        """Return the parameters that make a tool strict, if calls are not held to their schemas."""
        if self.turn.holds_calls:
            return []
        return [f"tools[{index}].strict" for index, tool in enumerate(tools or ()) if tool.strict]

    def usage(self) -> dict[str, Any]:
        """Return OpenAI's usage object with its details."""
        counts = self.generation.usage
        reasoning = sum(reader.reasoning_tokens for reader in self.readers)
        return {
            **counts.as_body(),
            "prompt_tokens_details": {"cached_tokens": counts.cached_tokens},
            "completion_tokens_details": {"reasoning_tokens": reasoning},
        }


class ChatRunner:
    """Starts runs on the models of a registry."""

    def __init__(self, registry: EngineRegistry, metrics: Metrics) -> None:
        self._registry = registry
        self._metrics = metrics

    async def start(
        self,
        req: falcon.asgi.Request,
        model_name: str | None,
        conversation: Conversation,
        params: Callable[[], SamplingParams],
        *,
        scheduling: Scheduling,
        choices: int = 1,
    ) -> ChatRun:
        """Render the conversation and submit it; the run ends with the request, however that ends."""
        model = await self._registry.choose(model_name)
        engine = await self._registry.generator(model, scheduling)
        turn = await asyncio.to_thread(plan_turn, engine.tokenizer, conversation)
        chosen = with_form(params(), turn.form or turn.guard)
        readers = [turn.reader(engine.tokenizer, chosen) for _ in range(choices)]
        generation = Generation(
            engine,
            turn.prompt,
            chosen,
            request_id=req.context.request_id,
            choices=choices,
            scheduling=scheduling,
            metrics=self._metrics,
        )
        close_with_request(generation.close)
        return ChatRun(model_name or model.name, engine, generation, readers, turn)


def with_form(params: SamplingParams, form: AnswerForm | None) -> SamplingParams:
    """Return parameters that hold the text to a form. Raises `ApiError` for one that cannot be served."""
    if form is None:
        return params
    from llmcore import StructuredOutput  # noqa: PLC0415 - keeps the start of the process light

    try:
        return dataclasses.replace(params, structured=StructuredOutput(form.kind, form.value))
    except Exception as error:
        refused = error_from_engine(error)
        if refused is None:
            raise
        refused.param = form.param
        raise refused from None
