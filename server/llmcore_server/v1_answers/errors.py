"""Every refusal under ``/v1``, in OpenAI's shape and in Anthropic's; most streams that fail end with one."""

from __future__ import annotations

from llmcore_server.v1_answers.strict import Strict


class OpenAIErrorDetail(Strict, frozen=True):
    """OpenAI's description of a refusal."""

    message: str
    type: str
    param: str | None
    code: str | None


class OpenAIErrorAnswer(Strict, frozen=True):
    """Every refusal under ``/v1`` but for Anthropic's routes."""

    error: OpenAIErrorDetail


class AnthropicErrorDetail(Strict, frozen=True):
    """Anthropic's description of a refusal."""

    type: str
    message: str


class AnthropicErrorAnswer(Strict, frozen=True, tag_field="type", tag="error"):
    """Every refusal of Anthropic's routes, which lie among OpenAI's."""

    error: AnthropicErrorDetail
