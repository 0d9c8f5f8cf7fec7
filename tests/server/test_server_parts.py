"""The server's parts by themselves: the disconnect guard, the pacer, the choice of models, sizes."""

from __future__ import annotations

import asyncio
import time
from itertools import pairwise

import pytest

from llmcore_server import process_memory
from llmcore_server.disconnect import DisconnectGuard, close_with_request
from llmcore_server.metrics import InFlight
from llmcore_server.model_files import ModelSelectionError, scan_directory, select_models
from llmcore_server.sse import Pacer

SCOPE = {"type": "http", "path": "/x"}


class Connection:
    """The server's side of one request: its messages, and a `send` that may block for ever."""

    def __init__(self, *messages, blocked=False):
        self.messages = asyncio.Queue()
        for message in messages:
            self.messages.put_nowait(message)
        self.blocked = blocked
        self.sent = []

    async def receive(self):
        return await self.messages.get()

    async def send(self, message):
        if self.blocked:
            await asyncio.sleep(3600)
        self.sent.append(message)


BODY = {"type": "http.request", "body": b"x", "more_body": False}
PART = {"type": "http.request", "body": b"x", "more_body": True}
GONE = {"type": "http.disconnect"}


def guarded(app, connection, stall_timeout=60.0):
    in_flight = InFlight()
    guard = DisconnectGuard(app, in_flight, stall_timeout, uncounted=frozenset())

    async def serve():
        began = time.monotonic()
        await asyncio.wait_for(guard(dict(SCOPE), connection.receive, connection.send), 10)
        assert in_flight.count == 0
        return time.monotonic() - began

    return serve()


def test_guard_cancels_work_and_closes_what_was_opened():
    closed, cancelled = [], []

    async def app(_scope, receive, _send):
        async def close():
            closed.append(True)

        close_with_request(close)
        await receive()
        try:
            await asyncio.sleep(3600)
        except asyncio.CancelledError:
            cancelled.append(True)
            raise

    async def scenario():
        assert await guarded(app, Connection(BODY, GONE)) < 1.0

    asyncio.run(scenario())
    assert closed == cancelled == [True]


def test_guard_lets_a_request_without_disconnect_finish():
    async def app(_scope, receive, send):
        assert await receive() == PART
        assert await receive() == BODY
        await send({"type": "http.response.start", "status": 200})
        await send({"type": "http.response.body", "body": b"y"})
        await asyncio.sleep(0.05)  # A late disconnect must not cut this off.
        app_finished.append(True)

    app_finished = []

    async def scenario():
        connection = Connection(PART, BODY, GONE)
        await guarded(app, connection)
        return connection.sent

    sent = asyncio.run(scenario())
    assert [message["type"] for message in sent] == ["http.response.start", "http.response.body"]
    assert app_finished == [True]


def test_guard_ends_a_request_whose_client_leaves_within_the_body():
    async def app(_scope, receive, _send):
        async def close():
            closed.append(True)

        close_with_request(close)
        received.append(await receive())
        received.append(await receive())

    received, closed = [], []
    asyncio.run(_serve(app, PART, GONE))
    assert received == [PART]
    assert closed == [True]


def test_guard_closes_everything_though_one_fails():
    async def app(_scope, _receive, _send):
        async def close():
            closed.append(True)

        async def fail():
            raise OSError("closing failed")

        close_with_request(close)
        close_with_request(fail)

    closed = []
    with pytest.raises(OSError, match="closing failed"):
        asyncio.run(_serve(app, BODY))
    assert closed == [True]


def test_guard_drops_a_client_that_takes_nothing():
    async def app(_scope, receive, send):
        await receive()
        await send({"type": "http.response.body", "body": b"x", "more_body": True})

    async def scenario():
        assert 0.1 <= await guarded(app, Connection(BODY, blocked=True), stall_timeout=0.1) < 2.0

    asyncio.run(scenario())


def test_guard_passes_failures_on():
    async def app(_scope, _receive, _send):
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        asyncio.run(_serve(app, BODY))


async def _serve(app, *messages):
    await guarded(app, Connection(*messages))


def test_pacer_keeps_writes_apart():
    async def scenario():
        pacer, times = Pacer(0.01), []
        for _ in range(8):
            await pacer.wait()
            times.append(time.monotonic())
            pacer.written()
        return [after - before for before, after in pairwise(times)]

    first, *others = asyncio.run(scenario())
    assert first >= 0.0199
    assert min(others) >= 0.0099


def gguf(folder, name):
    path = folder / f"{name}.gguf"
    path.write_bytes(b"GGUF" + bytes(100))
    return str(path)


def test_models_are_chosen_by_path_and_by_name(tmp_path):
    for name in ("a", "b", "split-00001-of-00002", "split-00002-of-00002"):
        gguf(tmp_path, name)
    (tmp_path / "fraud.gguf").write_bytes(b"not it")
    (tmp_path / "other").mkdir()
    outside = gguf(tmp_path / "other", "outside")
    assert [file.name for file in scan_directory(tmp_path)] == ["a", "b", "split"]
    chosen = select_models(["b", outside], tmp_path, {"alias": "a"})
    assert chosen.preload == ["b", "outside"]
    assert [file.name for file in chosen.models] == ["b", "outside", "a", "split"]
    assert chosen.models[0].size == 104


@pytest.mark.parametrize("aliases", [{"x": "nobody"}, {"a": "b"}, {"default": "a"}])
def test_aliases_that_mean_nothing_are_refused(tmp_path, aliases):
    with pytest.raises(ModelSelectionError):
        select_models([gguf(tmp_path, "a"), gguf(tmp_path, "b")], None, aliases)


def test_two_models_of_one_name_are_refused(tmp_path):
    (tmp_path / "other").mkdir()
    with pytest.raises(ModelSelectionError, match="two models"):
        select_models([gguf(tmp_path, "a"), gguf(tmp_path / "other", "a")], None, {})


@pytest.mark.parametrize(
    ("size", "written"),
    [
        (0, "0GB"),
        (8 * 1024**3, "8GB"),
        (4_509_715_660, "4.2GB"),
        (1_185_312, "1.1MB"),
        (1024, "1KB"),
        (200 * 1024**2, "0.2GB"),
    ],
)
def test_sizes_are_written_as_documented(size, written):
    assert process_memory.readable_size(size) == written


def test_memory_of_this_process_is_within_its_limit():
    assert 10 * 1024**2 < process_memory.resident_bytes() < process_memory.limit_bytes()
