"""The weights of a folder: one safetensors file, or an index with shards."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from llmcore.tools.convert.errors import some, unusable
from llmcore.tools.convert.json_file import read_json
from llmcore.tools.convert.safetensors_file import StoredTensor, read_safetensors

_SINGLE = "model.safetensors"
_INDEX = "model.safetensors.index.json"
_PICKLES = ("*.bin", "*.pt", "*.pth", "*.ckpt")


def read_checkpoint(folder: Path) -> dict[str, StoredTensor]:
    """Every tensor of the folder by its name in the checkpoint.

    Raises ModelError where files or tensors are missing, or where there are pickled weights alone: opening a
    pickle would run what it says.
    """
    if (folder / _INDEX).is_file():
        return _read_shards(folder)
    if (folder / _SINGLE).is_file():
        return read_safetensors(folder / _SINGLE)
    files = sorted(folder.glob("model*.safetensors"))
    if files:
        return _merged((file.name, read_safetensors(file)) for file in files)
    pickles = [file.name for pattern in _PICKLES for file in folder.glob(pattern)]
    if pickles:
        raise unusable(
            f"{folder} has only pickled weights, which can run code and are not opened",
            some(pickles),
            "*.safetensors; save the model again with safe_serialization=True",
        )
    raise unusable(f"{folder} has no weights", expected=f"{_SINGLE} or {_INDEX}")


def _read_shards(folder: Path) -> dict[str, StoredTensor]:
    listed = read_json(folder / _INDEX).get("weight_map")
    if not isinstance(listed, dict) or not all(isinstance(file, str) for file in listed.values()):
        raise unusable(f"weight_map of {_INDEX}", type(listed).__name__, "names of files by tensor")
    files = set(listed.values())
    for file in files:
        # A hostile index must not reach out of the folder.
        if Path(file).name != file or file in ("", ".", "..") or not file.endswith(".safetensors"):
            raise unusable(f"file named in {_INDEX}", repr(file), "a safetensors file of the same folder")
    absent = [file for file in files if not (folder / file).is_file()]
    if absent:
        raise unusable(f"{folder} lacks files that {_INDEX} names", some(absent))
    tensors = _merged((file, read_safetensors(folder / file)) for file in sorted(files))
    if missing := listed.keys() - tensors.keys():
        raise unusable("the shards lack tensors that the index names", some(missing))
    if extra := tensors.keys() - listed.keys():
        raise unusable("the shards have tensors that the index does not name", some(extra))
    return tensors


def _merged(files: Iterable[tuple[str, dict[str, StoredTensor]]]) -> dict[str, StoredTensor]:
    tensors: dict[str, StoredTensor] = {}
    for file, found in files:
        if twice := tensors.keys() & found.keys():
            raise unusable(f"{file} repeats tensors of another file", some(twice))
        tensors.update(found)
    return tensors
