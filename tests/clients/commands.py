"""Runs the commands that install clients and run their examples."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

HERE = Path(__file__).parent
INSTALL_LIMIT, RUN_LIMIT = 600, 120

# Of this process's environment, what would lead another Python astray.
_OWN = ("PYTHONPATH", "VIRTUAL_ENV")


def run(command: list[str | Path], *, limit: float = RUN_LIMIT, cwd: Path | None = None) -> str:
    """Run a command to its end, `limit` seconds at most, and return what it prints."""
    inherited = {name: value for name, value in os.environ.items() if name not in _OWN}
    done = subprocess.run(
        [str(part) for part in command],
        capture_output=True,
        text=True,
        timeout=limit,
        cwd=cwd,
        # A key that any client accepts, and no proxy between it and us.
        env={**inherited, "OPENAI_API_KEY": "any", "NO_PROXY": "127.0.0.1,localhost"},
        check=False,
    )
    assert done.returncode == 0, f"{command}: {done.stdout[-3000:]}\n{done.stderr[-3000:]}"
    return done.stdout
