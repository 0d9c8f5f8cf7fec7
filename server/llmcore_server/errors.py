"""The one catalogue of errors, and its two shapes: the specification's and OpenAI's."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, NamedTuple

Language = Literal["zh", "en"]


class Text(NamedTuple):
    """One message in both languages."""

    zh: str
    en: str

    def __call__(self, language: Language) -> str:
        return self.zh if language == "zh" else self.en


class Kind(NamedTuple):
    """What a code of the catalogue means; ``details`` is said where the raiser has nothing more exact."""

    status: int
    message: Text
    details: Text
    openai_type: str
    openai_code: str | None


CATALOGUE: Mapping[str, Kind] = {
    "INVALID_REQUEST": Kind(
        400,
        Text("请求参数错误", "The request is invalid"),
        Text("请检查请求参数", "Check the request's parameters"),
        "invalid_request_error",
        None,
    ),
    "MALFORMED_HTTP": Kind(
        400,
        Text("不是有效的 HTTP 请求", "This is not a valid HTTP request"),
        Text("请使用 HTTP/1.1 客户端", "Use a client of HTTP/1.1"),
        "invalid_request_error",
        None,
    ),
    "INVALID_JSON": Kind(
        400,
        Text("请求体不是有效的 JSON", "The request body is not valid JSON"),
        Text("请检查请求体的 JSON 语法和 UTF-8 编码", "Check the body's JSON syntax and UTF-8 encoding"),
        "invalid_request_error",
        None,
    ),
    "UNSUPPORTED_PARAMETER": Kind(
        400,
        Text("不支持该请求参数", "A parameter is not supported"),
        Text("请去掉该参数", "Leave the parameter out"),
        "invalid_request_error",
        "unsupported_parameter",
    ),
    "INVALID_SCHEMA": Kind(
        400,
        Text("无法按要求的格式输出", "The requested form of the answer cannot be served"),
        Text("请检查 JSON schema", "Check the JSON schema"),
        "invalid_request_error",
        "invalid_json_schema",
    ),
    "CONTEXT_LENGTH_EXCEEDED": Kind(
        400,
        Text("输入超过模型的上下文长度", "The input exceeds the model's context length"),
        Text("请缩短输入", "Shorten the input"),
        "invalid_request_error",
        "context_length_exceeded",
    ),
    "AUTHENTICATION_FAILED": Kind(
        401,
        Text("认证失败", "Authentication failed"),
        Text("请提供有效的 API Key 或 JWT", "Give a valid API key or JWT"),
        "invalid_request_error",
        "invalid_api_key",
    ),
    "PERMISSION_DENIED": Kind(
        403,
        Text("没有权限", "Permission denied"),
        Text("该密钥没有此接口的权限", "The key is not allowed to use this endpoint"),
        "permission_error",
        "insufficient_permissions",
    ),
    "NOT_FOUND": Kind(
        404,
        Text("资源未找到", "Resource not found"),
        Text("请检查请求地址", "Check the request's URL"),
        "invalid_request_error",
        "unknown_url",
    ),
    "MODEL_NOT_FOUND": Kind(
        404,
        Text("请求的模型不存在", "The requested model does not exist"),
        Text("请用模型列表接口查看可用的模型", "See the list of models for those available"),
        "invalid_request_error",
        "model_not_found",
    ),
    "METHOD_NOT_ALLOWED": Kind(
        405,
        Text("不支持该请求方法", "Method not allowed"),
        Text("请检查请求方法", "Check the request's method"),
        "invalid_request_error",
        "method_not_allowed",
    ),
    "REQUEST_TIMEOUT": Kind(
        408,
        Text("接收请求超时", "The request took too long to arrive"),
        Text("请重试", "Try again"),
        "invalid_request_error",
        "request_timeout",
    ),
    "PAYLOAD_TOO_LARGE": Kind(
        413,
        Text("请求体过大", "The request body is too large"),
        Text("请缩短请求", "Shorten the request"),
        "invalid_request_error",
        "request_too_large",
    ),
    "UNSUPPORTED_MEDIA_TYPE": Kind(
        415,
        Text("不支持的内容类型", "Unsupported content type"),
        Text("请使用 Content-Type: application/json", "Use Content-Type: application/json"),
        "invalid_request_error",
        "unsupported_media_type",
    ),
    "HEADERS_TOO_LARGE": Kind(
        431,
        Text("请求头过大", "The request's headers are too large"),
        Text("请缩短请求地址和请求头", "Shorten the request's URL and headers"),
        "invalid_request_error",
        "headers_too_large",
    ),
    "TOO_MANY_REQUESTS": Kind(
        429,
        Text("请求过于频繁", "Too many requests"),
        Text("等待队列已满，请稍后重试", "The queue is full; try again later"),
        "rate_limit_error",
        "rate_limit_exceeded",
    ),
    "INTERNAL_ERROR": Kind(
        500,
        Text("服务器内部错误", "Internal server error"),
        Text("请查看服务器日志", "See the server's log"),
        "server_error",
        None,
    ),
    "MODEL_NOT_LOADED": Kind(
        503,
        Text("请求的模型未加载", "The requested model is not loaded"),
        Text("请先调用加载接口", "Call the load endpoint first"),
        "server_error",
        "model_not_loaded",
    ),
    "MODEL_LOAD_FAILED": Kind(
        503,
        Text("模型加载失败", "The model failed to load"),
        Text("请查看服务器日志", "See the server's log"),
        "server_error",
        "model_load_failed",
    ),
    "INSUFFICIENT_MEMORY": Kind(
        503,
        Text("内存不足，无法加载模型", "There is not enough memory for the model"),
        Text("请卸载其他模型或选用更小的量化", "Unload another model, or choose a smaller quantization"),
        "server_error",
        "insufficient_memory",
    ),
    "DEADLINE_EXCEEDED": Kind(
        503,
        Text("请求超时，未能在期限内完成", "The request was not finished in its time"),
        Text("请放宽 timeout 或减少 max_tokens", "Allow a longer timeout or ask for fewer tokens"),
        "server_error",
        "deadline_exceeded",
    ),
    "SERVICE_UNAVAILABLE": Kind(
        503,
        Text("服务不可用", "Service unavailable"),
        Text("请稍后重试", "Try again later"),
        "server_error",
        "service_unavailable",
    ),
}


# What Anthropic calls the errors of a status.
_ANTHROPIC_TYPES = {
    401: "authentication_error",
    403: "permission_error",
    404: "not_found_error",
    413: "request_too_large",
    429: "rate_limit_error",
    503: "overloaded_error",
}


@dataclass(eq=False)
class ApiError(Exception):
    """A refusal the client is told about; ``code`` is a key of the catalogue.

    ``param`` names the offending parameter as a path such as ``messages[0].role``;
    ``retry_after`` is in seconds; ``reason`` is what the metrics count it under, its code if None.
    """

    code: str
    details: Text | None = None
    param: str | None = None
    retry_after: int | None = None
    reason: str | None = None

    def __str__(self) -> str:
        return f"{self.kind.message('en')}: {(self.details or self.kind.details)('en')}"

    @property
    def kind(self) -> Kind:
        return CATALOGUE[self.code]

    @property
    def status(self) -> int:
        return self.kind.status

    def native_body(self, language: Language) -> dict[str, object]:
        """Return the specification's shape: ``{"error": {"code", "message", "details"}}``."""
        details = self.details or self.kind.details
        message = self.kind.message(language)
        return {"error": {"code": self.code, "message": message, "details": details(language)}}

    def openai_body(self) -> dict[str, object]:
        """Return OpenAI's shape: ``{"error": {"message", "type", "param", "code"}}``, in English."""
        return {
            "error": {
                "message": str(self),
                "type": self.kind.openai_type,
                "param": self.param,
                "code": self.kind.openai_code,
            }
        }

    def anthropic_body(self) -> dict[str, object]:
        """Return Anthropic's shape: ``{"type": "error", "error": {"type", "message"}}``, in English."""
        kind = _ANTHROPIC_TYPES.get(
            self.status, "api_error" if self.status >= 500 else "invalid_request_error"
        )
        return {"type": "error", "error": {"type": kind, "message": str(self)}}

    def body(self, path: str, language: Language) -> dict[str, object]:
        """Return the shape of the route family ``path`` belongs to."""
        if is_anthropic_path(path):
            return self.anthropic_body()
        return self.openai_body() if is_openai_path(path) else self.native_body(language)


