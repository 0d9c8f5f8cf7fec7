"""Servers to compare, each a process of its own with one model, all with the same threads."""

import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

_START_SECONDS = 300.0
_STOP_SECONDS = 20.0


@dataclass(frozen=True)
class Peer:
    """How to start one server; `{model}`, `{port}`, `{threads}`, `{slots}` and `{context}` are filled in."""

    name: str
    command: tuple[str, ...]
    ready_path: str
    extra_body: dict[str, object]


def llmcore_peer(extra: tuple[str, ...] = ()) -> Peer:
    """`llmcore serve` of the interpreter that runs the benchmark."""
    command: tuple[str, ...] = (
        sys.executable,
        "-m",
        "llmcore_server.cli",
        "{model}",
        "--port",
        "{port}",
        "--threads",
        "{threads}",
    )
    command += ("--max-batch", "{slots}", *extra)
    return Peer("llmcore", command, "/health/ready", {"ignore_eos": True})


def llama_server_peer(program: Path) -> Peer:
    """llama.cpp's llama-server, with a slot for each client; its context is shared out among the slots."""
    command: tuple[str, ...] = (str(program), "-m", "{model}", "--port", "{port}", "-t", "{threads}")
    command += ("-np", "{slots}", "-c", "{context}", "--no-webui")
    return Peer("llama-server", command, "/health", {"ignore_eos": True})


def llama_cpp_python_peer(python: str) -> Peer:
    """llama-cpp-python's server; it has one context, and no way to ignore the end but forbidding it."""
    command: tuple[str, ...] = (python, "-m", "llama_cpp.server", "--model", "{model}", "--port", "{port}")
    command += ("--n_threads", "{threads}", "--n_threads_batch", "{threads}", "--n_ctx", "4096")
    command += ("--interrupt_requests", "False")
    return Peer("llama-cpp-python", command, "/v1/models", {"logit_bias": {"2": -100}})


@contextmanager
def serving(peer: Peer, model: Path, threads: int, slots: int, context: int) -> Iterator[str]:
    """Starts the server, waits until it is ready, yields its address, ends it.

    `context` is the tokens each of `slots` clients may use. RuntimeError, with what it said, if it does not
    get ready.
    """
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    values = {"model": model, "port": port, "threads": threads, "slots": slots, "context": context * slots}
    command = [part.format(**values) for part in peer.command]
    with tempfile.TemporaryFile() as log:
        process = subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT)
        try:
            address = f"http://127.0.0.1:{port}"
            deadline = time.monotonic() + _START_SECONDS
            while not _answers(address + peer.ready_path):
                if process.poll() is not None or time.monotonic() > deadline:
                    log.seek(0)
                    raise RuntimeError(
                        f"{peer.name} did not start: {log.read()[-2000:].decode(errors='replace')}"
                    )
                time.sleep(0.1)
            yield address
        finally:
            process.terminate()
            try:
                process.wait(_STOP_SECONDS)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def _answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=5) as response:
            return bool(response.status == 200)
    except (urllib.error.URLError, OSError):
        return False
