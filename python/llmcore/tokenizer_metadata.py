"""What a GGUF file says about its tokenizer, read and checked once."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import Any

import numpy as np

from llmcore import _core
from llmcore.errors import ModelError
from llmcore.pretokenizers import DEFAULT, PRETOKENIZERS, PreTokenizer

KINDS = ("gpt2", "llama", "gemma4", "bert", "t5", "whitespace")

NORMAL, UNKNOWN, CONTROL, USER_DEFINED, UNUSED, BYTE = 1, 2, 3, 4, 5, 6

# Bounds what it costs to keep texts from spelling control tokens: every end of a name is remembered.
MAX_CONTROL_WORK = 1 << 25

_NO_ID = (-1, 0xFFFFFFFF)  # what some writers put for "none"

# Ids that count where a file names none.
_DEFAULT_IDS = {
    "llama": {"bos": 1, "eos": 2, "unknown": 0},
    "bert": {"bos": 101, "unknown": 100, "seperator": 102},
    "t5": {"eos": 1, "unknown": 2},
}
# Ids that only other programs use, but that must be ids all the same. "seperator" is the format's spelling.
_OTHER_IDS = (
    "eot", "eom", "padding", "mask", "fim_pre", "fim_suf", "fim_mid", "fim_pad", "fim_rep", "fim_sep",
    "prefix", "suffix", "middle",
)  # fmt: skip

# Pre-tokenizers whose models have no BOS, whatever the file says.
_NO_BOS = ("glm4", "glm5", "chatglm-bpe")


def metadata(file: _core.GGUFFile, name: str, kind: type | tuple[type, ...], default: Any) -> Any:
    """The value under `tokenizer.<name>`, or `default`; ModelError if it is not of `kind`."""
    value = file.get(f"tokenizer.{name}", None)
    if value is None:
        return default
    if not isinstance(value, kind) or (isinstance(value, bool) and kind is int):
        raise ModelError(f"[tokenizer] tokenizer.{name} is of the wrong type; got {type(value).__name__}")
    return value


@dataclass(frozen=True)
class TokenizerMetadata:
    """Checked tokenizer metadata of a GGUF file, but for its long lists.

    `kind` tells how the vocabulary writes text; `controls` maps control tokens' texts to their ids.
    `strip_accents` is None where that goes with `lowercase`.
    """

    kind: str
    controls: dict[str, int]
    pre: PreTokenizer
    add_bos: bool
    add_eos: bool
    add_sep: bool
    bos_id: int | None
    eos_id: int | None
    unknown_id: int | None
    separator_id: int | None
    lowercase: bool
    strip_accents: bool | None
    chat_template: str | None


def _controls(vocabulary: _core.Vocabulary) -> dict[str, int]:
    controls: dict[str, int] = {}
    for token in np.flatnonzero(vocabulary.token_types == CONTROL).tolist():
        try:
            name = vocabulary.token_bytes(token).decode("utf-8")
        except UnicodeDecodeError:
            continue  # no text spells it
        if name:
            controls.setdefault(name, token)
    work = sum(len(name) ** 2 for name in controls)
    if work > MAX_CONTROL_WORK:
        raise ModelError(
            "[tokenizer] control tokens in tokenizer.ggml.tokens are too many or too long; "
            f"got {work} as the sum of their squared lengths; expected at most {MAX_CONTROL_WORK}"
        )
    return controls


def _pre_tokenizer(kind: str, name: str) -> PreTokenizer:
    if kind != "gpt2":
        return DEFAULT
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


def _bos_id(file: _core.GGUFFile, kind: str, pre: str, size: int) -> int | None:
    bos_id = _token_id(file, "bos", size, _DEFAULT_IDS.get(kind, {}).get("bos"))
    cls_id = _token_id(file, "cls", size)
    if kind == "bert" and cls_id is not None:
        return cls_id
    return None if pre in _NO_BOS else bos_id


def read_metadata(file: _core.GGUFFile, vocabulary: _core.Vocabulary) -> TokenizerMetadata:
    """Reads `tokenizer.*`; ModelError where it is missing, contradictory or of an unsupported kind."""
    kind = _core.tokenizer_kind(file)
    if kind not in KINDS:
        raise ModelError(
            f"[tokenizer] tokenizer.ggml.model; got {kind!r}; expected one of {', '.join(KINDS)}"
        )
    size = vocabulary.size
    pre_name = metadata(file, "ggml.pre", str, "default")
    pre = _pre_tokenizer(kind, pre_name)
    defaults = _DEFAULT_IDS.get(kind, {})
    bos_id = _bos_id(file, kind, pre_name, size)
    for name in _OTHER_IDS:
        _token_id(file, name, size)
    add_bos = metadata(file, "ggml.add_bos_token", bool, pre.add_bos or kind in ("llama", "bert"))
    forced_bos = kind == "gemma4" and pre_name != "sarvam-moe"
    return TokenizerMetadata(
        kind=kind,
        controls=_controls(vocabulary),
        pre=pre,
        add_bos=(add_bos or forced_bos) and bos_id is not None,
        add_eos=metadata(file, "ggml.add_eos_token", bool, kind == "t5"),
        add_sep=metadata(file, "ggml.add_sep_token", bool, kind == "bert"),
        bos_id=bos_id,
        eos_id=_token_id(file, "eos", size, defaults.get("eos")),
        unknown_id=_token_id(file, "unknown", size, defaults.get("unknown")),
        separator_id=_token_id(file, "seperator", size, defaults.get("seperator")),
        # The vocabulary of that kind is one of cased Chinese and English text.
        lowercase=metadata(file, "ggml.normalizer.lowercase", bool, kind != "whitespace"),
        strip_accents=metadata(file, "ggml.normalizer.strip_accents", bool, None),
        chat_template=metadata(file, "chat_template", str, None),
    )
