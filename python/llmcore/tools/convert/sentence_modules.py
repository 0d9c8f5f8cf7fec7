"""What a folder of sentence-transformers says beside the model: how a text's states become one vector."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from gguf import PoolingType

from llmcore.tools.convert.errors import unusable
from llmcore.tools.convert.json_file import read_optional_json, read_text

_USUAL_FOLDER = "1_Pooling"
_POOLINGS = {
    "pooling_mode_mean_tokens": PoolingType.MEAN,
    "pooling_mode_cls_token": PoolingType.CLS,
    "pooling_mode_lasttoken": PoolingType.LAST,
}
# As newer folders write it, in one key.
_MODES = {"mean": PoolingType.MEAN, "cls": PoolingType.CLS, "lasttoken": PoolingType.LAST}
# Parts of the pipeline that change nothing here: every engine can scale vectors to length 1.
_IGNORED = ("Transformer", "Normalize")


def read_pooling(folder: Path) -> PoolingType | None:
    """The pooling that `modules.json` and the pooling module's own config.json state; None where none is.

    Raises ModelError for a pooling, or a further module, that no GGUF file can state.
    """
    place = _pooling_folder(folder)
    if place is None:
        return None
    config = read_optional_json(folder / place / "config.json")
    modes = [key for key, value in config.items() if key.startswith("pooling_mode_") and value is True]
    mode = config.get("pooling_mode")
    if isinstance(mode, str):
        modes.append(mode)
    known = {**_POOLINGS, **_MODES}
    chosen = {known.get(mode) for mode in modes}
    if len(chosen) != 1 or None in chosen:
        raise unusable(f"pooling in {place}/config.json", modes, f"one of {', '.join(known)}")
    return chosen.pop()


def _pooling_folder(folder: Path) -> str | None:
    if not (folder / "modules.json").is_file():
        return _USUAL_FOLDER if (folder / _USUAL_FOLDER / "config.json").is_file() else None
    found = None
    for module in _modules(folder / "modules.json"):
        kind = str(module.get("type", "")).rpartition(".")[2]
        if kind == "Pooling":
            found = module.get("path")
            # A hostile list must not reach out of the folder.
            if not isinstance(found, str) or Path(found).name != found or found in ("", ".", ".."):
                raise unusable("path of the pooling in modules.json", repr(found), "a folder of this one")
        elif kind not in _IGNORED:
            raise unusable("module in modules.json", kind, f"Pooling, {' or '.join(_IGNORED)}")
    return found


def _modules(path: Path) -> list[dict[str, Any]]:
    try:
        modules = json.loads(read_text(path))
    except (ValueError, RecursionError) as error:
        raise unusable(f"{path.name} is no JSON: {error}") from error
    if not isinstance(modules, list) or not all(isinstance(module, dict) for module in modules):
        raise unusable(f"content of {path.name}", type(modules).__name__, "a list of objects")
    return modules
