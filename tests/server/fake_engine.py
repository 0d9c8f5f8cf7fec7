"""An engine that says what it is told to, so that the HTTP layer is tested without a model."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from llmcore_server.model_file import ModelFile
from llmcore_server.registry import EngineRegistry


@dataclass(frozen=True)
class FakeUsage:
    prompt_tokens: int
    completion_tokens: int


@dataclass(frozen=True)
class FakeTimings:
    queue: float


@dataclass(frozen=True)
class FakeDelta:
    index: int
    text: str
    token_ids: tuple[int, ...]
    logprobs: Any = None
    finish_reason: str | None = None
    usage: FakeUsage | None = None
    timings: FakeTimings | None = None


class FakeTokenizer:
    """One token a character; a chat prompt is the conversation as JSON, so that a test can read it back."""

    chat_template: str | None = "a template"

    def encode_chat(
        self, messages: Sequence[Mapping[str, Any]], add_generation_prompt: bool = True
    ) -> list[int]:
        assert add_generation_prompt
        return [ord(character) for character in json.dumps(list(messages), ensure_ascii=False)]

    def token_bytes(self, token_id: int) -> bytes:
        return chr(token_id).encode()


@dataclass(frozen=True)
class FakeStats:
    running: int = 0
    waiting: int = 0
    kv_blocks_total: int = 128
    kv_blocks_free: int = 100
    steps: int = 0
    step_seconds: float = 0.0
    preemptions: int = 0


@dataclass(frozen=True)
class FakeModelInfo:
    n_ctx: int = 2048
    d_model: int = 4
    device: str = "cpu"


@dataclass
class FakeEngine:
    """Says ``text``, a character every ``pause`` seconds; raises ``error`` after ``fail_after`` of them."""

    text: str = "人工智能"
    pause: float = 0.0
    first_pause: float = 0.0
    error: Exception | None = None
    fail_after: int = 0
    logprobs_of: Callable[[int], Any] | None = None
    tokenizer: FakeTokenizer = field(default_factory=FakeTokenizer)
    model_info: FakeModelInfo = field(default_factory=FakeModelInfo)
    prompts: list[str | list[int]] = field(default_factory=list)
    params: list[Any] = field(default_factory=list)
    aborted: list[str] = field(default_factory=list)
    finished: int = 0
    closed: bool = False

    async def generate(
        self,
        prompt: str | list[int],
        params: Any,
        *,
        request_id: str | None = None,
        priority: int = 0,
        tenant: str | None = None,
        lora: str | None = None,
    ) -> AsyncIterator[FakeDelta]:
        del request_id, priority, tenant, lora
        self.prompts.append(prompt)
        self.params.append(params)
        await asyncio.sleep(self.first_pause)
        text = self.text[: params.max_tokens]
        choices = getattr(params, "n", 1)
        if self.error is not None and self.fail_after == 0:
            raise self.error
        for position, character in enumerate(text):
            last = position == len(text) - 1
            for index in range(choices):
                yield FakeDelta(
                    index,
                    character,
                    (ord(character),),
                    self.logprobs_of(ord(character)) if self.logprobs_of else None,
                    ("stop" if len(text) == len(self.text) else "length") if last else None,
                    FakeUsage(len(prompt), position + 1) if last else None,
                    FakeTimings(0.001) if last else None,
                )
            if self.error is not None and position + 1 == self.fail_after:
                raise self.error
            await asyncio.sleep(self.pause)
        self.finished += 1

    def abort(self, request_id: str) -> None:
        self.aborted.append(request_id)

    def stats(self) -> FakeStats:
        return FakeStats()

    def close(self) -> None:
        self.closed = True


def fake_registry(engine: FakeEngine, **options: Any) -> EngineRegistry:
    """Return a registry with a loaded default model, one that is not loaded and an alias of the first."""
    settings: dict[str, Any] = {
        "models": [
            ModelFile("tiny-chat", None, 4_509_715_660, 1_700_000_000),
            ModelFile("cold", None, 1_100_000, 1_700_000_000),
        ],
        "load": lambda _file: engine,
        "preload": ["tiny-chat"],
        "aliases": {"gpt-3.5-turbo": "tiny-chat"},
    }
    return EngineRegistry(**{**settings, **options})
