"""Body of ``POST /v1/completions``."""

from __future__ import annotations

from typing import Annotated, Any

from msgspec import Meta

from llmcore_server.bodies.choices import OTHER_FORMS, check_choices, invalid
from llmcore_server.schemas import LONGEST, Count, SamplingFields, StreamOptions

_MOST_TOKEN_ID = 2**31 - 1


class CompletionRequest(SamplingFields, frozen=True, kw_only=True):
    """A prompt is a text or token ids, or a list of either."""

    prompt: str | list[Any]
    max_tokens: Annotated[int, Meta(ge=0, le=LONGEST)] | None = None
    suffix: str | None = None
    echo: bool | None = None
    n: Count | None = None
    best_of: Count | None = None
    logprobs: Annotated[int, Meta(ge=0, le=20)] | None = None
    stream: bool | None = None
    stream_options: StreamOptions | None = None

    def check(self, max_choices: int) -> None:
        """Raise `ApiError` for values that contradict one another."""
        check_choices(self.n, max_choices)
        if self.best_of is not None:
            if self.best_of < (self.n or 1):
                raise invalid("best_of", "不能小于 n", "must be 'n' or more")
            if self.best_of > max_choices:
                raise invalid("best_of", f"最多为 {max_choices}", f"is at most {max_choices} on this server")
            if self.stream and self.best_of > (self.n or 1):
                raise invalid("best_of", "不能与 stream 同用", "cannot be streamed")
        if self.suffix and self.echo:
            raise invalid("suffix", "不能与 echo 同用", "cannot go with 'echo'")

    def check_total(self, prompts: int, most: int) -> None:
        """Raise `ApiError` for more completions than the engine's queue holds."""
        each = self.best_of or self.n or 1
        if prompts * each > most:
            raise invalid(
                "prompt",
                f"最多 {most} 个补全",
                f"and 'n' ask for {prompts * each} completions; at most {most}",
            )


# Parameters that would change the answer and are not served, with the values that ask for nothing.
UNSUPPORTED: dict[str, tuple[object, ...]] = {
    **OTHER_FORMS,
    "response_format": ({"type": "text"},),
    "tools": ([],),
    "functions": ([],),
}


def prompt_list(prompt: str | list[Any], most: int, param: str = "prompt") -> list[str | list[int]]:
    """Return the prompts of a request, each a text or token ids; raise `ApiError` for anything else."""
    if isinstance(prompt, str):
        return [prompt]
    if _is_ids(prompt):
        return [prompt]
    if not prompt:
        raise invalid(param, "不能为空列表", "must not be an empty list")
    if len(prompt) > most:
        raise invalid(param, f"最多 {most} 个", f"holds at most {most} texts")
    for number, item in enumerate(prompt):
        if not isinstance(item, str) and not _is_ids(item):
            place = f"{param}[{number}]"
            raise invalid(place, "应为文本或词元编号列表", "must be a text or a list of token ids")
    return prompt


def _is_ids(value: Any) -> bool:
    return (
        isinstance(value, list)
        and bool(value)
        # A boolean is an integer in Python, not in JSON.
        and all(type(item) is int and 0 <= item <= _MOST_TOKEN_ID for item in value)
    )
