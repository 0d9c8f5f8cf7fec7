"""Which tokens begin and end a text, and the chat template: what stands beside the vocabulary."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from llmcore.tokenizer_metadata import CONTROL
from llmcore.tools.convert.errors import unusable
from llmcore.tools.convert.json_file import read_optional_json, read_text
from llmcore.tools.convert.vocabulary import Vocabulary

_ROLES = ("bos", "eos", "unk", "sep", "pad", "cls", "mask")
Template = str | Sequence[Mapping[str, str]]


def add_special_tokens(
    vocabulary: Vocabulary,
    config: Mapping[str, Any],
    tokenizer_config: Mapping[str, Any],
    generation: Mapping[str, Any],
) -> None:
    """Sets the ids by role: what tokenizer_config.json names, else what config.json numbers.

    Ids that the vocabulary already has, from its own model, are the last resort. A further id at which
    generation_config.json ends a text becomes the end of a turn.
    """
    fallback = dict(vocabulary.special_ids)
    vocabulary.special_ids.clear()
    for role in _ROLES:
        name = tokenizer_config.get(f"{role}_token")
        if isinstance(name, Mapping):
            name = name.get("content")
        token = vocabulary.find(name) if isinstance(name, str) and name else None
        if token is None:
            token = _first_id(config.get(f"{role}_token_id"), len(vocabulary.tokens))
        if token is None:
            token = fallback.pop(role, None)
        if token is not None:
            vocabulary.special_ids[role] = token
    vocabulary.special_ids.update({role: token for role, token in fallback.items() if role in ("eot", "eom")})
    ends = generation.get("eos_token_id")
    for end in ends if isinstance(ends, list) else [ends]:
        token = _first_id(end, len(vocabulary.tokens))
        if token is None or vocabulary.types[token] != CONTROL:
            continue
        if token not in (vocabulary.special_ids.get(role) for role in ("eos", "pad")):
            vocabulary.special_ids.setdefault("eot", token)


def _first_id(value: object, size: int) -> int | None:
    if isinstance(value, list):
        value = value[0] if value else None
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value < size:
        return None
    return value


def add_flags(
    vocabulary: Vocabulary, tokenizer_config: Mapping[str, Any], tokenizer: Mapping[str, Any]
) -> None:
    """Whether a text gets BOS and EOS: by tokenizer.json's template, else by tokenizer_config.json's word."""
    for role in ("bos", "eos"):
        wanted = tokenizer_config.get(f"add_{role}_token")
        if isinstance(wanted, bool):
            vocabulary.adds[role] = wanted
    post = tokenizer.get("post_processor")
    steps = post.get("processors", [post]) if isinstance(post, Mapping) else []
    for step in steps if isinstance(steps, list) else []:
        if not isinstance(step, Mapping):
            continue
        if step.get("type") == "ByteLevel":
            for role in ("bos", "eos"):
                vocabulary.adds.setdefault(role, False)
        elif step.get("type") == "TemplateProcessing":
            _add_flags_of_template(vocabulary, step.get("single"))


def _add_flags_of_template(vocabulary: Vocabulary, single: object) -> None:
    if not isinstance(single, list) or not all(isinstance(part, Mapping) for part in single):
        return
    specials = [part.get("SpecialToken") for part in single]
    names = [special.get("id") if isinstance(special, Mapping) else None for special in specials]
    ends = {"bos": names[0] if names else None, "eos": names[-1] if len(names) > 1 else None}
    for role, name in ends.items():
        token = vocabulary.find(name) if isinstance(name, str) else None
        if role == "bos" and token is not None:
            vocabulary.special_ids.setdefault(role, token)
        vocabulary.adds[role] = token is not None and token == vocabulary.special_ids.get(role)


def chat_template(folder: Path, tokenizer_config: Mapping[str, Any]) -> Template | None:
    """The chat template, or several as {name, template}: tokenizer_config.json's, else from its own files."""
    template = tokenizer_config.get("chat_template")
    if template is None:
        template = _template_files(folder)
    if isinstance(template, Mapping):
        template = [{"name": name, "template": text} for name, text in template.items()]
    if template is None or isinstance(template, str):
        return template
    if not isinstance(template, list):
        raise unusable("chat_template", type(template).__name__, "a text or a list of named ones")
    for choice in template:
        if not isinstance(choice, Mapping) or not all(
            isinstance(choice.get(key), str) for key in ("name", "template")
        ):
            raise unusable("entry of chat_template", choice, "a name and a template")
    return template


def _template_files(folder: Path) -> Any:
    if not (folder / "chat_template.jinja").is_file():
        return read_optional_json(folder / "chat_template.json").get("chat_template")
    template = read_text(folder / "chat_template.jinja")
    others = sorted((folder / "additional_chat_templates").glob("*.jinja"))
    if not others:
        return template
    named = [{"name": path.stem, "template": read_text(path)} for path in others]
    return [{"name": "default", "template": template}, *named]
