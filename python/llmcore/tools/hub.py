"""Fetches GGUF models from a model hub: chosen, checked, and named so that the server finds them."""

from __future__ import annotations

import hashlib
import re
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from llmcore.errors import InvalidArgumentError, LLMCoreError

NAMED_MODELS = {
    "qwen-7b-chat": "Qwen/Qwen1.5-7B-Chat-GGUF",
    "qwen-14b-chat": "Qwen/Qwen1.5-14B-Chat-GGUF",
    "gemma-7b": "MaziyarPanahi/gemma-7b-GGUF",
    "gemma-2b": "mlabonne/gemma-2b-GGUF",
    "llama-2-7b-chat": "TheBloke/Llama-2-7B-Chat-GGUF",
    "chatglm3-6b": "mradermacher/chatglm3-6b-GGUF",
}
"""The models one can ask for by name, and where their files are."""

Progress = Callable[[str, int, int], None]
"""Told the file, its bytes so far and its bytes in all."""

_REPOSITORY = re.compile(r"[\w.-]{1,96}/[\w.-]{1,96}", re.ASCII)
_PART = re.compile(r"-(\d{5})-of-(\d{5})\.gguf$")
_CHUNK = 1 << 20


@dataclass(frozen=True)
class Wanted:
    """A model to fetch: ``file`` in ``repository``, or that of a quantization; saved as ``name`` if given."""

    repository: str
    file: str | None = None
    name: str | None = None


@dataclass(frozen=True)
class HubFile:
    """A file of a repository. ``sha256`` is its content's, ``blob`` git's of what is not stored large."""

    path: str
    size: int
    sha256: str | None
    blob: str | None

    @property
    def part(self) -> str:
        """The ending of one part of a split model, else that of a whole file."""
        found = _PART.search(self.path)
        return found[0] if found is not None else ".gguf"


class HubError(LLMCoreError):
    """The hub has not what was asked for, refuses it, cannot be reached, or sent something else."""


def wanted_model(text: str) -> Wanted:
    """Return what ``qwen-7b-chat`` or ``owner/repository[:file.gguf]`` means. Raises InvalidArgumentError."""
    if text.lower() in NAMED_MODELS:
        return Wanted(NAMED_MODELS[text.lower()], name=text.lower())
    repository, _, file = text.partition(":")
    if not _REPOSITORY.fullmatch(repository):
        names = ", ".join(NAMED_MODELS)
        raise InvalidArgumentError(
            f"[hub] model; got {text!r:.100}; expected one of {names}, or OWNER/REPOSITORY[:FILE]"
        )
    return Wanted(repository, file or None)


def choose_files(files: Sequence[HubFile], wanted: Wanted, quantization: str) -> list[HubFile]:
    """Return the file wanted, or all parts of it. Raises HubError with what there is."""
    models = [file for file in files if file.path.endswith(".gguf")]
    if wanted.file is not None:
        chosen = [file for file in models if wanted.file in (file.path, Path(file.path).name)]
    else:
        ending = re.compile(rf"(^|[-._/]){re.escape(quantization)}$", re.IGNORECASE)
        chosen = [file for file in models if ending.search(_PART.sub("", file.path).removesuffix(".gguf"))]
    if not chosen:
        there = ", ".join(sorted(Path(file.path).name for file in models)[:40]) or "no GGUF file"
        what = wanted.file or quantization
        raise HubError(f"[hub] {wanted.repository} has no {what}; there is: {there}")
    first = min(chosen, key=lambda file: (len(Path(file.path).parts), len(file.path), file.path))
    if first.part == ".gguf":
        return [first]
    whole = _PART.sub("", first.path)
    parts = sorted((f for f in models if _PART.sub("", f.path) == whole), key=lambda f: f.path)
    if len(parts) != int(first.part.removesuffix(".gguf")[-5:]):
        raise HubError(f"[hub] {wanted.repository} lacks parts of {Path(whole).name}; got {len(parts)}")
    return parts


class Hub(Protocol):
    """A place that models are fetched from. What it raises is HubError, or OSError for the disk."""

    def listing(self, repository: str) -> list[HubFile]:
        """The files of a repository."""

    def fetch(self, repository: str, file: HubFile, staging: Path, progress: Progress) -> Path:
        """Fetch a file to a place below ``staging``, from where an earlier attempt ended."""


def open_hub(name: str) -> Hub:
    """Return the hub named ``huggingface`` or ``modelscope``. Raises HubError if that needs a package."""
    if name == "modelscope":
        from llmcore.tools.hub_modelscope import ModelScope  # noqa: PLC0415 - an extra

        return ModelScope()
    from llmcore.tools.hub_huggingface import HuggingFace  # noqa: PLC0415 - a third of a second

    return HuggingFace()


def pull(hub: Hub, wanted: Wanted, folder: Path, quantization: str, progress: Progress) -> list[Path]:
    """Fetch a model into ``folder`` and return its files, first part first.

    What was fetched before is kept, what was interrupted goes on; every file is compared with the hub's
    checksum before it gets its name. Raises HubError, or OSError for the disk.
    """
    files = choose_files(hub.listing(wanted.repository), wanted, quantization)
    folder.mkdir(parents=True, exist_ok=True)
    targets = [folder / _local_name(file, wanted, quantization) for file in files]
    missing = [
        (file, target)
        for file, target in zip(files, targets, strict=True)
        if not (target.is_file() and target.stat().st_size == file.size and _is_intact(file, target))
    ]
    needed, free = sum(file.size for file, _ in missing), shutil.disk_usage(folder).free
    if needed > free:
        raise HubError(f"[hub] not enough room in {folder}; got {free} bytes free; expected {needed}")
    staging = folder / ".pulling" / wanted.repository.replace("/", "--")
    for file, target in missing:
        fetched = hub.fetch(wanted.repository, file, staging, progress)
        if not _is_intact(file, fetched):
            fetched.unlink()
            raise HubError(f"[hub] {file.path} is not what {wanted.repository} lists: checksums differ")
        with fetched.open("rb") as content:
            if content.read(4) != b"GGUF":
                raise HubError(f"[hub] {file.path} of {wanted.repository} is not a GGUF file")
        fetched.replace(target)
    shutil.rmtree(staging, ignore_errors=True)
    return targets


def _local_name(file: HubFile, wanted: Wanted, quantization: str) -> str:
    """A name that nothing in the hub's path can lead out of the folder."""
    if wanted.name is not None:
        return f"{wanted.name}-{quantization.lower()}{file.part}"
    name = file.path.replace("\\", "/").rpartition("/")[2]
    if name.startswith("."):
        raise HubError(f"[hub] a file's name; got {name!r}; expected one that starts with no dot")
    return name


def _is_intact(file: HubFile, path: Path) -> bool:
    """Whether a file is what the hub lists, by SHA-256 or by git's own digest."""
    if file.sha256 is not None:
        digest, expected = hashlib.sha256(), file.sha256
    elif file.blob is not None:
        digest, expected = hashlib.sha1(f"blob {path.stat().st_size}\0".encode()), file.blob
    else:
        return False
    with path.open("rb") as content:
        while chunk := content.read(_CHUNK):
            digest.update(chunk)
    return digest.hexdigest() == expected


def first_line(error: Exception) -> str:
    """Return what an error says first."""
    return (str(error).strip() or type(error).__name__).splitlines()[0]
