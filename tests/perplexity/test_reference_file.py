"""Files of log-probabilities: what is written is read, and damage is told."""

from __future__ import annotations

import json
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from llmcore.errors import InvalidArgumentError, LLMCoreError
from llmcore.tools.perplexity_reference import MAGIC, ReferenceReader, ReferenceWriter
from llmcore.tools.perplexity_statistics import log_softmax
from llmcore.tools.perplexity_windows import WindowPlan

N_VOCAB = 11
PLAN = WindowPlan(4, 2, bos=3)
TOKENS = [1, 5, 10, 0, 2]
HEADER = {"model": "tiny", "n_vocab": N_VOCAB, "n_tokens": 5, "n_ctx": 4, "stride": 2, "bos": 3}
ROW = 4 + 2 * N_VOCAB


@pytest.fixture
def rows() -> np.ndarray:
    return log_softmax(np.random.default_rng(1).normal(0, 3, (5, N_VOCAB)))


@pytest.fixture
def path(tmp_path: Path, rows: np.ndarray) -> Path:
    path = tmp_path / "saved"
    right = rows[np.arange(5), TOKENS]
    with ReferenceWriter(path, model="tiny", n_vocab=N_VOCAB, plan=PLAN, tokens=TOKENS) as writer:
        assert not path.exists()
        writer.add(rows[:2], right[:2])
        writer.add(rows[2:], right[2:])
    return path


def test_what_is_written_is_read(path: Path, rows: np.ndarray) -> None:
    with ReferenceReader(path) as reader:
        assert (reader.model, reader.n_vocab, reader.plan) == ("tiny", N_VOCAB, PLAN)
        assert reader.tokens.tolist() == TOKENS
        for start, end in ((0, 1), (1, 5)):
            log_probs, right = reader.read(end - start)
            np.testing.assert_allclose(log_probs, rows[start:end], rtol=2**-11, atol=2e-3)
            np.testing.assert_allclose(np.exp(log_probs).sum(axis=1), 1, rtol=1e-14)
            exact = rows[np.arange(start, end), TOKENS[start:end]]
            np.testing.assert_allclose(right, exact, rtol=1e-6)
        with pytest.raises(InvalidArgumentError, match="0 left"):
            reader.read(1)


def test_the_layout_is_the_documented_one(path: Path, rows: np.ndarray) -> None:
    data = path.read_bytes()
    (length,) = struct.unpack("<I", data[8:12])
    assert data[:8] == b"LLMCLP01"
    assert json.loads(data[12 : 12 + length]) == HEADER
    assert np.frombuffer(data[12 + length : 32 + length], "<i4").tolist() == TOKENS
    body = data[32 + length :]
    assert len(body) == 5 * ROW
    (right,) = struct.unpack("<f", body[ROW : ROW + 4])
    assert right == np.float32(rows[1, 5])
    assert np.array_equal(np.frombuffer(body[ROW + 4 : 2 * ROW], "<f2"), rows[1].astype("<f2"))


def test_values_beyond_float16_are_the_lowest(tmp_path: Path) -> None:
    path = tmp_path / "far"
    plan = WindowPlan(3, 2)
    with ReferenceWriter(path, model="m", n_vocab=2, plan=plan, tokens=[0, 0, 0]) as writer:
        writer.add(np.array([[0.0, -1e30]] * 2), np.array([0.0, 0.0]))
    with ReferenceReader(path) as reader:
        assert reader.read(2)[0].tolist() == [[0.0, -65504.0]] * 2


def test_an_unfinished_file_does_not_appear(tmp_path: Path, rows: np.ndarray) -> None:
    path = tmp_path / "saved"
    arguments: dict[str, Any] = {"model": "m", "n_vocab": N_VOCAB, "plan": PLAN, "tokens": TOKENS}
    with pytest.raises(KeyboardInterrupt), ReferenceWriter(path, **arguments):
        raise KeyboardInterrupt
    with pytest.raises(LLMCoreError, match="3 rows"), ReferenceWriter(path, **arguments) as writer:
        writer.add(rows[:2], rows[:2, 0])
    assert list(tmp_path.iterdir()) == []


