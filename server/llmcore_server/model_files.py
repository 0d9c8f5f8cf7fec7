"""Finds the models a command line names: GGUF files, a directory of them, the embedded one."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from llmcore_server.registry import ModelFile

_MAGIC = b"GGUF"
_LATER_PART = re.compile(r"-(?!00001)\d{5}-of-\d{5}")


class ModelSelectionError(ValueError):
    """The models named cannot be served; the message says which and why."""


@dataclass(frozen=True)
class Selection:
    """Models to list, default first, and the names of those to load at start."""

    models: list[ModelFile]
    preload: list[str]


def select_models(named: Sequence[str], directory: Path | None, aliases: Mapping[str, str]) -> Selection:
    """Resolve MODEL arguments: paths, or names of files in ``directory``; none means the embedded model."""
    available = {file.name: file for file in scan_directory(directory)} if directory else {}
    chosen = [available.get(name) or model_file(Path(name)) for name in named] or [embedded_model()]
    models: dict[str, ModelFile] = {}
    for file in chosen:
        if file.name in models:
            raise ModelSelectionError(f"two models are named '{file.name}'; rename one of the files")
        models[file.name] = file
    preload = list(models)
    for name, file in available.items():
        models.setdefault(name, file)
    for alias, target in aliases.items():
        if target not in models:
            raise ModelSelectionError(
                f"alias '{alias}' names no known model: '{target}'; known: {', '.join(models)}"
            )
        if alias in models or alias == "default":
            raise ModelSelectionError(f"alias '{alias}' is already the name of a model")
    return Selection(list(models.values()), preload)


def model_file(path: Path) -> ModelFile:
    """Describe one GGUF file; its name is the file's without ``.gguf``."""
    try:
        with path.open("rb") as file:
            magic = file.read(len(_MAGIC))
        status = path.stat()
    except OSError as error:
        raise ModelSelectionError(f"cannot read model '{path}': {error.strerror}") from None
    if magic != _MAGIC:
        raise ModelSelectionError(f"'{path}' is not a GGUF file")
    return ModelFile(path.stem, path, status.st_size, int(status.st_mtime))


def scan_directory(directory: Path) -> list[ModelFile]:
    """Describe the GGUF files of a directory, by name; what only bears the suffix is left out."""
    found = []
    for path in sorted(directory.glob("*.gguf")):
        if _LATER_PART.search(path.stem):
            continue  # The first part of a split model stands for all.
        try:
            found.append(model_file(path))
        except ModelSelectionError:
            continue
    return found


def embedded_model() -> ModelFile:
    """Describe the model that comes with llmcore."""
    from llmcore import default_model  # noqa: PLC0415 - only where no model is named

    path = default_model.path()
    if not path.is_file():
        raise ModelSelectionError("this build has no embedded model; name a GGUF file")
    status = path.stat()
    return ModelFile("llmcore-default", None, status.st_size, int(status.st_mtime))
