"""Records the squared error that ggml's quantizers make, for the tests to compare with.

    cd tests/quant/reference
    python measure_ggml.py path/to/libggml-base.so [model.gguf ...] > ggml_errors.json

Needs a built ggml and the `gguf` package; nothing of this project is imported.
"""

from __future__ import annotations

import argparse
import ctypes
import hashlib
import json
import sys
from pathlib import Path

import gguf
import numpy as np
from inputs import INPUTS, Floats, make_input, model_weights, squared_error

FORMATS = (
    "F16", "BF16", "Q4_0", "Q4_1", "Q5_0", "Q5_1", "Q8_0",
    "Q2_K", "Q3_K", "Q4_K", "Q5_K", "Q6_K", "IQ4_NL", "IQ4_XS",
)  # fmt: skip


def ggml_quantizer(library: Path) -> ctypes.CDLL:
    """ggml's base library with the types of the function used."""
    ggml = ctypes.CDLL(str(library))
    ggml.ggml_quantize_chunk.restype = ctypes.c_size_t
    ggml.ggml_quantize_chunk.argtypes = [
        ctypes.c_int,  # type
        ctypes.c_void_p,  # values
        ctypes.c_void_p,  # blocks
        ctypes.c_int64,  # first element
        ctypes.c_int64,  # rows
        ctypes.c_int64,  # columns
        ctypes.c_void_p,  # importance of columns: none
    ]
    return ggml


def ggml_error(ggml: ctypes.CDLL, name: str, values: Floats) -> float:
    """The squared error of `values`, of shape (rows, columns), written by ggml and read by `gguf`."""
    kind = gguf.GGMLQuantizationType[name]
    rows, columns = values.shape
    elements, size = gguf.GGML_QUANT_SIZES[kind]
    blocks = np.zeros((rows, columns // elements * size), np.uint8)
    written = ggml.ggml_quantize_chunk(
        int(kind), values.ctypes.data, blocks.ctypes.data, 0, rows, columns, None
    )
    if written != blocks.nbytes:
        raise SystemExit(f"ggml wrote {written} bytes of {name}; expected {blocks.nbytes}")
    return squared_error(values, gguf.quants.dequantize(blocks, kind))


def main() -> None:
    parser = argparse.ArgumentParser(description="Records the squared errors of ggml's quantizers.")
    parser.add_argument("library", type=Path, help="libggml-base.so")
    parser.add_argument("models", type=Path, nargs="*", help="GGUF files whose weights are used too")
    arguments = parser.parse_args()
    ggml = ggml_quantizer(arguments.library)

    def errors(values: Floats) -> dict[str, float]:
        return {kind: ggml_error(ggml, kind, values) for kind in FORMATS}

    recorded = {
        "inputs": {name: errors(make_input(name)) for name in INPUTS},
        "models": {
            model.name: {
                "sha256": hashlib.sha256(model.read_bytes()).hexdigest(),
                "errors": errors(model_weights(model)),
            }
            for model in arguments.models
        },
    }
    json.dump(recorded, sys.stdout, indent=2)
    print()


if __name__ == "__main__":
    main()
