"""Real vocabularies against the ids their own reference implementation gave."""

from __future__ import annotations

import functools
from pathlib import Path

import pytest

from llmcore.chat_template import ChatTemplate
from llmcore.tokenizer import Tokenizer

NAMES = (
    "deepseek-llm", "falcon", "gemma-4", "gpt-2", "llama-bpe", "llama-spm", "phi-3", "qwen2", "starcoder",
)  # fmt: skip
SEPARATOR = "\n__ggml_vocab_test__\n"


@functools.lru_cache(maxsize=1)
def load(path: Path) -> Tokenizer:
    return Tokenizer.from_gguf(path)


@pytest.fixture(params=NAMES)
def vocabulary(request: pytest.FixtureRequest, test_data: Path) -> Path:
    path = test_data / "vocab" / f"ggml-vocab-{request.param}.gguf"
    if not path.exists():
        pytest.skip(f"{path.name} is not among the test data")
    return path


def cases(vocabulary: Path) -> list[tuple[str, list[int]]]:
    texts = Path(f"{vocabulary}.inp").read_bytes().decode("utf-8").split(SEPARATOR)
    lines = Path(f"{vocabulary}.out").read_text().splitlines()
    assert len(lines) > 40
    assert len(texts) in (len(lines), len(lines) + 1)  # with or without a last separator
    return [(text, [int(word) for word in line.split()]) for text, line in zip(texts, lines, strict=False)]


def test_ids_are_the_published_ones(vocabulary: Path) -> None:
    tokenizer = load(vocabulary)
    pairs = cases(vocabulary)
    batch = tokenizer.encode_batch([text for text, _ in pairs], add_special=False)
    wrong = [text for (text, ids), got in zip(pairs, batch, strict=True) if got != ids]
    assert wrong == []


def test_decoding_gives_the_text_back(vocabulary: Path) -> None:
    tokenizer = load(vocabulary)
    for text, ids in cases(vocabulary):
        assert tokenizer.decode(ids) == text


def test_control_tokens_are_text_unless_asked_for(vocabulary: Path) -> None:
    tokenizer = load(vocabulary)
    control = [token for token in range(tokenizer.vocab_size) if tokenizer.vocabulary.token_type(token) == 3]
    assert control
    for token in control[:20]:
        name = tokenizer.token_bytes(token).decode()
        assert not set(tokenizer.encode(f"a{name}b", add_special=False)) & set(control)
        assert token in tokenizer.encode(f"a{name}b", add_special=False, parse_special=True)


def test_published_chat_templates_keep_contents_text(vocabulary: Path) -> None:
    tokenizer = load(vocabulary)
    if tokenizer.chat_template is None:
        pytest.skip("this vocabulary comes without a chat template")
    names = [
        tokenizer.token_bytes(token).decode()
        for token in range(tokenizer.vocab_size)
        if tokenizer.vocabulary.token_type(token) == 3
    ]
    bos, eos = (tokenizer.token_bytes(token or 0).decode() for token in (tokenizer.bos_id, tokenizer.eos_id))
    template = ChatTemplate(tokenizer.chat_template, bos, eos)

    def control_tokens(content: str) -> list[int]:
        ids = tokenizer.encode_chat(template, [{"role": "user", "content": content}])
        assert content in tokenizer.decode(ids)
        return [token for token in ids if tokenizer.vocabulary.token_type(token) == 3]

    assert control_tokens("".join(names[:9])) == control_tokens("hello")
