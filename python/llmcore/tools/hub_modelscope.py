"""ModelScope, or another of its kind that ``MODELSCOPE_ENDPOINT`` names."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from llmcore.tools.hub import HubError, HubFile, Progress, first_line

if TYPE_CHECKING:
    from modelscope_hub import HubApi


class ModelScope:
    """Lists and fetches by modelscope_hub. Raises HubError where that is not installed."""

    def __init__(self) -> None:
        try:
            from modelscope_hub import HubApi  # noqa: PLC0415 - an extra
        except ImportError:
            raise HubError("[hub] ModelScope needs a package: pip install 'llmcore[modelscope]'") from None
        self._api: HubApi = HubApi()

    def listing(self, repository: str) -> list[HubFile]:
        """See `llmcore.tools.hub.Hub`."""
        with _told_plainly(repository):
            return [
                HubFile(entry.path, entry.size, entry.sha256, None)
                for entry in self._api.list_repo_files(repository, "model")
                if not entry.is_dir
            ]

    def fetch(self, repository: str, file: HubFile, staging: Path, progress: Progress) -> Path:
        """See `llmcore.tools.hub.Hub`."""
        with _told_plainly(repository):
            return Path(
                self._api.downloader.download_file(
                    repository,
                    "model",
                    file.path,
                    local_dir=staging,
                    expected_sha256=file.sha256,
                    file_size=file.size,
                    progress_callbacks=[_reporter(Path(file.path).name, file.size, progress)],
                )
            )


def _reporter(name: str, size: int, progress: Progress) -> type[Any]:
    """Return a progress callback in the shape the library wants, which passes on what it is told."""

    class Reporter:
        def __init__(self, filename: str, file_size: int) -> None:
            del filename, file_size
            self.done = 0
            progress(name, 0, size)

        def update(self, size_of_chunk: int) -> None:
            self.done += size_of_chunk
            progress(name, self.done, size)

        def end(self) -> None:
            pass

    return Reporter


@contextmanager
def _told_plainly(repository: str) -> Iterator[None]:
    """Turn what the library raises into one line."""
    from modelscope_hub import errors  # noqa: PLC0415 - an extra

    try:
        yield
    except errors.FileIntegrityError:
        raise HubError(f"[hub] a file is not what {repository} lists: checksums differ") from None
    except errors.NotExistError:
        raise HubError(f"[hub] there is no {repository} at ModelScope") from None
    except (errors.HubError, ValueError) as error:
        raise HubError(f"[hub] {repository} at ModelScope: {first_line(error)}") from None
