"""Errors that llmcore raises. The native core raises the same classes."""


class LLMCoreError(Exception):
    """Base of every error of llmcore."""


class InvalidArgumentError(LLMCoreError, ValueError):
    """An argument is out of its range; the message names it, what was given and what is expected."""


class GGUFError(LLMCoreError):
    """A GGUF file is damaged, truncated or not GGUF; the message says what is wrong and where."""


class ModelError(LLMCoreError):
    """A sound file that this build cannot run: an unknown architecture, a missing or misshapen tensor."""


class ContextLengthError(LLMCoreError):
    """A prompt does not fit the context."""


class QueueFullError(LLMCoreError):
    """The engine's queue is full; try again later."""


class DeadlineExceededError(LLMCoreError):
    """A request was not finished when its deadline passed."""


class GrammarError(LLMCoreError):
    """A grammar or JSON schema cannot be used; the message names the construct."""
