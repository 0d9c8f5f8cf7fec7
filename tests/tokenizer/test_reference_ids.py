"""Ids of made-up texts against those that `sentencepiece` and `tokenizers` gave; see make_references.py."""

from __future__ import annotations

import base64
import hashlib
import importlib.util
import json
import lzma
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gguf
import pytest

from llmcore.pretokenizers import PRETOKENIZERS
from llmcore.tokenizer import Tokenizer

HERE = Path(__file__).resolve().parent
REFERENCES = HERE / "references"
# As in make_references.py.
TEXT_SEED, TEXTS_PER_SCRIPT = 20240101, 125
BYTE_LEVEL_RULES = sorted(
    path.name[len("byte_level_") :].split(".")[0] for path in REFERENCES.glob("byte_level_*")
)
WITH_IDS = sorted(path.name.split(".")[0] for path in REFERENCES.glob("*.ids.xz"))


def read(name: str) -> bytes:
    return lzma.decompress((REFERENCES / f"{name}.xz").read_bytes())


@pytest.fixture(scope="module")
def texts() -> list[str]:
    spec = importlib.util.spec_from_file_location("reference_texts", HERE / "reference_texts.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    made: list[str] = module.texts(TEXT_SEED, TEXTS_PER_SCRIPT)
    return made


def write_reference_model(path: Path, model: dict[str, Any], write: Callable[..., Path]) -> Path:
    """The vocabulary-only file that a converter would make of the model."""

    def extra(writer: gguf.GGUFWriter) -> None:
        if "pre" in model:
            writer.add_tokenizer_pre(model["pre"])
        for key in ("add_space_prefix", "remove_extra_whitespaces"):
            if key in model:
                writer.add_bool(f"tokenizer.ggml.{key}", model[key])
        if "lowercase" in model:
            writer.add_bool("tokenizer.ggml.normalizer.lowercase", model["lowercase"])
        if model.get("precompiled_charsmap"):
            writer.add_precompiled_charsmap(base64.b64decode(model["precompiled_charsmap"]))

    tokens = model["tokens"]
    return write(
        path, model["model"], tokens, model.get("types", [1] * len(tokens)), scores=model.get("scores"),
        merges=model.get("merges", ()), ids=model.get("ids"), extra=extra,
    )  # fmt: skip


def unpacked(content: bytes) -> list[list[int]]:
    rows, at = [], 0
    while at < len(content):
        (n,) = struct.unpack_from("<H", content, at)
        rows.append(list(struct.unpack_from(f"<{n}H", content, at + 2)))
        at += 2 + 2 * n
    return rows


def test_there_are_enough_texts_in_enough_scripts(texts: list[str]) -> None:
    assert len(texts) >= 2000
    assert len(WITH_IDS) >= 7
    assert len(BYTE_LEVEL_RULES) >= 10
    joined = "".join(texts)
    for low, high in ((0x400, 0x4FF), (0x590, 0x5FF), (0xE00, 0xE7F), (0x1200, 0x137F), (0xAC00, 0xD7A3)):
        assert any(low <= ord(char) <= high for char in joined)


@pytest.mark.parametrize("name", WITH_IDS)
def test_ids_are_the_references(
    name: str, texts: list[str], tmp_path: Path, write_vocabulary: Callable[..., Path]
) -> None:
    model = json.loads(read(f"{name}.json"))
    tokenizer = Tokenizer.from_gguf(write_reference_model(tmp_path / "v.gguf", model, write_vocabulary))
    expected = unpacked(read(f"{name}.ids"))
    got = tokenizer.encode_batch(texts, add_special=False)
    assert len(expected) == len(got)
    assert [(text, a, b) for text, a, b in zip(texts, got, expected, strict=True) if a != b] == []


@pytest.mark.parametrize("rule", BYTE_LEVEL_RULES)
def test_texts_are_cut_as_published(
    rule: str, texts: list[str], tmp_path: Path, write_vocabulary: Callable[..., Path]
) -> None:
    assert rule in PRETOKENIZERS
    model = json.loads(read("byte_level.json")) | {"pre": rule}
    tokenizer = Tokenizer.from_gguf(write_reference_model(tmp_path / "v.gguf", model, write_vocabulary))
    expected = read(f"byte_level_{rule}.digests")
    got = tokenizer.encode_batch(texts, add_special=False)
    assert len(expected) == 4 * len(got)
    wrong = [
        text
        for i, (text, ids) in enumerate(zip(texts, got, strict=True))
        if hashlib.blake2s(struct.pack(f"<{len(ids) + 1}H", len(ids), *ids), digest_size=4).digest()
        != expected[4 * i : 4 * i + 4]
    ]
    assert wrong == []
