"""Published chat formats, for model files that bring no template of their own.

Each format is a Jinja template beside this file. One is recognised by the model's architecture, the tokens
that only chats use and, for the formats that write their marks as plain text, by what the model is called.
"""

from __future__ import annotations

import re
from collections.abc import Set
from dataclasses import dataclass, field
from functools import cache
from importlib import resources


@dataclass(frozen=True)
class ChatFormat:
    """A published format, and what a model that speaks it has."""

    name: str
    """Of the template's file, without its ending."""
    architectures: frozenset[str] = frozenset()
    """`general.architecture`; empty for any."""
    tokens: frozenset[str] = frozenset()
    """Tokens its vocabulary has."""
    vocabulary: str = ""
    """`tokenizer.ggml.model`; empty for any."""
    called: re.Pattern[str] | None = None
    """Found in a name of the model; None for any."""
    variables: dict[str, object] = field(default_factory=dict)
    """What the template is told besides."""

    def suits(self, architecture: str, vocabulary: str, tokens: Set[str], names: str) -> bool:
        return (
            (not self.architectures or architecture in self.architectures)
            and self.vocabulary in ("", vocabulary)
            and self.tokens <= tokens
            and (self.called is None or self.called.search(names) is not None)
        )

    @property
    def source(self) -> str:
        return _source(self.name)


@cache
def _source(name: str) -> str:
    return resources.files(__name__).joinpath(f"{name}.jinja").read_text(encoding="utf-8")


def _format(
    name: str,
    architectures: str,
    tokens: str,
    vocabulary: str = "",
    called: str | None = None,
    **variables: object,
) -> ChatFormat:
    return ChatFormat(
        name,
        frozenset(architectures.split()),
        frozenset(tokens.split()),
        vocabulary,
        None if called is None else re.compile(called, re.IGNORECASE),
        variables,
    )


_CHATML = "<|im_start|> <|im_end|>"
_HEADERS = "<|start_header_id|> <|end_header_id|> <|eot_id|>"
_NAMED_TURNS = "<|user|> <|assistant|> <|end|>"
_BPE, _SPM = "gpt2", "llama"

# The first that suits counts: those that ask for more come first.
FORMATS = (
    _format("gpt_oss", "gpt-oss", "<|start|> <|channel|> <|message|> <|end|>"),
    _format("chatglm3", "chatglm", "[gMASK] sop <|user|> <|assistant|>"),
    _format("glm4", "chatglm glm4", "[gMASK] <sop> <|user|> <|assistant|>"),
    _format("phi4", "phi3", f"{_CHATML} <|im_sep|>"),
    _format("phi4_mini", "phi3", _NAMED_TURNS, _BPE),
    _format("phi3", "phi3 llama", _NAMED_TURNS, _SPM),
    _format("qwen3", "qwen3 qwen3moe", _CHATML),
    _format("qwen2_5", "qwen2 qwen2moe", f"{_CHATML} <tool_call>"),
    _format("qwen", "qwen qwen2 qwen2moe", _CHATML),
    _format("chatml", "", _CHATML),
    _format("llama3_1", "llama", f"{_HEADERS} <|python_tag|>"),
    _format("llama3", "llama", _HEADERS),
    _format("gemma", "gemma gemma2 gemma3", "<start_of_turn> <end_of_turn>"),
    _format("mistral_v7", "llama", "[INST] [/INST] [SYSTEM_PROMPT]", _BPE, space=""),
    _format("mistral_v7", "llama", "[INST] [/INST] [SYSTEM_PROMPT]", _SPM, space=" "),
    _format("mistral_v3", "llama", "[INST] [/INST]", _BPE, space="", trims_answers=False),
    _format("mistral_v3", "llama", "[INST] [/INST]", _SPM, space=" ", trims_answers=True),
    _format("mistral_v1", "llama", "<s> </s>", _SPM, r"mi[sx]tral.*instruct"),
    _format("llama2", "llama", "<s> </s>", _SPM, r"llama[-_ ]?(v?2).*chat"),
)


def find_format(architecture: str, vocabulary: str, tokens: Set[str], names: str) -> ChatFormat | None:
    """The format a model speaks; None for a base model, or one whose format is not known.

    `tokens` are the texts of its control and user-defined tokens, `names` all that it is called.
    """
    return next((one for one in FORMATS if one.suits(architecture, vocabulary, tokens, names)), None)
