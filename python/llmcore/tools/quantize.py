"""Writes a GGUF model again with narrower tensors."""

import os
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np
import numpy.typing as npt
from gguf import GGML_QUANT_VERSION, GGUFWriter

from llmcore import _core
from llmcore.errors import InvalidArgumentError
from llmcore.tools.gguf_metadata import copy_metadata, raw_text
from llmcore.tools.quant_mix import MIXES
from llmcore.tools.quantize_plan import Change, Choice

Progress = Callable[[int, int], None]
"""Called with the bytes of tensors written so far and in all."""

_PIECE_ELEMENTS = 1 << 20
_REWRITTEN_KEYS = (
    "general.architecture", "general.file_type", "general.quantization_version", "general.alignment",
    "split.no", "split.count", "split.tensors.count",
)  # fmt: skip


@dataclass(frozen=True)
class _Piece:
    """Rows of a tensor: as many as one thread takes at a time."""

    change: Change
    start: int
    end: int


def quantize_model(
    file: _core.GGUFFile,
    out: Path,
    choice: Choice,
    changes: list[Change],
    *,
    threads: int = 1,
    progress: Progress | None = None,
) -> None:
    """Writes `file` to `out` with the tensors that `plan` gave; metadata is copied, split files are joined.

    Memory use is bounded by a few megabytes a thread; `out` appears when it is complete, and nothing is left
    of it otherwise. Raises InvalidArgumentError for a tensor that holds a NaN or an infinity, and where
    `out` is a file that is read.
    """
    partial = out.with_name(out.name + ".part")
    _refuse_source(file, out, partial)
    architecture: Any = raw_text(str(file.get("general.architecture")))
    writer = GGUFWriter(partial, architecture)
    copy_metadata(file, writer, leave_out=_REWRITTEN_KEYS)
    alignment = file.get("general.alignment")
    if alignment is not None:
        writer.add_custom_alignment(int(alignment))
    writer.add_file_type(MIXES[choice.quant].file_type)
    writer.add_quantization_version(GGML_QUANT_VERSION)
    for change in changes:
        name: Any = raw_text(change.tensor.name)
        shape = (*reversed(change.tensor.shape[1:]), change.row_bytes)
        size = change.rows * change.row_bytes
        writer.add_tensor_info(name, shape, np.dtype(np.uint8), size, change.target)
    try:
        _write(writer, file, changes, threads, progress)
        os.replace(partial, out)
    finally:
        try:
            writer.close()  # on a full disk this fails again
        finally:
            partial.unlink(missing_ok=True)


def _refuse_source(file: _core.GGUFFile, *written: Path) -> None:
    for path in written:
        if path.exists() and any(os.path.samefile(path, part) for part in file.paths):
            raise InvalidArgumentError(
                f"[quantize] the output is the file that is read; got {path}; expected another"
            )


def _write(
    writer: GGUFWriter, file: _core.GGUFFile, changes: list[Change], threads: int, progress: Progress | None
) -> None:
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_ti_data_to_file()
    assert writer.fout is not None
    (out,) = writer.fout
    writer.write_padding(out, out.tell())
    total, done = sum(change.rows * change.row_bytes for change in changes), 0
    with ThreadPoolExecutor(threads) as pool:
        for piece, data in _in_order(pool, file, _pieces(changes), 2 * threads):
            _write_piece(writer, out, piece, data)
            done += data.nbytes
            if progress is not None:
                progress(done, total)
    writer.close()


def _write_piece(writer: GGUFWriter, out: IO[bytes], piece: _Piece, data: npt.NDArray[np.uint8]) -> None:
    out.write(data.data)
    if piece.end == piece.change.rows:
        writer.write_padding(out, piece.change.rows * piece.change.row_bytes)


def _pieces(changes: list[Change]) -> Iterator[_Piece]:
    for change in changes:
        step = max(1, _PIECE_ELEMENTS // max(1, change.columns))
        for start in range(0, change.rows, step):
            yield _Piece(change, start, min(start + step, change.rows))


def _in_order(
    pool: ThreadPoolExecutor, file: _core.GGUFFile, pieces: Iterator[_Piece], ahead: int
) -> Iterator[tuple[_Piece, npt.NDArray[np.uint8]]]:
    """Each piece as written, at most `ahead` of them in the making."""
    waiting: deque[tuple[_Piece, Future[npt.NDArray[np.uint8]]]] = deque()
    for piece in pieces:
        waiting.append((piece, pool.submit(_encode, file, piece)))
        if len(waiting) > ahead:
            first, future = waiting.popleft()
            yield first, future.result()
    for piece, future in waiting:
        yield piece, future.result()


def _encode(file: _core.GGUFFile, piece: _Piece) -> npt.NDArray[np.uint8]:
    tensor, columns, rows = piece.change.tensor, piece.change.columns, piece.end - piece.start
    row_bytes = tensor.n_bytes // piece.change.rows
    stored = file.tensor_bytes(tensor.name)[piece.start * row_bytes : piece.end * row_bytes]
    if piece.change.source is piece.change.target:
        return stored
    values = _core.dequantize(tensor.type, stored, rows * columns).reshape(rows, columns)
    try:
        return _core.quantize(piece.change.target.name, values)
    except InvalidArgumentError as error:
        finite = np.isfinite(values)
        if finite.all():
            raise
        row, column = np.argwhere(~finite)[0]
        raise InvalidArgumentError(
            f"[quantize] tensor {tensor.name!r} cannot be quantized; got {values[row, column]} in row "
            f"{piece.start + row}, column {column}; expected finite numbers"
        ) from error