def is_anthropic_path(path: str) -> bool:
    """Whether a request path is one of Anthropic's, which lie among OpenAI's."""
    return path == "/v1/messages" or path.startswith("/v1/messages/")


def is_openai_path(path: str) -> bool:
    """Whether a request path belongs to the OpenAI-compatible family."""
    return path == "/v1" or path.startswith("/v1/")


def preferred_language(accept_language: str | None) -> Language:
    """Chinese unless ``Accept-Language`` (RFC 9110, 12.5.4) weighs English higher."""
    best = {"zh": 0.0, "en": 0.0}
    for item in (accept_language or "")[:1000].split(","):
        tag, _, parameters = item.partition(";")
        language = tag.strip().lower().partition("-")[0]
        quality = re.fullmatch(r"\s*q\s*=\s*([01](?:\.\d{0,3})?)\s*", parameters)
        weight = 1.0 if not parameters else float(quality[1]) if quality else 0.0
        if language in best:
            best[language] = max(best[language], weight)
    return "en" if best["en"] > best["zh"] else "zh"


def error_from_engine(error: Exception) -> ApiError | None:
    """Map what an engine refuses to what the client is told; None for what nobody expects."""
    from llmcore import errors as core  # noqa: PLC0415 - keeps the start of the process light

    said = str(error)
    if isinstance(error, ApiError):
        return error
    refusal = None
    if isinstance(error, core.ContextLengthError):
        refusal = ApiError("CONTEXT_LENGTH_EXCEEDED", Text(f"请缩短输入（{said}）", said))
    elif isinstance(error, core.QueueFullError):
        refusal = ApiError("TOO_MANY_REQUESTS", retry_after=1, reason="queue_full")
    elif isinstance(error, core.DeadlineExceededError):
        refusal = ApiError("DEADLINE_EXCEEDED")
    elif isinstance(error, core.GrammarError):
        refusal = ApiError("INVALID_SCHEMA", Text(said, said))
    elif isinstance(error, core.InvalidArgumentError):
        refusal = ApiError("INVALID_REQUEST", Text(f"引擎拒绝了请求：{said}", said))
    return refusal
