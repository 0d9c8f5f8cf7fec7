"""Finds the models a command line names: GGUF files, a directory of them, the embedded one."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from llmcore_server.model_file import (
    ModelFile,
    by_preference,
    is_later_part,
    mix_of_file_type,
    model_name,
    named_quantization,
    whole_stem,
)

if TYPE_CHECKING:
    from llmcore import _core

logger = logging.getLogger(__name__)

_MAGIC = b"GGUF"


class ModelSelectionError(ValueError):
    """The models named cannot be served; the message says which and why."""


@dataclass(frozen=True)
class Selection:
    """Model files to list, those of the default model first, and the names of models to load at start."""

    models: list[ModelFile]
    preload: list[str]


def select_models(named: Sequence[str], directory: Path | None, aliases: Mapping[str, str]) -> Selection:
    """Resolve MODEL arguments: paths, or names of models in ``directory``; none means the embedded model."""
    available = scan_directory(directory) if directory else []
    chosen = [_named_files(name, available) for name in named] or [[embedded_model()]]
    models: dict[str, Sequence[ModelFile]] = {}
    for files in _with_distinct_names(chosen):
        name = files[0].name
        if name.lower() in map(str.lower, models):
            raise ModelSelectionError(f"two models are named '{name}'; rename one of the files")
        models[name] = files
    preload = list(models)
    taken = {name.lower() for name in models}
    for others in group_by_name(available):
        if others[0].name.lower() not in taken:
            models[others[0].name] = others
    _check_aliases(aliases, [file for files in models.values() for file in files])
    return Selection([file for files in models.values() for file in files], preload)


def model_file(path: Path) -> ModelFile:
    """Describe one GGUF file by its header. A file with a damaged one is described by its name alone: what is
    wrong with it is told when it is loaded."""
    try:
        with path.open("rb") as file:
            magic = file.read(len(_MAGIC))
        status = path.stat()
    except OSError as error:
        raise ModelSelectionError(f"cannot read model '{path}': {error.strerror}") from None
    if magic != _MAGIC:
        raise ModelSelectionError(f"'{path}' is not a GGUF file")
    return _described(ModelFile("", path, status.st_size, int(status.st_mtime)), path)


def scan_directory(directory: Path) -> list[ModelFile]:
    """Describe the GGUF files of a directory, by name; what only bears the suffix is left out, and so are
    adapters."""
    found = []
    for path in sorted(directory.glob("*.gguf")):
        if is_later_part(path):
            continue
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
    described = _described(ModelFile("", path, status.st_size, int(status.st_mtime)), path)
    return replace(described, name="llmcore-default", path=None)


def _described(file: ModelFile, path: Path) -> ModelFile:
    from llmcore import GGUFError, _core  # noqa: PLC0415 - not needed for --help

    stem = whole_stem(path)
    try:
        header = _core.GGUFFile(path)
    except GGUFError as error:
        logger.warning("%s: %s", path, error)
        return replace(file, name=model_name(stem, None), quantization=named_quantization(stem))
    if _text(header.get("general.type")) == "adapter":
        raise ModelSelectionError(f"'{path}' is a LoRA adapter, no model; name it with --lora")
    architecture = _text(header.get("general.architecture"))
    context = header.get(f"{architecture}.context_length") if architecture else None
    return replace(
        file,
        name=model_name(stem, _text(header.get("general.name"))),
        size=int(header.file_bytes),
        quantization=_quantization(header, stem),
        architecture=architecture,
        context_length=context if isinstance(context, int) and context > 0 else None,
    )


def _quantization(header: _core.GGUFFile, stem: str) -> str | None:
    """The name of the mix if the file's name tells it truly, else the type that holds most of the bytes.
    Small models may have more bytes in embeddings of another type than in what their mix is named after."""
    sizes: dict[str, int] = {}
    for tensor in header.tensors:
        sizes[tensor.type] = sizes.get(tensor.type, 0) + int(tensor.n_bytes)
    most = max(sizes, key=lambda name: sizes[name], default=None)
    named = named_quantization(stem)
    if most is None or named is None or named.startswith(most):
        return most if most is None or named is None else named
    stated = mix_of_file_type(header.get("general.file_type"))
    return named if stated == named and any(map(named.startswith, sizes)) else most


def _text(value: Any) -> str | None:
    """A string of a file as one that JSON can hold."""
    if not isinstance(value, str) or not value:
        return None
    return value.encode("utf-8", "surrogateescape").decode("utf-8", "replace")[:200]


def _named_files(argument: str, available: Sequence[ModelFile]) -> list[ModelFile]:
    """The files an argument means: a model's by its name, one file and then its siblings, or one by path."""
    wanted = argument.lower()
    siblings = by_preference([file for file in available if file.name.lower() == wanted])
    if siblings:
        return siblings
    for file in available:
        if file.stem.lower() == wanted:
            others = [other for other in available if other.name == file.name and other is not file]
            return [file, *by_preference(others)]
    return [model_file(Path(argument))]


def _with_distinct_names(chosen: Sequence[list[ModelFile]]) -> Iterable[list[ModelFile]]:
    """Name files by their whole stem where several that were asked for are quantizations of one model."""
    names = [files[0].name.lower() for files in chosen]
    for files, name in zip(chosen, names, strict=True):
        yield files if names.count(name) == 1 else [replace(files[0], name=files[0].stem)]


def group_by_name(files: Iterable[ModelFile]) -> list[Sequence[ModelFile]]:
    """Return the files of each model together, that to load by default first."""
    grouped: dict[str, list[ModelFile]] = {}
    spelled: dict[str, str] = {}
    for file in files:
        name = spelled.setdefault(file.name.lower(), file.name)
        grouped.setdefault(name, []).append(replace(file, name=name))
    return [by_preference(files) for files in grouped.values()]


def _check_aliases(aliases: Mapping[str, str], files: Sequence[ModelFile]) -> None:
    names = {file.name.lower() for file in files}
    stems = {file.stem.lower() for file in files}
    for alias, target in aliases.items():
        if target.lower() not in names | stems:
            known = ", ".join(dict.fromkeys(file.name for file in files))
            raise ModelSelectionError(f"alias '{alias}' names no known model: '{target}'; known: {known}")
        if alias.lower() in names or alias.lower() == "default":
            raise ModelSelectionError(f"alias '{alias}' is already the name of a model")
