"""What several bodies check in the same way, and how they refuse."""

from __future__ import annotations

from llmcore_server.errors import ApiError, Text

# Names by which other servers take what the text must look like; an answer without it would be wrong.
OTHER_FORMS: dict[str, tuple[object, ...]] = dict.fromkeys(
    (
        *("grammar", "json_schema", "structured_outputs"),
        *("guided_json", "guided_regex", "guided_choice", "guided_grammar"),
    ),
    (),
)


def check_choices(n: int | None, most: int) -> None:
    """Raise `ApiError` for more choices than the server makes."""
    if n is not None and n > most:
        raise invalid("n", f"最多为 {most}", f"is at most {most} on this server")


def invalid(param: str, zh: str, en: str) -> ApiError:
    """Return the refusal of a parameter's value."""
    return ApiError("INVALID_REQUEST", Text(f"参数 {param} {zh}", f"parameter '{param}' {en}"), param=param)


def unsupported(param: str, value: str) -> ApiError:
    """Return the refusal of a value that the server does not serve."""
    details = Text(f"暂不支持 {param} 的取值 {value}", f"'{value}' is not supported in '{param}'")
    return ApiError("UNSUPPORTED_PARAMETER", details, param=param)
