"""llmcore: runs language models from GGUF files on a native core.

`LLM` for scripts, `AsyncEngine` for servers; both take `SamplingParams`.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from llmcore.errors import (
    ContextLengthError,
    DeadlineExceededError,
    GGUFError,
    GrammarError,
    InvalidArgumentError,
    LLMCoreError,
    ModelError,
    QueueFullError,
)

if TYPE_CHECKING:
    from llmcore._core import __version__
    from llmcore.async_engine import AsyncEngine
    from llmcore.chat_template import ChatTemplate
    from llmcore.embeddings import Embedding
    from llmcore.engine_info import EngineStats, ModelInfo
    from llmcore.llm import LLM
    from llmcore.lora import LoraInfo, LoraSource
    from llmcore.outputs import Completion, Delta, Timings, TokenLogprob, Usage
    from llmcore.sampling_params import SamplingParams
    from llmcore.structured_output import StructuredOutput
    from llmcore.tokenizer import Tokenizer

__all__ = [
    "LLM",
    "AsyncEngine",
    "ChatTemplate",
    "Completion",
    "ContextLengthError",
    "DeadlineExceededError",
    "Delta",
    "Embedding",
    "EngineStats",
    "GGUFError",
    "GrammarError",
    "InvalidArgumentError",
    "LLMCoreError",
    "LoraInfo",
    "LoraSource",
    "ModelError",
    "ModelInfo",
    "QueueFullError",
    "SamplingParams",
    "StructuredOutput",
    "Timings",
    "TokenLogprob",
    "Tokenizer",
    "Usage",
    "__version__",
]

# Imported when first used, so that `import llmcore` takes milliseconds.
_HOMES = {
    "LLM": "llm",
    "AsyncEngine": "async_engine",
    "ChatTemplate": "chat_template",
    "Completion": "outputs",
    "Delta": "outputs",
    "Embedding": "embeddings",
    "EngineStats": "engine_info",
    "LoraInfo": "lora",
    "LoraSource": "lora",
    "ModelInfo": "engine_info",
    "SamplingParams": "sampling_params",
    "StructuredOutput": "structured_output",
    "Timings": "outputs",
    "TokenLogprob": "outputs",
    "Tokenizer": "tokenizer",
    "Usage": "outputs",
    "__version__": "_core",
}


def __getattr__(name: str) -> Any:
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module 'llmcore' has no attribute {name!r}")
    value = getattr(import_module(f"llmcore.{home}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
