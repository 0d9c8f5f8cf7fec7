"""Converts a folder: reads and checks everything, then writes the file, tensor by tensor."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import gguf
import numpy as np
from gguf import GGMLQuantizationType as Type
from gguf import GGUFWriter

from llmcore.errors import InvalidArgumentError
from llmcore.tools.convert.architectures import Architecture, find_architecture
from llmcore.tools.convert.checkpoint import read_checkpoint
from llmcore.tools.convert.config import Config
from llmcore.tools.convert.errors import unusable
from llmcore.tools.convert.folder_tokenizer import read_tokenizer
from llmcore.tools.convert.json_file import read_json
from llmcore.tools.convert.model_card import add_general_metadata
from llmcore.tools.convert.sentence_modules import read_pooling
from llmcore.tools.convert.tensor_plan import Plan, PlannedTensor, language_model
from llmcore.tools.convert.vocabulary import Vocabulary, Warn

Progress = Callable[[int, int], None]
"""Called with the bytes of weights written so far and in all."""

TYPES = {"auto": None, "f32": Type.F32, "f16": Type.F16, "bf16": Type.BF16}
# general.file_type by the type of most weights: llama.cpp's `llama_ftype`.
_FILE_TYPES = {Type.F32: 0, Type.F16: 1, Type.BF16: 32, Type.MXFP4: 38}


_MAX_EXPERTS = 4096


@dataclass(frozen=True)
class Conversion:
    """What was written: the file's architecture, its tensors, their bytes and the type of most weights."""

    architecture: str
    n_tensors: int
    n_bytes: int
    type: str
    n_tokens: int


def _quiet(line: str) -> None:
    del line


def convert(
    folder: Path | str,
    out: Path | str,
    *,
    type_name: str = "auto",
    overwrite: bool = False,
    warn: Warn = _quiet,
    progress: Progress | None = None,
) -> Conversion:
    """Converts the Hugging Face model in `folder` into the GGUF file `out`.

    `type_name` is the type of the weights, f32, f16 or bf16, or auto for the checkpoint's own; norms, biases
    and routers are float32 in any case. Weights go through memory in pieces of some megabytes, and `out`
    appears when it is complete. `warn` is told what the file has otherwise than the folder asked for.

    Raises ModelError for a folder that is damaged, incomplete or of an unsupported model,
    InvalidArgumentError for an unknown type, FileExistsError if `out` is there and `overwrite` is not set.
    """
    folder, out = Path(folder), Path(out)
    if type_name not in TYPES:
        raise InvalidArgumentError(f"[convert] type; got {type_name!r}; expected one of {', '.join(TYPES)}")
    if out.exists() and not overwrite:
        raise FileExistsError(errno.EEXIST, "exists already; --force overwrites it", str(out))
    try:
        return _convert(folder, out, TYPES[type_name], warn, progress)
    except UnicodeEncodeError as error:
        raise unusable(f"{folder} has text that is not Unicode: {error.reason}") from error
    except RecursionError as error:
        raise unusable(f"{folder} has JSON that is nested too deeply") from error


def _convert(
    folder: Path, out: Path, wanted: Type | None, warn: Warn, progress: Progress | None
) -> Conversion:
    if not (folder / "config.json").is_file():
        raise unusable(f"{folder} is no model folder: it has no config.json")
    values = read_json(folder / "config.json")
    architecture, config = find_architecture(values)
    tensors = _plan(folder, architecture, config, wanted)
    n_tokens = next(tensor.shape[0] for tensor in tensors if tensor.name == "token_embd.weight")
    pooling = read_pooling(folder)
    vocabulary, template = read_tokenizer(folder, config.values, n_tokens, warn)

    unfinished = out.with_name(out.name + ".part")
    writer = GGUFWriter(unfinished, architecture.name)
    try:
        file_type = _main_type(tensors)
        _describe(writer, architecture, config, vocabulary, file_type)
        if pooling is not None:
            writer.add_pooling_type(pooling)
        add_general_metadata(writer, folder, tensors, config, warn)
        if template is not None:
            writer.add_chat_template(template)
        written = write_file(writer, tensors, progress)
        os.replace(unfinished, out)
    finally:
        writer.close()
        unfinished.unlink(missing_ok=True)
    return Conversion(architecture.name, len(tensors), written, file_type.name.lower(), n_tokens)


