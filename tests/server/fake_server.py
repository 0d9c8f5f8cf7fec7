"""A server process over a fake engine: `fake_server.py [FIELD=VALUE]...`; see `main` for the fields."""

from __future__ import annotations

import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from fake_engine import FakeEngine, FakeStats

from llmcore_server.config import ServerConfig
from llmcore_server.model_file import ModelFile
from llmcore_server.process import EngineOptions, listen, run_server
from llmcore_server.rate_limits import LimitSettings


class CountingEngine(FakeEngine):
    """Reports how many of its generations run."""

    def stats(self) -> FakeStats:
        return FakeStats(running=len(self.prompts) - self.finished - len(self.aborted))


@dataclass(frozen=True)
class FakeOptions(EngineOptions):
    engine: FakeEngine
    load_seconds: float

    def build(self, file: ModelFile) -> FakeEngine:
        time.sleep(self.load_seconds)
        if self.engine.text == "damaged":
            raise ValueError(f"{file.name} is damaged")
        return self.engine

    async def warm_up(self, engine: FakeEngine) -> None:
        """Not a step: tests count those, and some take a minute."""


def main() -> int:
    given = dict(argument.split("=", 1) for argument in sys.argv[1:])
    engine = CountingEngine(
        text=given.get("text", "人工智能") * int(given.get("repeat", "1")),
        pause=float(given.get("pause", "0")),
        first_pause=float(given.get("first_pause", "0")),
    )
    options = FakeOptions("cpu", None, None, None, None, engine, float(given.get("load_seconds", "0")))
    config = ServerConfig(
        drain_timeout=float(given.get("drain_timeout", "30")),
        event_interval=float(given.get("event_interval", "0.03")),
        body_timeout=float(given.get("body_timeout", "30")),
        head_timeout=float(given.get("head_timeout", "30")),
        limits=LimitSettings(
            tokens=(int(given["tokens"]), 3600) if "tokens" in given else None,
            concurrency=int(given["concurrency"]) if "concurrency" in given else None,
        ),
    )
    with tempfile.TemporaryDirectory() as folder:
        model = Path(folder) / "fake.gguf"
        model.write_bytes(b"GGUF")
        return run_server(
            listen("127.0.0.1", 0),
            named=[str(model)],
            directory=None,
            aliases={},
            options=options,
            config=config,
        )


if __name__ == "__main__":
    sys.exit(main())
