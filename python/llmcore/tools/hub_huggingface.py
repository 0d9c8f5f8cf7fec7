"""Hugging Face's hub, or another of its kind that ``HF_ENDPOINT`` names."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from huggingface_hub import (
    HfApi,
    constants,
    errors,
    get_hf_file_metadata,
    get_session,
    get_token,
    hf_hub_url,
)
from huggingface_hub.file_download import http_get
from huggingface_hub.hf_api import RepoFile
from tqdm import tqdm

from llmcore.tools.hub import HubError, HubFile, Progress, first_line

_REACHED_WITHIN = 30.0  # seconds


class HuggingFace:
    """Lists and fetches by huggingface_hub."""

    def listing(self, repository: str) -> list[HubFile]:
        """See `llmcore.tools.hub.Hub`."""
        with _told_plainly(repository):
            # The listing tries for half a minute to reach a hub that is not there.
            get_session().head(constants.ENDPOINT, timeout=_REACHED_WITHIN)
            return [
                HubFile(entry.path, entry.size, entry.lfs.sha256 if entry.lfs else None, entry.blob_id)
                for entry in HfApi().list_repo_tree(repository, recursive=True)
                if isinstance(entry, RepoFile)
            ]

    def fetch(self, repository: str, file: HubFile, staging: Path, progress: Progress) -> Path:
        """See `llmcore.tools.hub.Hub`. The library itself would start again with each process."""
        staging.mkdir(parents=True, exist_ok=True)
        partial = staging / f"{file.sha256 or file.blob}.partial"
        url, token = hf_hub_url(repository, file.path), get_token()
        with _told_plainly(repository):
            get_hf_file_metadata(url)  # Says why, where the file is not to be had.
            with partial.open("ab") as content:
                done = content.tell()
                if done < file.size:
                    http_get(
                        url,
                        content,
                        resume_size=done,
                        headers={"authorization": f"Bearer {token}"} if token else None,
                        expected_size=file.size,
                        tqdm_class=_reporter(Path(file.path).name, file.size, progress),
                    )
        return partial


def _reporter(name: str, size: int, progress: Progress) -> type[Any]:
    """Return a progress bar in the shape the library wants, which passes on what it is told."""

    class Reporter(tqdm):  # type: ignore[misc]
        def __init__(self, *arguments: Any, **options: Any) -> None:
            options.pop("name", None)
            super().__init__(*arguments, **{**options, "disable": True})
            self.done = int(options.get("initial") or 0)
            progress(name, self.done, size)

        def update(self, n: float | None = 1) -> bool | None:
            self.done += int(n or 0)
            progress(name, self.done, size)
            return None

    return Reporter


@contextmanager
def _told_plainly(repository: str) -> Iterator[None]:
    """Turn what the hub's library raises into one line."""
    where = f"{constants.ENDPOINT}/{repository}"
    try:
        yield
    except errors.GatedRepoError:
        raise HubError(f"[hub] {where} asks for its terms to be accepted there, and for HF_TOKEN") from None
    except errors.RepositoryNotFoundError:
        raise HubError(f"[hub] there is no {where}, or it needs HF_TOKEN") from None
    except errors.HfHubHTTPError as error:
        status = getattr(error.response, "status_code", "no status")
        raise HubError(f"[hub] {where} answered {status}") from None
    except (HubError, errors.HFValidationError, OSError) as error:
        if isinstance(error, HubError):
            raise
        if isinstance(error, OSError) and error.errno is not None and error.filename:
            raise
        raise HubError(f"[hub] {where} cannot be reached: {first_line(error)}") from None
    except Exception as error:
        # The library's HTTP client changes; its errors share no base with anything.
        if type(error).__module__.split(".")[0] not in ("httpx", "httpx2", "httpcore", "requests", "urllib3"):
            raise
        raise HubError(f"[hub] {where} cannot be reached: {first_line(error)}") from None
