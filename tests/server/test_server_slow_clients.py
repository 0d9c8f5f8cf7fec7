"""Clients that send slowly, half, or not at all: they hold up nobody and are let go of in time."""

from __future__ import annotations

import json
import select
import socket
import time
from contextlib import ExitStack

import pytest
from served_process import FAKE_SERVER, ServedProcess, send_raw

GENERATE, CHAT = "/api/v1/generate", "/v1/chat/completions"
ASK = {"prompt": "x", "messages": [{"role": "user", "content": "x"}]}
MANY = 100


@pytest.fixture(scope="module")
def impatient():
    process = ServedProcess(FAKE_SERVER, ["head_timeout=2", "body_timeout=2"])
    process.wait_until_ready()
    yield process
    process.stop()


def connect(process):
    return socket.create_connection(("127.0.0.1", int(process.url.rsplit(":", 1)[1])), timeout=30)


def post_head(path, length):
    return (
        f"POST {path} HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: {length}\r\n"
    )


def read_to_the_end(connection):
    received = b""
    while data := connection.recv(65536):
        received += data
    return received


def drip(connections, content):
    """Send each open connection a byte every 0.1 s; return the answers once all are closed."""
    answers = [b""] * len(connections)
    waiting = dict(enumerate(connections))
    sent = 0
    deadline = time.monotonic() + 30
    while waiting:
        assert time.monotonic() < deadline, f"{len(waiting)} connections are still open"
        readable, _, _ = select.select(list(waiting.values()), [], [], 0.1)
        for number, connection in list(waiting.items()):
            try:
                if connection in readable:
                    data = connection.recv(65536)
                    answers[number] += data
                    if not data:
                        del waiting[number]
                        continue
                connection.sendall(content[sent : sent + 1])
            except OSError:  # closed, while we went on sending
                del waiting[number]
        sent = min(sent + 1, len(content) - 1)
    return answers


@pytest.mark.parametrize("part", ["head", "body"])
def test_a_hundred_slow_clients_hold_up_nobody_and_are_let_go(impatient, part):
    start = post_head(GENERATE, 10_000) + ("\r\n" if part == "body" else "X-Slow: ")
    with ExitStack() as opened:
        connections = [opened.enter_context(connect(impatient)) for _ in range(MANY)]
        for connection in connections:
            connection.sendall(start.encode())
        began = time.monotonic()
        for _ in range(5):
            assert impatient.post(GENERATE, ASK).json()["text"] == "人工智能"
        assert time.monotonic() - began < 5
        answers = drip(connections, b"a" * 10_000)
    if part == "body":
        assert sum(b"REQUEST_TIMEOUT" in answer for answer in answers) >= MANY // 2
    impatient.wait_for_metric("active_connections", 0)


@pytest.mark.parametrize(("path", "code"), [(GENERATE, "REQUEST_TIMEOUT"), (CHAT, "request_timeout")])
def test_a_body_that_does_not_arrive_is_told(impatient, path, code):
    with connect(impatient) as connection:
        connection.sendall(f"{post_head(path, 100)}\r\n".encode() + b'{"prompt": ')
        head, _, body = read_to_the_end(connection).partition(b"\r\n\r\n")
    assert head.split()[1] == b"408"
    assert b"connection: close" in head.lower()
    assert json.loads(body)["error"]["code"] == code


def test_a_client_that_leaves_within_its_body_costs_nothing(impatient):
    before = impatient.metric("model_inference_seconds_count")
    with connect(impatient) as connection:
        connection.sendall(f"{post_head(GENERATE, 100)}\r\n".encode() + b'{"prompt": ')
        impatient.wait_for_metric("active_connections", 1)
    impatient.wait_for_metric("active_connections", 0, limit=1.5)
    assert impatient.metric("model_inference_seconds_count") == before


@pytest.mark.parametrize("path", [GENERATE, "/api/v1/generate/stream"])
def test_a_socket_that_is_closed_on_one_side_counts_as_left(serve_fake, path):
    """Whoever has nothing to say any more may be gone altogether: nothing tells the two apart."""
    process = serve_fake(pause=0.05, repeat=1000)
    with send_raw(process, path, {**ASK, "max_tokens": 4000}) as connection:
        process.wait_for_metric("llmcore_requests_running", 1)
        connection.shutdown(socket.SHUT_WR)
        process.wait_for_metric("llmcore_requests_cancelled_total", 1)
        assert b'"finished":true' not in read_to_the_end(connection)
    process.wait_for_metric("active_connections", 0)
