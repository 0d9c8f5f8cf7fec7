"""Starts a real `llmcore serve` on a free port and talks to it over sockets."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx

START_LIMIT = 30.0
REAL_SERVER = [sys.executable, "-m", "llmcore_server.cli"]
FAKE_SERVER = [sys.executable, str(Path(__file__).with_name("fake_server.py"))]


class ServedProcess:
    """One server process; `url` is where it listens. `said`, once it is stopped: its standard error."""

    def __init__(self, program: Sequence[str], arguments: Sequence[str]) -> None:
        self.started_at = time.monotonic()
        self.process = subprocess.Popen(
            [*program, *arguments],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONUNBUFFERED": "1"},
        )
        self.said = ""
        assert self.process.stdout is not None
        self.greeting = [self.process.stdout.readline(), self.process.stdout.readline()]
        found = re.search(r"https?://\S+", self.greeting[0])
        if found is None:
            _, said = self.process.communicate(timeout=START_LIMIT)
            raise AssertionError(f"the server did not start: {self.greeting} {said}")
        self.url = found[0]
        self.client = httpx.Client(base_url=self.url, timeout=60.0, trust_env=False)

    def post(self, path: str, body: Any) -> httpx.Response:
        return self.client.post(path, json=body)

    @contextmanager
    def stream(self, path: str, body: Any) -> Iterator[httpx.Response]:
        with self.client.stream("POST", path, json=body) as response:
            yield response

    def metric(self, name: str) -> float:
        """Return the sum of a metric's series, 0 if it has none yet."""
        text = self.client.get("/metrics").text
        values = re.findall(rf"^{re.escape(name)}(?:{{[^}}]*}})? (\S+)$", text, re.MULTILINE)
        # A metric of an engine has no series before the model is loaded, but it is declared.
        assert values or f"# TYPE {name} " in text, f"no metric {name}"
        return sum(float(value) for value in values)

    def wait_for_metric(self, name: str, wanted: float, limit: float = 10.0) -> None:
        deadline = time.monotonic() + limit
        while (value := self.metric(name)) != wanted:
            assert time.monotonic() < deadline, f"{name} is {value}, not {wanted}"
            time.sleep(0.02)

    def wait_until_ready(self, limit: float = START_LIMIT) -> None:
        deadline = time.monotonic() + limit
        while self.client.get("/health/ready").status_code != 200:
            assert time.monotonic() < deadline, "the server does not get ready"
            time.sleep(0.05)

    def resident_bytes(self) -> int:
        pages = Path(f"/proc/{self.process.pid}/statm").read_text().split()[1]
        return int(pages) * os.sysconf("SC_PAGE_SIZE")

    def stop(self) -> int:
        """End the process as an operator would; return its exit code."""
        self.client.close()
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        _, self.said = self.process.communicate(timeout=START_LIMIT)
        return self.process.returncode


def send_raw(process: ServedProcess, path: str, body: Any, *headers: str) -> socket.socket:
    """Send a request over a bare socket and return it without reading the answer."""
    content = json.dumps(body).encode()
    connection = socket.create_connection(("127.0.0.1", int(process.url.rsplit(":", 1)[1])), timeout=10)
    first = [f"POST {path} HTTP/1.1", "Host: test", "Content-Type: application/json"]
    head = "".join(f"{line}\r\n" for line in [*first, *headers])
    connection.sendall(f"{head}Content-Length: {len(content)}\r\n\r\n".encode() + content)
    return connection


def events(body: str) -> list[Any]:
    """Parse a complete event stream; `[DONE]` stays a string."""
    assert body.endswith("\n\n")
    parsed = []
    for block in body.removesuffix("\n\n").split("\n\n"):
        assert block.startswith("data: "), block
        data = block.removeprefix("data: ")
        parsed.append(data if data == "[DONE]" else json.loads(data))
    return parsed
