"""Request bodies as frozen structs, and how a body becomes one or a 400 that names the parameter."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Any, Generic, TypeVar

import msgspec
from msgspec import Meta, Struct

from llmcore_server.errors import ApiError, Text
from llmcore_server.ignored_fields import header_name, ignored_within, shape_of

if TYPE_CHECKING:
    from llmcore import SamplingParams

LONGEST = 1 << 24

Count = Annotated[int, Meta(ge=1, le=LONGEST)]
Temperature = Annotated[float, Meta(ge=0, le=2)]
Probability = Annotated[float, Meta(ge=0, le=1)]
Penalty = Annotated[float, Meta(ge=-2, le=2)]
Bias = Annotated[float, Meta(ge=-100, le=100)]
TokenId = Annotated[int, Meta(ge=0, le=2**31 - 1)]
StopString = Annotated[str, Meta(max_length=1024)]


# A client may let others go first; to push in front of them is the operator's affair alone.
Priority = Annotated[int, Meta(ge=0, le=100, description="lower ones are admitted first; 0 if absent")]
Seconds = Annotated[
    float, Meta(gt=0, le=86400, description="from the request's beginning to its end, then DEADLINE_EXCEEDED")
]
Breaker = Annotated[str, Meta(min_length=1, max_length=64)]


class SchedulingFields(Struct, frozen=True, kw_only=True):
    """When a generation runs, and until when, in seconds; null means absent."""

    priority: Priority | None = None
    timeout: Seconds | None = None


class SamplingFields(SchedulingFields, frozen=True, kw_only=True):
    """The sampling parameters every generating route takes; null means absent. `llmcore.SamplingParams` says
    what they do."""

    model: str | None = None
    max_tokens: Count | None = None
    temperature: Temperature | None = None
    top_k: Annotated[int, Meta(ge=0, le=LONGEST)] | None = None
    top_p: Probability | None = None
    min_p: Probability | None = None
    seed: Annotated[int, Meta(ge=-(2**63), le=2**63 - 1)] | None = None
    stop: StopString | Annotated[list[StopString], Meta(max_length=4)] | None = None
    stop_token_ids: Annotated[list[TokenId], Meta(max_length=64)] | None = None
    min_tokens: Annotated[int, Meta(ge=0, le=LONGEST)] | None = None
    ignore_eos: bool | None = None
    repetition_penalty: Annotated[float, Meta(gt=0, le=10)] | None = None
    frequency_penalty: Penalty | None = None
    presence_penalty: Penalty | None = None
    logit_bias: Annotated[dict[TokenId, Bias], Meta(max_length=1024)] | None = None
    typical_p: Annotated[float, Meta(gt=0, le=1, description="locally typical sampling; 1 is off")] | None = (
        None
    )
    top_n_sigma: Annotated[float, Meta(ge=0, le=100, description="standard deviations; 0 is off")] | None = (
        None
    )
    xtc_probability: Annotated[Probability, Meta(description="exclude top choices so often")] | None = None
    xtc_threshold: Annotated[Probability, Meta(description="what a top choice is")] | None = None
    mirostat: Annotated[int, Meta(ge=0, le=2, description="the version; 0 is off")] | None = None
    mirostat_tau: Annotated[float, Meta(ge=0, le=100, description="bits a token")] | None = None
    mirostat_eta: Annotated[Probability, Meta(description="how fast it corrects")] | None = None
    dry_multiplier: Annotated[float, Meta(ge=0, le=100, description="0 is off")] | None = None
    dry_base: Annotated[float, Meta(ge=1, le=100)] | None = None
    dry_allowed_length: Annotated[int, Meta(ge=1, le=LONGEST)] | None = None
    dry_range: Annotated[int, Meta(ge=0, le=LONGEST, description="of the last tokens; 0: all")] | None = None
    dry_sequence_breakers: Annotated[list[Breaker], Meta(max_length=32)] | None = None

    def sampling_params(self, **chosen: Any) -> SamplingParams:
        """Return the engine's parameters: the fields that were given, overridden by ``chosen``."""
        from llmcore import SamplingParams  # noqa: PLC0415 - keeps the start of the process light

        given = {name: value for name in _SAMPLING if (value := getattr(self, name)) is not None}
        if self.top_p is not None:
            # OpenAI's range includes 0, which is the likeliest token alone; the engine's does not.
            given["top_p"] = max(self.top_p, 1e-9)
        return SamplingParams(**{**given, **chosen})


_SAMPLING = tuple(
    name for name in SamplingFields.__struct_fields__ if name not in {"model", "priority", "timeout"}
)


class GenerateRequest(SamplingFields, frozen=True, kw_only=True):
    """Body of ``POST /api/v1/generate`` and ``/generate/stream``. ``response_format`` is that of
    ``/v1/chat/completions``."""

    prompt: str
    response_format: dict[str, Any] | None = None
    stream: bool | None = None
    raw: bool | None = None
    lora: Annotated[str, Meta(min_length=1, max_length=256)] | None = None


class BatchRequest(Struct, frozen=True, kw_only=True):
    """Body of ``POST /api/v1/batch/generate``; each item is checked by itself, as a `GenerateRequest`."""

    requests: Annotated[list[msgspec.Raw], Meta(min_length=1)]


