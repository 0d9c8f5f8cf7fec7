"""A model's log-probabilities over a text, kept in a file for others to be compared with.

The file, all little-endian:

1. eight bytes, `LLMCLP01`;
2. the length of the header in bytes, uint32, at most 65,536;
3. the header, a JSON object in UTF-8: `model` (a name, for people), `n_vocab`, `n_tokens`, `n_ctx`, `stride`
   (null: second halves of windows) and `bos` (null: none);
4. the tokens of the text, int32, `n_tokens` of them;
5. for every scored token, in order, its own log-probability, float32, and then those of the whole
   vocabulary at that position, float16, `n_vocab` of them.

Readers normalise the float16 values again in float64: their
rounding then changes a divergence only to second order.
"""

import json
import os
import struct
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO

import numpy as np
import numpy.typing as npt

from llmcore.errors import InvalidArgumentError, LLMCoreError
from llmcore.tools.perplexity_statistics import Floats, log_softmax
from llmcore.tools.perplexity_windows import WindowPlan

MAGIC = b"LLMCLP01"
_LONGEST_HEADER = 1 << 16
_LARGEST_VOCABULARY = 1 << 24
_LARGEST = (1 << 31) - 1
_LOWEST = float(np.finfo(np.float16).min)


def row_bytes(n_vocab: int) -> int:
    """What a scored token takes."""
    return _row_type(n_vocab).itemsize


def _row_type(n_vocab: int) -> np.dtype[np.void]:
    return np.dtype([("right", "<f4"), ("log_probs", "<f2", (n_vocab,))])


class ReferenceWriter:
    """Writes the file row by row; it appears under its name when it is complete. A context manager."""

    def __init__(
        self, path: Path, *, model: str, n_vocab: int, plan: WindowPlan, tokens: Sequence[int]
    ) -> None:
        self._path = path
        self._partial = path.with_name(path.name + ".part")
        self._row = _row_type(n_vocab)
        self._missing = plan.n_scored(len(tokens))
        header = json.dumps(
            {
                "model": model,
                "n_vocab": n_vocab,
                "n_tokens": len(tokens),
                "n_ctx": plan.n_ctx,
                "stride": plan.stride,
                "bos": plan.bos,
            }
        ).encode()
        self._file: BinaryIO = self._partial.open("wb")
        self._file.write(MAGIC + struct.pack("<I", len(header)) + header)
        self._file.write(np.asarray(tokens, "<i4").tobytes())

    def __enter__(self) -> "ReferenceWriter":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._file.close()
        try:
            if kind is None:
                if self._missing:
                    raise LLMCoreError(f"[perplexity] {self._path}: {self._missing} rows were not written")
                os.replace(self._partial, self._path)
        finally:
            self._partial.unlink(missing_ok=True)

    def add(self, log_probs: Floats, right: Floats) -> None:
        """The next rows: (n, n_vocab), and the scored tokens' own values, (n,)."""
        rows = np.empty(len(right), self._row)
        rows["right"] = right
        rows["log_probs"] = np.maximum(log_probs, _LOWEST)
        self._file.write(rows.tobytes())
        self._missing -= len(rows)


class ReferenceReader:
    """Reads such a file from its first row to its last. A context manager.

    Raises InvalidArgumentError, from the constructor or from `read`, if the file is damaged or another kind
    of file.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file: BinaryIO = path.open("rb")
        try:
            size = os.fstat(self._file.fileno()).st_size
            header = self._header(size)
            self.model: str = str(header["model"])
            self.n_vocab = self._number(header, "n_vocab", most=_LARGEST_VOCABULARY)
            n_tokens = self._number(header, "n_tokens")
            self.plan = WindowPlan(
                self._number(header, "n_ctx"),
                None if header.get("stride") is None else self._number(header, "stride"),
                None if header.get("bos") is None else self._number(header, "bos", least=0),
            )
            self._row = _row_type(self.n_vocab)
            self._n_left = self.plan.n_scored(n_tokens)
            expected = self._file.tell() + 4 * n_tokens + self._n_left * self._row.itemsize
            if size != expected:
                raise self._broken("its length", f"{size} bytes", f"{expected} for what its header says")
            self.tokens: npt.NDArray[np.int32] = np.frombuffer(self._take(4 * n_tokens), "<i4")
            if ((self.tokens < 0) | (self.tokens >= self.n_vocab)).any():
                raise self._broken("its tokens", "one outside the vocabulary", f"0 to {self.n_vocab - 1}")
        except BaseException:
            self._file.close()
            raise

    def __enter__(self) -> "ReferenceReader":
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def read(self, n: int) -> tuple[Floats, Floats]:
        """The next n rows' log-probabilities, (n, n_vocab), and those of the scored tokens, (n,)."""
        if n > self._n_left:
            raise self._broken("rows", f"{self._n_left} left", f"{n}")
        rows = np.frombuffer(self._take(n * self._row.itemsize), self._row)
        self._n_left -= n
        for values in (rows["right"], rows["log_probs"]):
            if not (np.isfinite(values) & (values <= 0)).all():
                raise self._broken("its log-probabilities", "a value above 0 or none", "0 or less")
        return log_softmax(rows["log_probs"]), rows["right"].astype(np.float64)

    def _header(self, size: int) -> dict[str, Any]:
        start = self._file.read(len(MAGIC) + 4)
        if len(start) < len(MAGIC) + 4 or start[: len(MAGIC)] != MAGIC:
            raise self._broken("its first bytes", repr(start[: len(MAGIC)]), f"{MAGIC!r}")
        (length,) = struct.unpack("<I", start[len(MAGIC) :])
        if length > min(_LONGEST_HEADER, size - len(start)):
            raise self._broken(
                "the length of its header", f"{length}", f"at most {_LONGEST_HEADER} and the file"
            )
        try:
            header = json.loads(self._take(length))
        except (ValueError, RecursionError) as error:
            raise self._broken("its header", "text that is no JSON", "a JSON object") from error
        if not isinstance(header, dict) or "model" not in header:
            raise self._broken("its header", "another JSON value", "an object that names the model")
        return header

    def _number(self, header: dict[str, Any], name: str, least: int = 1, most: int = _LARGEST) -> int:
        value = header.get(name)
        if type(value) is not int or not least <= value <= most:
            raise self._broken(f"its {name}", f"{value!r:.40}", f"{least} to {most}")
        return value

    def _take(self, n: int) -> bytes:
        data = self._file.read(n)
        if len(data) != n:
            raise self._broken("its length", "an end within a row", "the length it had when it was opened")
        return data

    def _broken(self, what: str, got: str, expected: str) -> InvalidArgumentError:
        return InvalidArgumentError(
            f"[perplexity] {self._path} is no file of log-probabilities, or damaged: {what}; got {got}; "
            f"expected {expected}"
        )