def _plan(
    folder: Path, architecture: Architecture, config: Config, wanted: Type | None
) -> list[PlannedTensor]:
    stored = language_model(read_checkpoint(folder))
    if architecture.encodes or architecture.ties_embeddings or config.flag("tie_word_embeddings"):
        stored.pop("lm_head.weight", None)  # a copy of the embedding, which readers use where there is none
    n_experts = config.size("num_local_experts", "num_experts", default=1)
    n_layers = config.size("num_hidden_layers", "num_layers", "n_layer")
    if n_layers > len(stored) or n_experts > _MAX_EXPERTS:
        raise unusable(
            "numbers of layers and experts in config.json",
            f"{n_layers} and {n_experts}",
            f"at most {len(stored)}, as many as there are tensors, and {_MAX_EXPERTS}",
        )
    tensors = Plan(architecture.rules, config, n_layers, n_experts, wanted).tensors(stored)
    has_head = not (architecture.encodes or architecture.ties_embeddings)
    needs_output = config.find("tie_word_embeddings") is False and has_head
    if needs_output and not any(tensor.name == "output.weight" for tensor in tensors):
        raise unusable("the checkpoint lacks tensors", "lm_head.weight")
    vectors = architecture.vectors(config).items()
    return [*tensors, *(PlannedTensor(name, v.shape, Type.F32, partial(iter, [v])) for name, v in vectors)]


def _main_type(tensors: list[PlannedTensor]) -> Type:
    """The type of most bytes among the weights; packed experts name the file however few they are."""
    if any(tensor.type == Type.MXFP4 for tensor in tensors):
        return Type.MXFP4
    sizes: dict[Type, int] = {}
    for tensor in tensors:
        if len(tensor.shape) > 1:
            sizes[tensor.type] = sizes.get(tensor.type, 0) + tensor.n_bytes
    return max(sizes, key=sizes.__getitem__)


def _describe(
    writer: GGUFWriter, architecture: Architecture, config: Config, vocabulary: Vocabulary, file_type: Type
) -> None:
    writer.add_type(gguf.GGUFType.MODEL)
    architecture.add_metadata(writer, config)
    writer.add_file_type(_FILE_TYPES[file_type])
    writer.add_quantization_version(gguf.GGML_QUANT_VERSION)
    vocabulary.write(writer)


def write_file(writer: GGUFWriter, tensors: list[PlannedTensor], progress: Progress | None) -> int:
    """Writes a file that has its metadata and no tensors yet; the bytes of the tensors."""
    for tensor in tensors:
        elements, size = gguf.GGML_QUANT_SIZES[tensor.type]
        byte_shape = (*tensor.shape[:-1], tensor.shape[-1] // elements * size)
        writer.add_tensor_info(tensor.name, byte_shape, np.dtype(np.uint8), tensor.n_bytes, tensor.type)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_ti_data_to_file()
    assert writer.fout is not None
    (file,) = writer.fout
    writer.write_padding(file, file.tell())
    total = sum(tensor.n_bytes for tensor in tensors)
    written = 0
    for tensor in tensors:
        start = written
        for piece in tensor.pieces():
            file.write(piece.reshape(-1).view(np.uint8).data)
            written += piece.nbytes
            if progress is not None:
                progress(written, total)
        if written - start != tensor.n_bytes:
            raise unusable(f"bytes of {tensor.name}", written - start, tensor.n_bytes)
        writer.write_padding(file, written - start)
    writer.close()
    return written