class LoadRequest(Struct, frozen=True, kw_only=True):
    """Body of ``POST /api/v1/models/{name}/load``; may be absent."""

    quantization: Annotated[str, Meta(max_length=32)] | None = None
    prefer_gpu: bool | None = None
    dry_run: bool | None = None
    wait: bool | None = None


class AdapterRequest(Struct, frozen=True, kw_only=True):
    """Body of ``POST /api/v1/models/{name}/adapters``; ``path``: of a file in the models directory."""

    name: Annotated[str, Meta(min_length=1, max_length=64)]
    path: Annotated[str, Meta(min_length=1, max_length=4096)]
    scale: Annotated[float, Meta(ge=-1000, le=1000)] | None = None


class UnloadRequest(Struct, frozen=True, kw_only=True):
    """Body of ``POST /api/v1/models/{name}/unload``; may be absent."""


class StreamOptions(Struct, frozen=True, kw_only=True):
    """What a stream carries besides its text."""

    include_usage: bool | None = None


# Parameters that would change the answer and are not served, with the values that ask for nothing. The
# specification's answer has no place for several texts, nor for log-probabilities.
UNSUPPORTED: Mapping[str, tuple[object, ...]] = {
    "n": (1,),
    "best_of": (1,),
    "logprobs": (False,),
    "top_logprobs": (0,),
    "prompt_logprobs": (False,),
    "tools": ([],),
    "tool_choice": ("none", "auto"),
    "functions": ([],),
    "function_call": ("none", "auto"),
    "modalities": (["text"],),
    "audio": (),
    "web_search_options": (),
}

_T = TypeVar("_T", bound=Struct)
_RAW_OBJECT = msgspec.json.Decoder(dict[str, msgspec.Raw])


class BodyDecoder(Generic[_T]):
    """Decodes one kind of request body strictly."""

    def __init__(self, body_type: type[_T], unsupported: Mapping[str, tuple[object, ...]]) -> None:
        self.body_type = body_type
        self._decoder = msgspec.json.Decoder(body_type)
        self._unsupported = unsupported
        shape = shape_of(body_type)
        self._accounted_for = shape.names | {*unsupported}
        self._inner = shape.inner

    def decode(self, body: bytes) -> tuple[_T, list[str]]:
        """Return the request and the names of ignored fields, as a header can hold them; raise `ApiError` for
        a bad body."""
        try:
            fields = _RAW_OBJECT.decode(body)
            for name, neutral in self._unsupported.items():
                if name in fields and msgspec.json.decode(fields[name]) not in (None, *neutral):
                    raise _unsupported_parameter(name)
            request = self._decoder.decode(body)
            within = [
                path
                for name, shape in self._inner.items()
                if name in fields
                for path in ignored_within(name, fields[name], shape)
            ]
        except msgspec.ValidationError as error:
            raise _invalid_parameter(str(error)) from None
        except (msgspec.DecodeError, UnicodeError) as error:
            raise ApiError("INVALID_JSON", Text(f"请检查 JSON 语法（{error}）", str(error))) from None
        except RecursionError:
            nested = Text("JSON 嵌套过深", "The JSON is nested too deeply")
            raise ApiError("INVALID_JSON", nested) from None
        ignored = [
            header_name(name)
            for name, value in fields.items()
            if name not in self._accounted_for and bytes(value) != b"null"
        ]
        if getattr(request, "stream_options", None) is not None and not getattr(request, "stream", None):
            ignored.append("stream_options")
        return request, ignored + within


def _unsupported_parameter(name: str) -> ApiError:
    details = Text(f"暂不支持参数 {name}", f"'{name}' is not supported by this server")
    return ApiError("UNSUPPORTED_PARAMETER", details, param=name)


# msgspec's messages, in Chinese: https://jcristharif.com/msgspec documents no stable wording, so an
# unknown one is passed on as it is.
_CHINESE = (
    (re.compile(r"Object missing required field `(.+)`"), r"缺少必需的字段 \1"),
    (re.compile(r"Expected `(.+)`, got `(.+)`"), r"应为 \1，实际为 \2"),
    (re.compile(r"Expected `(.+)` of length (.+)"), r"\1 的长度应 \2"),
    (re.compile(r"Expected `(.+)` ([<>]=?) (.+)"), r"\1 应 \2 \3"),
    (re.compile(r"Invalid enum value (.+)"), r"无效的取值 \1"),
    (re.compile(r"(Number|Integer) out of range"), r"数值超出范围"),
)


def _invalid_parameter(said: str) -> ApiError:
    located = re.fullmatch(r"(.*?)(?: - at (?:`key` in )?`\$\.?(.*)`)?", said, re.DOTALL)
    message, param = (located[1], located[2] or "") if located else (said, "")
    missing = re.fullmatch(r"Object missing required field `(.+)`", message)
    if missing:
        param = f"{param}.{missing[1]}" if param else missing[1]
    chinese = message
    for pattern, replacement in _CHINESE:
        if pattern.fullmatch(message):
            chinese = pattern.sub(replacement, message)
            break
    if param:
        details = Text(f"参数 {param}：{chinese}", f"parameter '{param}': {message}")
        return ApiError("INVALID_REQUEST", details, param=param)
    return ApiError("INVALID_REQUEST", Text(chinese, message))