def image(header: Any, *, body: bytes | None = None, tokens: list[int] | None = None) -> bytes:
    raw = header if isinstance(header, bytes) else json.dumps(header).encode()
    values = np.asarray(TOKENS if tokens is None else tokens, "<i4").tobytes()
    return MAGIC + struct.pack("<I", len(raw)) + raw + values + (bytes(5 * ROW) if body is None else body)


def changed(**values: Any) -> bytes:
    return image({**HEADER, **values})


HOSTILE = {
    "empty": b"",
    "another file": b"GGUF" + bytes(100),
    "an older version": image(HEADER).replace(MAGIC, b"LLMCLP00"),
    "no header": MAGIC,
    "a header beyond the file": MAGIC + struct.pack("<I", 5000) + b"{}",
    "a header of 4 GiB": MAGIC + struct.pack("<I", 2**32 - 1) + b"{}",
    "a header that is no JSON": image(b"{" * 50),
    "a header that is no text": image(b"\xff\xfe\xfd\xfc"),
    "a deep header": image(b"[" * 60000),
    "a header with a huge number": image(b'{"model": "m", "n_vocab": ' + b"9" * 9999 + b"}"),
    "a list": image([1, 2]),
    "no model": image({name: value for name, value in HEADER.items() if name != "model"}),
    "no vocabulary": changed(n_vocab=None),
    "a vocabulary of 0": changed(n_vocab=0),
    "a huge vocabulary": changed(n_vocab=2**31),
    "true tokens": changed(n_tokens=True),
    "negative tokens": changed(n_tokens=-5),
    "2^31 tokens": changed(n_tokens=2**31 - 1),
    "half a token": changed(n_tokens=0.5),
    "text for a window": changed(n_ctx="4"),
    "a window of 1": changed(n_ctx=1),
    "a stride of 0": changed(stride=0),
    "a stride beyond the window": changed(stride=4),
    "a negative BOS": changed(bos=-1),
    "one row too few": image(HEADER, body=bytes(4 * ROW)),
    "half a row": image(HEADER, body=bytes(5 * ROW - 1)),
    "a byte too many": image(HEADER, body=bytes(5 * ROW + 1)),
    "a token beyond the vocabulary": image(HEADER, tokens=[0, 1, 2, 3, N_VOCAB]),
    "a token below 0": image(HEADER, tokens=[0, 1, 2, 3, -1]),
}  # fmt: skip


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_files_are_refused(tmp_path: Path, name: str) -> None:
    path = tmp_path / "hostile"
    path.write_bytes(HOSTILE[name])
    with pytest.raises(InvalidArgumentError, match="perplexity"):
        ReferenceReader(path)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, 1.0])
@pytest.mark.parametrize("place", ["right", "log_probs"])
def test_rows_that_are_no_log_probabilities(tmp_path: Path, value: float, place: str) -> None:
    spoil: Callable[[bytearray], None] = {
        "right": lambda body: struct.pack_into("<f", body, 2 * ROW, value),
        "log_probs": lambda body: struct.pack_into("<e", body, 2 * ROW + 4 + 6, value),
    }[place]
    body = bytearray(5 * ROW)
    spoil(body)
    path = tmp_path / "hostile"
    path.write_bytes(image(HEADER, body=bytes(body)))
    with ReferenceReader(path) as reader:
        reader.read(2)
        with pytest.raises(InvalidArgumentError, match="log-probabilities"):
            reader.read(1)


def test_a_file_that_shrinks_while_it_is_read(tmp_path: Path) -> None:
    path = tmp_path / "long"
    with ReferenceWriter(path, model="m", n_vocab=5000, plan=PLAN, tokens=TOKENS) as writer:
        writer.add(np.full((5, 5000), -8.0), np.full(5, -8.0))
    with ReferenceReader(path) as reader:
        with path.open("r+b") as file:
            file.truncate(path.stat().st_size - 1)
        with pytest.raises(InvalidArgumentError, match="its length"):
            reader.read(5)
