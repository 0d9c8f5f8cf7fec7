"""What a GGUF file says about its tokenizer, read and checked once."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from llmcore import _core
from llmcore.errors import ModelError
from llmcore.pretokenizers import DEFAULT, PRETOKENIZERS, PreTokenizer

MODELS = ("gpt2", "llama", "gemma4", "bert")

NORMAL, UNKNOWN, CONTROL, USER_DEFINED, UNUSED, BYTE = 1, 2, 3, 4, 5, 6

# Bounds what it costs to keep texts from spelling control tokens: every end of a name is remembered.
MAX_CONTROL_WORK = 1 << 25

_NO_ID = (-1, 0xFFFFFFFF)  # what some writers put for "none"


def metadata(file: _core.GGUFFile, name: str, kind: type | tuple[type, ...], default: Any) -> Any:
    """The value under `tokenizer.<name>`, or `default`; ModelError if it is not of `kind`."""
    value = file.get(f"tokenizer.{name}", None)
    if value is None:
        return default
    if not isinstance(value, kind) or (isinstance(value, bool) and kind is int):
        raise ModelError(f"[tokenizer] tokenizer.{name} is of the wrong type; got {type(value).__name__}")
    return value


def _texts(file: _core.GGUFFile, name: str) -> list[str]:
    # The reader gives lists for arrays of strings alone.
    texts: list[str] = metadata(file, name, list, [])
    return texts


def _is_unicode(text: str) -> bool:
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        return False
    return True


@dataclass(frozen=True)
class TokenizerMetadata:
    """Checked tokenizer metadata of a GGUF file.

    `pieces` are the vocabulary's texts by token id, for encoding: a control token, an unused one, one that is
    not UTF-8, empty or repeated has a placeholder there that no text can produce. `controls` maps control
    tokens' own texts to their ids.
    """

    model: str
    pieces: list[str]
    types: npt.NDArray[np.uint8]
    scores: npt.NDArray[np.float32]
    merges: list[str]
    controls: dict[str, int]
    pre: PreTokenizer
    add_space_prefix: bool
    add_bos: bool
    add_eos: bool
    bos_id: int | None
    eos_id: int | None
    unknown_id: int | None
    separator_id: int | None
    lowercase: bool
    chat_template: str | None


def _placeholder(token: int) -> str:
    # Every model turns spaces into something else before it looks words up.
    return f" no text {token} "


def _pieces_and_controls(tokens: list[str], types: npt.NDArray[np.uint8]) -> tuple[list[str], dict[str, int]]:
    controls: dict[str, int] = {}
    for token in np.flatnonzero(types == CONTROL).tolist():
        if tokens[token] and _is_unicode(tokens[token]):
            controls.setdefault(tokens[token], token)
    work = sum(len(name) ** 2 for name in controls)
    if work > MAX_CONTROL_WORK:
        raise ModelError(
            "[tokenizer] control tokens in tokenizer.ggml.tokens are too many or too long; "
            f"got {work} as the sum of their squared lengths; expected at most {MAX_CONTROL_WORK}"
        )
    hidden = set(np.flatnonzero((types == CONTROL) | (types == UNUSED)).tolist())
    if not all(tokens) or len(set(tokens)) < len(tokens):
        first: dict[str, int] = {"": -1}
        hidden.update(i for i, text in enumerate(tokens) if first.setdefault(text, i) != i)
    if not _is_unicode("".join(tokens)):
        hidden.update(i for i, text in enumerate(tokens) if not _is_unicode(text))
    pieces = list(tokens)
    for token in hidden:
        pieces[token] = _placeholder(token)
    return pieces, controls


def _pre_tokenizer(file: _core.GGUFFile, model: str) -> PreTokenizer:
    if model != "gpt2":
        return DEFAULT
    name = metadata(file, "ggml.pre", str, "default")
    rule = PRETOKENIZERS.get(name)
    if rule is None:
        warnings.warn(
            f"[tokenizer] unknown pre-tokenizer {name!r}; text is cut by the default rule, maybe less well",
            stacklevel=4,
        )
        return DEFAULT
    return rule


def _token_id(file: _core.GGUFFile, name: str, size: int, default: int | None = None) -> int | None:
    token = metadata(file, f"ggml.{name}_token_id", int, None)
    if token is None or token in _NO_ID:
        return default if default is not None and default < size else None
    if not 0 <= token < size:
        raise ModelError(f"[tokenizer] {name}_token_id; got {token}; expected a token id below {size}")
    return int(token)


def _merges(file: _core.GGUFFile) -> list[str]:
    rules = _texts(file, "ggml.merges")
    if _is_unicode("".join(rules)):
        return rules
    return [rule for rule in rules if _is_unicode(rule)]  # no piece of text matches the others


def _scores(file: _core.GGUFFile, size: int) -> npt.NDArray[np.float32]:
    value = metadata(file, "ggml.scores", np.ndarray, None)
    if value is None:
        return np.zeros(size, np.float32)
    if len(value) != size:
        raise ModelError(f"[tokenizer] length of tokenizer.ggml.scores; got {len(value)}; expected {size}")
    with np.errstate(over="ignore"):
        return np.asarray(value, np.float32)


def read_metadata(file: _core.GGUFFile, vocabulary: _core.Vocabulary) -> TokenizerMetadata:
    """Reads `tokenizer.*`; ModelError where it is missing, contradictory or of an unsupported kind."""
    model = metadata(file, "ggml.model", str, "")
    if model not in MODELS:
        raise ModelError(
            f"[tokenizer] tokenizer.ggml.model; got {model!r}; expected one of {', '.join(MODELS)}"
        )
    types = vocabulary.token_types
    size = len(types)
    pieces, controls = _pieces_and_controls(_texts(file, "ggml.tokens"), types)
    pre = _pre_tokenizer(file, model)
    is_spm, is_bert = model == "llama", model == "bert"
    bos_id = _token_id(file, "bos", size, default=1 if is_spm else None)
    if is_bert:
        bos_id = _token_id(file, "cls", size, default=bos_id)
    if metadata(file, "ggml.pre", str, "") in ("glm4", "chatglm-bpe"):
        bos_id = None
    add_bos = metadata(file, "ggml.add_bos_token", bool, pre.add_bos or is_spm or is_bert)
    return TokenizerMetadata(
        model=model,
        pieces=pieces,
        types=types,
        scores=_scores(file, size) if is_spm else np.zeros(0, np.float32),
        merges=_merges(file),
        controls=controls,
        pre=pre,
        add_space_prefix=metadata(file, "ggml.add_space_prefix", bool, is_spm),
        # Gemma 4 needs its BOS whatever the file says.
        add_bos=(add_bos or model == "gemma4") and bos_id is not None,
        add_eos=metadata(file, "ggml.add_eos_token", bool, False),
        bos_id=bos_id,
        eos_id=_token_id(file, "eos", size, default=2 if is_spm else None),
        unknown_id=_token_id(file, "unknown", size, default=0 if is_spm else None),
        separator_id=_token_id(file, "seperator", size),  # the format's own spelling
        lowercase=metadata(file, "ggml.normalizer.lowercase", bool, True),
        chat_template=metadata(file, "chat_template", str, None),
    )
