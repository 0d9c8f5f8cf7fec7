"""An engine that says what it is told to, so that the HTTP layer is tested without a model."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from llmcore.errors import InvalidArgumentError
from llmcore_server.model_file import ModelFile
from llmcore_server.registry import EngineRegistry


@dataclass(frozen=True)
class FakeUsage:
    prompt_tokens: int
    completion_tokens: int
    cached_tokens: int = 0


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
    prompt_logprobs: Any = None


@dataclass(frozen=True)
class FakeMarkedText:
    shown: Mapping[int, str]
    controls: Mapping[int, str]

    def push(self, tokens: Sequence[int]) -> str:
        return "".join(
            self.shown.get(token, "" if token in self.controls else chr(token)) for token in tokens
        )

    def flush(self) -> str:
        return ""


class FakeTokenizer:
    """One token a character; a chat prompt is the conversation as JSON, so that a test can read it back."""

    def __init__(self, chat_template: str | None = "a template", *, takes_tools: bool = True) -> None:
        self.chat_template = chat_template
        self.takes_tools = takes_tools
        self.variables: list[dict[str, Any]] = []
        self.tools: list[Any] = []
        self.thinks_at_once = False
        self.infill = False
        # Characters that stand for control tokens: the engine's text leaves them out.
        self.controls: dict[int, str] = {}

    def encode(self, text: str, add_special: bool = True, parse_special: bool = False) -> list[int]:
        del parse_special
        return [*([2] if add_special else []), *map(ord, text)]

    def encode_chat(
        self,
        messages: Sequence[Mapping[str, Any]],
        add_generation_prompt: bool = True,
        tools: Sequence[Mapping[str, Any]] | None = None,
        **variables: Any,
    ) -> list[int]:
        self.variables.append(variables)
        self.tools.append(tools)
        rendered = self.render_chat(messages, add_generation_prompt, tools)
        return [*map(ord, rendered), *map(ord, "<think>" if self.thinks_at_once else "")]

    def render_chat(
        self,
        messages: Sequence[Mapping[str, Any]],
        add_generation_prompt: bool = True,
        tools: Sequence[Mapping[str, Any]] | None = None,
        **_variables: Any,
    ) -> str:
        assert add_generation_prompt
        assert tools is None or self.takes_tools
        return json.dumps(list(messages), ensure_ascii=False)

    def encode_infill(self, before: str, behind: str) -> list[int] | None:
        return [*map(ord, f"{before}|{behind}|")] if self.infill else None

    def decode(self, ids: Sequence[int], skip_special: bool = True) -> str:
        if any(token > sys.maxunicode for token in ids):
            raise InvalidArgumentError("[tokenizer] no such token")
        return "".join(chr(token) for token in ids if token != 2 or not skip_special)

    def token_bytes(self, token_id: int) -> bytes:
        return chr(token_id).encode()

    def special_token(self, name: str) -> int | None:
        del name
        return None

    def marked_text(self, names: Sequence[str], *_arguments: Any) -> FakeMarkedText | None:
        shown = {token: name for token, name in self.controls.items() if name in names}
        return FakeMarkedText(shown, self.controls) if shown else None


@dataclass(frozen=True)
class FakeEmbedding:
    vector: Any
    prompt_tokens: int


@dataclass(frozen=True)
class FakeStats:
    running: int = 0
    waiting: int = 0
    kv_blocks_total: int = 128
    kv_blocks_free: int = 100
    steps: int = 0
    step_seconds: float = 0.0
    preemptions: int = 0
    requests: int = 0
    cancelled: int = 0
    failed: int = 0
    expired: int = 0
    prompt_tokens: int = 0
    cached_prompt_tokens: int = 0
    generated_tokens: int = 0
    guessed_tokens: int = 0
    accepted_tokens: int = 0
    wasted_tokens: int = 0
    kv_spilled_ram: int = 0
    kv_restored_ram: int = 0
    kv_spilled_disk: int = 0
    kv_restored_disk: int = 0
    kept_preemptions: int = 0
    drafted_tokens: int = 0
    accepted_draft_tokens: int = 0
    draft_failures: int = 0
    draft_seconds: float = 0.0


@dataclass(frozen=True)
class FakeModelInfo:
    n_ctx: int = 2048
    d_model: int = 4
    device: str = "cpu"
    system_fingerprint: str = "fp_0123456789abcdef"
    generates: bool = True
    pooling: str = "mean"


@dataclass(frozen=True)
class FakeScheduling:
    tenant: str | None
    priority: int
    deadline: float | None


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
    scheduled: list[FakeScheduling] = field(default_factory=list)
    aborted: list[str] = field(default_factory=list)
    adapters_used: list[str | None] = field(default_factory=list)
    adapters: dict[str, float] = field(default_factory=dict)
    adapter_error: Exception | None = None
    embedded: list[tuple[bool, str | None]] = field(default_factory=list)
    finished: int = 0
    cached_tokens: int = 0
    closed: bool = False

    async def embed(
        self,
        prompts: Sequence[str | Sequence[int]],
        *,
        normalize: bool = True,
        lora: str | None = None,
        pooling: str | None = None,
    ) -> list[FakeEmbedding]:
        """The vector's elements tell the prompt's length."""
        self.adapters_used.append(lora)
        self.embedded.append((normalize, pooling))
        if self.error is not None:
            raise self.error
        return [FakeEmbedding(np.full(4, len(one) / 2, np.float32), len(one)) for one in prompts]

    async def generate(
        self,
        prompt: str | list[int],
        params: Any,
        *,
        request_id: str | None = None,
        priority: int = 0,
        tenant: str | None = None,
        lora: str | None = None,
        deadline: float | None = None,
    ) -> AsyncIterator[FakeDelta]:
        del request_id
        self.adapters_used.append(lora)
        self.scheduled.append(FakeScheduling(tenant, priority, deadline))
        self.prompts.append(prompt)
        self.params.append(params)
        await asyncio.sleep(self.first_pause)
        text = self.text[: params.max_tokens]
        choices = getattr(params, "n", 1)
        prompt_logprobs = None
        if getattr(params, "prompt_logprobs", None) is not None and self.logprobs_of is not None:
            prompt_logprobs = (None, *(self.logprobs_of(token)[0] for token in prompt[1:]))
        if self.error is not None and self.fail_after == 0:
            raise self.error
        for position, character in enumerate(text):
            last = position == len(text) - 1
            for index in range(choices):
                yield FakeDelta(
                    index,
                    "" if ord(character) in self.tokenizer.controls else character,
                    (ord(character),),
                    self.logprobs_of(ord(character)) if self.logprobs_of else None,
                    ("stop" if len(text) == len(self.text) else "length") if last else None,
                    FakeUsage(len(prompt), position + 1, self.cached_tokens) if last else None,
                    FakeTimings(0.001) if last else None,
                    prompt_logprobs if position == 0 else None,
                )
            if self.error is not None and position + 1 == self.fail_after:
                raise self.error
            await asyncio.sleep(self.pause)
        self.finished += 1

    def load_adapter(self, name: str, path: str | Path, scale: float = 1.0) -> None:
        del path
        if self.adapter_error is not None:
            raise self.adapter_error
        self.adapters[name] = scale

    def unload_adapter(self, name: str) -> None:
        del self.adapters[name]

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
