"""What only sockets show, over a fake engine: chunks and their pace, disconnects, slow clients, signals."""

from __future__ import annotations

import json
import signal
import socket
import subprocess
import time
from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest
from served_process import REAL_SERVER, events, send_raw

GENERATE = "/api/v1/generate"
STREAM = "/api/v1/generate/stream"
CHAT = "/v1/chat/completions"
HELLO = {"messages": [{"role": "user", "content": "hi"}]}


def test_greeting_names_the_url_and_a_request_to_try(serve_fake):
    process = serve_fake()
    assert process.url in process.greeting[0]
    assert f"curl {process.url}/api/v1/generate" in process.greeting[1]


@pytest.mark.parametrize("pause", [0, 0.002, 0.06])
def test_each_event_is_a_chunk_and_they_are_thirty_milliseconds_apart(serve_fake, pause):
    process = serve_fake(pause=pause, repeat=10)
    chunks, times = [], []
    with process.stream(STREAM, {"prompt": "x"}) as response:
        for chunk in response.iter_raw():
            times.append(time.monotonic())
            chunks.append(chunk.decode())
    for chunk in chunks:
        # The documented JavaScript parses one chunk so.
        assert set(json.loads(chunk.replace("data: ", "", 1))) == {"token", "finished"}
        assert chunk.endswith("\n\n")
    tokens = [json.loads(chunk.removeprefix("data: "))["token"] for chunk in chunks]
    assert "".join(tokens) == "人工智能" * 10
    if pause == 0.06:
        assert len(chunks) == 40
    elif pause:
        assert 2 < len(chunks) < 40
        assert (times[-1] - times[0]) / (len(times) - 1) >= 0.028


@pytest.mark.parametrize("line", ["GET /health", "GET /health HTTP/0.9"])
def test_versions_before_http_1_are_answered_without_a_failure(serve_fake, line):
    process = serve_fake()
    with socket.create_connection(
        ("127.0.0.1", int(process.url.rsplit(":", 1)[1])), timeout=10
    ) as connection:
        connection.sendall(f"{line}\r\n\r\n".encode())
        answer = b""
        while received := connection.recv(65536):
            answer += received
    assert b'"status":"healthy"' in answer
    process.client.close()
    process.process.terminate()
    _, said = process.process.communicate(timeout=30)
    assert "Traceback" not in said


def answer_to(process, request):
    """Return what the server sends until it closes the connection."""
    port = int(process.url.rsplit(":", 1)[1])
    with socket.create_connection(("127.0.0.1", port), timeout=10) as connection:
        connection.sendall(request)
        answer = b""
        while received := connection.recv(65536):
            answer += received
    return answer


@pytest.mark.parametrize("path", [STREAM, CHAT])
def test_clients_of_http_1_0_get_streams_without_chunks(serve_fake, path):
    body = json.dumps(
        {"prompt": "x", "messages": [{"role": "user", "content": "x"}], "stream": True}
    ).encode()
    head = f"POST {path} HTTP/1.0\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    answered, _, content = answer_to(serve_fake(), head.encode() + body).partition(b"\r\n\r\n")
    assert b"transfer-encoding" not in answered.lower()
    assert b"connection: close" in answered.lower()
    said = [event for event in events(content.decode()) if event != "[DONE]"]
    if path == STREAM:
        assert "".join(event["token"] for event in said) == "人工智能"
    else:
        assert "".join(event["choices"][0]["delta"].get("content", "") for event in said) == "人工智能"


def test_head_is_get_without_its_body(serve_fake):
    process = serve_fake()
    ask = "{} {} HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n"
    for path, status in (("/health", 200), ("/v1/models", 200), (GENERATE, 405), ("/no", 404)):
        head, _, nothing = answer_to(process, ask.format("HEAD", path).encode()).partition(b"\r\n\r\n")
        whole, _, body = answer_to(process, ask.format("GET", path).encode()).partition(b"\r\n\r\n")
        assert head.startswith(f"HTTP/1.1 {status} ".encode())
        assert head.splitlines()[0] == whole.splitlines()[0]
        assert nothing == b""
        assert body
    process.wait_for_metric("active_connections", 0)


@pytest.mark.parametrize("path", [GENERATE, STREAM, CHAT])
@pytest.mark.parametrize(
    "engine", [{"first_pause": 60}, {"pause": 0.05, "repeat": 1000}], ids=["before the first token", "midway"]
)
def test_disconnect_cancels(serve_fake, path, engine):
    process = serve_fake(**engine)
    connection = send_raw(process, path, {"prompt": "x", **HELLO, "max_tokens": 4000})
    process.wait_for_metric("llmcore_requests_running", 1)
    time.sleep(0.3)
    assert process.metric("active_connections") == 1
    assert process.metric("llmcore_requests_cancelled_total") == 0
    connection.close()
    process.wait_for_metric("llmcore_requests_cancelled_total", 1, limit=1.0)
    process.wait_for_metric("llmcore_requests_running", 0, limit=1.0)
    process.wait_for_metric("active_connections", 0, limit=1.0)


