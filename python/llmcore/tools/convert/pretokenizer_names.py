"""Finds the name, for `tokenizer.ggml.pre`, of the rule by which a tokenizer.json cuts text into words."""

from __future__ import annotations

import re
from typing import Any

from llmcore.pretokenizers import PRETOKENIZERS

Patterns = tuple[str, ...]

_GPT2 = PRETOKENIZERS["gpt-2"].patterns[0]
_DIGITS = r"\p{N}"
# Other spellings of rules, as published tokenizers have them.
_SPELLINGS: dict[Patterns, str] = {
    (
        r"'(?i:[sdmt]|ll|ve|re)|[^\r\n\p{L}\p{N}]?+\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]++[\r\n]*"
        r"|\s*[\r\n]|\s+(?!\S)|\s+",
    ): "dbrx",
}
# Which of several names for one rule a model goes by.
_PREFERRED = {
    "chatglm": ("chatglm-bpe",),
    "glm": ("glm4",),
    "glm4": ("glm4",),
    "gpt_oss": ("gpt-4o",),
    "llama": ("llama-bpe", "smaug-bpe", "gpt-2", "starcoder"),
}


def pretokenizer_name(tokenizer: dict[str, Any], model_type: str) -> str | None:
    """The rule's name, or None if no known rule cuts like this one."""
    patterns = _patterns(tokenizer.get("pre_tokenizer"))
    if patterns is None:
        return None
    model = tokenizer.get("model")
    ignores_merges = isinstance(model, dict) and model.get("ignore_merges") is True
    names = [name for name, rule in PRETOKENIZERS.items() if rule.patterns == patterns]
    if not names:
        return _SPELLINGS.get(patterns)
    exact = [name for name in names if PRETOKENIZERS[name].ignore_merges == ignores_merges]
    preferred = _PREFERRED.get(model_type, ())
    ranked = [
        *(name for name in preferred if name in exact),
        *(name for name in preferred if name in names),
        *exact,
        *names,
    ]
    return ranked[0]


def _patterns(step: Any) -> Patterns | None:
    """The expressions that a pre-tokenizer splits by in turn, None if it does anything else."""
    match step:
        case {"type": "Sequence", "pretokenizers": list(steps)}:
            found = [_patterns(inner) for inner in steps]
            if None in found:
                return None
            return tuple(pattern for patterns in found for pattern in patterns or ())
        case {"type": "Split"}:
            return _split(step)
        case {"type": "Digits"}:
            return (_DIGITS if step.get("individual_digits") else r"\p{N}+",)
        case {"type": "ByteLevel"} if not step.get("add_prefix_space"):
            return () if step.get("use_regex") is False else (_GPT2,)
    return None


def _split(step: dict[str, Any]) -> Patterns | None:
    pattern = step.get("pattern")
    isolates = step.get("behavior") == "Isolated" and not step.get("invert")
    # Keeping what matches is isolating it where every character matches, as in all these expressions.
    keeps_matches = step.get("behavior") == "Removed" and step.get("invert") is True
    if not isinstance(pattern, dict) or not (isolates or keeps_matches):
        return None
    if isinstance(pattern.get("Regex"), str):
        return (pattern["Regex"],)
    if isinstance(pattern.get("String"), str):
        return (re.escape(pattern["String"]),)
    return None
