"""The directory of models as it changes while the server runs."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from llmcore_server.model_file import ModelFile
from llmcore_server.model_files import group_by_name, scan_directory

_State = tuple[tuple[str, int, int, int], ...]


class ModelDirectory:
    """Looks whether ``*.gguf`` files have come, gone or changed; only then are their headers read.

    The files' own times and sizes count: a file that is being copied here is complete only later than the
    directory's time tells.
    """

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._seen = self._state()

    def changed(self) -> list[Sequence[ModelFile]] | None:
        """Return the files there are now, those of one model together, or None if nothing has changed since
        the last call. Blocking; for one thread at a time."""
        state = self._state()
        if state == self._seen:
            return None
        files = group_by_name(scan_directory(self._directory))
        self._seen = state
        return files

    def _state(self) -> _State:
        """Of a directory that cannot be read: that nothing is in it."""
        found = []
        try:
            with os.scandir(self._directory) as entries:
                for entry in entries:
                    if entry.name.endswith(".gguf") and (status := _status(entry)) is not None:
                        found.append((entry.name, status.st_mtime_ns, status.st_size, status.st_ino))
        except OSError:
            return ()
        return tuple(sorted(found))


def _status(entry: os.DirEntry[str]) -> os.stat_result | None:
    try:
        return entry.stat()
    except OSError:  # gone, or a link that leads nowhere
        return None
