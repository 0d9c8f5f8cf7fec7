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


def ask_and_stop(process, request):
    """Send a request, then the end of what is sent; return status, lower-case head and body."""
    with connect(process) as connection:
        connection.sendall(request)
        connection.shutdown(socket.SHUT_WR)
        head, _, body = read_to_the_end(connection).partition(b"\r\n\r\n")
    assert head, "closed without an answer"
    return int(head.split()[1]), head.decode().lower(), body


@pytest.mark.parametrize("path", ["/v1/models", "/metrics", "/nowhere", "/v1/tokenize"])
def test_who_has_nothing_more_to_say_is_answered(impatient, path):
    impatient.wait_until_ready()
    request = f"GET {path} HTTP/1.1\r\nHost: x\r\n\r\n"
    if path == "/v1/tokenize":
        content = json.dumps({"content": "x" * 100_000})
        request = f"{post_head(path, len(content))}\r\n{content}"
    for _ in range(20):
        status, _, body = ask_and_stop(impatient, request.encode())
        assert status == (404 if path == "/nowhere" else 200)
        assert body
    impatient.wait_for_metric("active_connections", 0)


@pytest.mark.parametrize(("path", "native"), [(GENERATE, True), (CHAT, False), ("/v1/tokenize", False)])
def test_requests_that_are_cut_are_told(impatient, path, native):
    head = post_head(path, 100) + "Accept-Language: en\r\nX-Request-ID: mine\r\nX-Last: x\r\n"
    for request in (f"{head}\r\n{{", head):
        status, said, body = ask_and_stop(impatient, request.encode())
        assert status == 400
        assert "x-request-id: mine" in said
        assert ("code" in json.loads(body)["error"] and "details" in json.loads(body)["error"]) == native
        assert b"incomplete" in body
    impatient.wait_for_metric("active_connections", 0)


def test_a_head_that_stalls_is_told(impatient):
    with connect(impatient) as silent, connect(impatient) as connection:
        connection.sendall(f"{post_head(CHAT, 10)}X-Slow: ".encode())
        head, _, body = read_to_the_end(connection).partition(b"\r\n\r\n")
        assert head.split()[1] == b"408"
        assert json.loads(body)["error"]["code"] == "request_timeout"
        assert read_to_the_end(silent) == b""


@pytest.mark.parametrize(("path", "status"), [(CHAT, 431), (CHAT, 400), (GENERATE, 431), (GENERATE, 400)])
def test_what_is_no_http_is_told_in_the_familys_shape(impatient, path, status):
    bad = "Content-Length: abc" if status == 400 else f"X-Long: {'x' * 70_000}"
    with connect(impatient) as connection:
        connection.sendall(f"POST {path} HTTP/1.1\r\nAccept-Language: en\r\n{bad}\r\n\r\n".encode())
        head, _, body = connection.recv(65536).partition(b"\r\n\r\n")
    assert int(head.split()[1]) == status
    assert b"x-request-id: req_" in head
    error = json.loads(body)["error"]
    assert set(error) == (
        {"message", "type", "param", "code"} if path == CHAT else {"code", "message", "details"}
    )
    assert error["message"].isascii()