def test_disconnect_while_the_model_loads_starts_nothing(serve_fake):
    process = serve_fake(load_seconds=1.0)
    connection = send_raw(process, GENERATE, {"prompt": "x"})
    process.wait_for_metric("active_connections", 1)
    connection.close()
    process.wait_for_metric("active_connections", 0, limit=0.8)
    assert process.post(GENERATE, {"prompt": "x"}).status_code == 200
    assert process.metric("llmcore_requests_cancelled_total") == 0
    assert process.metric("model_inference_seconds_count") == 1


def test_health_answers_while_the_model_loads_and_a_request_waits(serve_fake):
    process = serve_fake(load_seconds=1.0)
    health = process.client.get("/health")
    assert health.status_code == 200
    assert health.json()["model_loaded"] is False
    assert process.post(GENERATE, {"prompt": "x"}).json()["text"] == "人工智能"
    assert process.client.get("/health").json()["model_loaded"] is True


def test_model_that_cannot_be_loaded_ends_the_process(serve_fake):
    process = serve_fake(text="damaged")
    _, said = process.process.communicate(timeout=20)
    assert process.process.returncode == 1
    assert "fake is damaged" in said


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_signals_drain_and_then_stop(serve_fake, number):
    process = serve_fake(pause=0.2, repeat=2)
    with ThreadPoolExecutor(1) as pool:
        answer = pool.submit(process.post, GENERATE, {"prompt": "x"})
        process.wait_for_metric("llmcore_requests_running", 1)
        process.process.send_signal(number)
        assert answer.result().json()["text"] == "人工智能" * 2
    assert process.stop() == 0


def test_what_does_not_finish_in_time_is_cut_off(serve_fake):
    process = serve_fake(pause=1, repeat=100, drain_timeout=1)
    with send_raw(process, STREAM, {"prompt": "x"}):
        process.wait_for_metric("llmcore_requests_running", 1)
        began = time.monotonic()
        assert process.stop() == 0
    assert time.monotonic() - began < 10


def test_signal_stops_an_idle_server_and_one_that_loads(serve_fake):
    for engine in ({}, {"load_seconds": 60}):
        process = serve_fake(**engine)
        began = time.monotonic()
        assert process.stop() == 0
        assert time.monotonic() - began < 10


def test_a_client_that_does_not_read_holds_up_nobody(serve_fake):
    process = serve_fake(repeat=15_000)
    connection = send_raw(process, CHAT, {**HELLO, "stream": True, "max_tokens": 60_000})
    with connection:
        process.wait_for_metric("model_inference_seconds_count", 1, limit=60)
        assert process.post(GENERATE, {"prompt": "x", "max_tokens": 4}).json()["text"] == "人工智能"
        assert process.metric("active_connections") == 1
    process.wait_for_metric("active_connections", 0)


def test_oversized_body_is_answered_in_shape(serve_fake):
    process = serve_fake()
    answer = process.post(GENERATE, {"prompt": "x" * 5_000_000})
    assert answer.status_code == 413
    assert answer.json()["error"]["code"] == "PAYLOAD_TOO_LARGE"
    assert process.post(GENERATE, {"prompt": "x"}).status_code == 200


def test_many_requests_at_once(serve_fake):
    process = serve_fake(pause=0.01)
    with httpx.Client(base_url=process.url, trust_env=False) as http, ThreadPoolExecutor(20) as pool:
        answers = list(pool.map(lambda _: http.post(CHAT, json=HELLO), range(60)))
    assert {answer.json()["choices"][0]["message"]["content"] for answer in answers} == {"人工智能"}
    assert len({answer.json()["id"] for answer in answers}) == 60


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["/nowhere/at/all.gguf"], "cannot read model"),
        ([__file__], "is not a GGUF file"),
        (["--alias", "nonsense"], "NAME=TARGET"),
        (["--models-dir", "/nowhere/at/all"], "does not exist"),
        (["--port", "70000"], "70000"),
    ],
)
def test_command_line_errors_are_one_clear_message(arguments, said):
    result = subprocess.run(
        [*REAL_SERVER, "--port", "0", *arguments], capture_output=True, text=True, timeout=30, check=False
    )
    assert result.returncode != 0
    assert said in result.stderr
    assert "Traceback" not in result.stderr


def test_port_in_use_is_told_at_once():
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        result = subprocess.run(
            [*REAL_SERVER, "--port", port], capture_output=True, text=True, timeout=30, check=False
        )
    assert result.returncode == 1
    assert "cannot listen" in result.stderr
