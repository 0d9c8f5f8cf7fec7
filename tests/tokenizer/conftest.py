from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import gguf
import pytest
from hypothesis import settings

from llmcore.tokenizer import Tokenizer

# Times are other tests' business: on a busy machine any single example may be slow.
settings.register_profile("llmcore", deadline=None)
settings.load_profile("llmcore")

NORMAL, UNKNOWN, CONTROL, USER_DEFINED, BYTE = 1, 2, 3, 4, 6


@pytest.fixture(scope="session")
def byte_alphabet() -> list[str]:
    """GPT-2's character for each byte."""
    printable = [*range(33, 127), *range(161, 173), *range(174, 256)]
    others = iter(range(256, 256 + 256))
    return [chr(byte if byte in printable else next(others)) for byte in range(256)]


def _write_vocabulary(
    path: Path,
    model: str,
    tokens: list[str | bytes],
    types: list[int] | None,
    *,
    merges: Sequence[str] = (),
    scores: list[float] | None = None,
    ids: dict[str, int] | None = None,
    extra: Callable[[gguf.GGUFWriter], object] | None = None,
) -> Path:
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_tokenizer_model(model)
    writer.add_token_list(tokens)
    if types is not None:
        writer.add_token_types(types)
    if scores is not None:
        writer.add_token_scores(scores)
    if merges:
        writer.add_token_merges(list(merges))
    for name, token in (ids or {}).items():
        writer.add_uint32(f"tokenizer.ggml.{name}_token_id", token)
    if extra is not None:
        extra(writer)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.close()
    return path


@pytest.fixture(scope="session")
def write_vocabulary() -> Callable[..., Path]:
    """(path, model, tokens, types, merges=, scores=, ids=, extra=): writes a vocabulary-only GGUF file."""
    return _write_vocabulary


@pytest.fixture(scope="session")
def chat_vocabulary(tmp_path_factory: pytest.TempPathFactory, byte_alphabet: list[str]) -> Path:
    """All bytes, a few merges, ChatML's control tokens and user-defined thinking tags."""
    merges = ["h e", "l l", "he ll", "hell o", "Ġ w", "Ġw o"]
    tokens = [*byte_alphabet, *(rule.replace(" ", "") for rule in merges)]
    types = [NORMAL] * len(tokens)
    tokens += ["<|endoftext|>", "<|im_start|>", "<|im_end|>", "<think>", "</think>"]
    types += [CONTROL, CONTROL, CONTROL, USER_DEFINED, USER_DEFINED]
    first = len(types) - 5
    return _write_vocabulary(
        tmp_path_factory.mktemp("vocabulary") / "chat.gguf",
        "gpt2",
        tokens,
        types,
        merges=merges,
        ids={"bos": first, "eos": first + 2},
        extra=lambda writer: writer.add_string("tokenizer.ggml.pre", "qwen2"),
    )


@pytest.fixture(scope="session")
def chat_tokenizer(chat_vocabulary: Path) -> Tokenizer:
    return Tokenizer.from_gguf(chat_vocabulary)


def _write_spm_vocabulary(path: Path, **options: Any) -> Path:
    """Byte fallback, single letters and a few pieces with falling scores."""
    pieces = [
        "▁",
        "h",
        "e",
        "l",
        "o",
        "w",
        "r",
        "d",
        "he",
        "ll",
        "hell",
        "hello",
        "▁hello",
        "▁w",
        "or",
        "▁wor",
        "ld",
    ]
    tokens = ["<unk>", "<s>", "</s>", *(f"<0x{byte:02X}>" for byte in range(256)), *pieces]
    types = [UNKNOWN, CONTROL, CONTROL, *[BYTE] * 256, *[NORMAL] * len(pieces)]
    scores = [0.0] * 259 + [-float(rank) for rank in range(len(pieces))]
    return _write_vocabulary(
        path, "llama", tokens, types, scores=scores, ids={"bos": 1, "eos": 2, "unknown": 0}, **options
    )


@pytest.fixture(scope="session")
def write_spm_vocabulary() -> Callable[..., Path]:
    return _write_spm_vocabulary


@pytest.fixture(scope="session")
def spm_tokenizer(tmp_path_factory: pytest.TempPathFactory) -> Tokenizer:
    return Tokenizer.from_gguf(_write_spm_vocabulary(tmp_path_factory.mktemp("vocabulary") / "spm.gguf"))
