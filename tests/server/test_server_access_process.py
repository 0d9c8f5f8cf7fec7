"""Keys, limits, TLS and bounds of a real `llmcore serve` process."""

from __future__ import annotations

import datetime
import json
import socket
import ssl
import subprocess
import sys
import time

import httpx
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from served_process import FAKE_SERVER, REAL_SERVER, ServedProcess, send_raw

GENERATE = "/api/v1/generate"
ASK = {"prompt": "Once", "max_tokens": 2}


def llmcore(*arguments):
    return subprocess.run(
        [sys.executable, "-m", "llmcore", *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    ).stdout.strip()


@pytest.fixture(scope="module")
def guarded(stories_model, tmp_path_factory):
    path = tmp_path_factory.mktemp("keys") / "keys.json"
    key = llmcore("keys", "add", "--api-keys", path, "alice")
    arguments = ["--port", "0", "--threads", "1", "--api-keys", str(path), "--rate-limit", "5/hour"]
    process = ServedProcess(REAL_SERVER, [*arguments, str(stories_model)])
    process.wait_until_ready()
    yield process, key, path
    process.stop()


def ask(process, key=None):
    headers = {} if key is None else {"Authorization": f"Bearer {key}"}
    return process.client.post(GENERATE, json=ASK, headers=headers)


def test_a_key_is_good_until_it_is_revoked_and_is_never_logged(guarded):
    process, key, path = guarded
    wrong = "sk-llmcore-" + "B" * 43
    assert ask(process, key).status_code == 200
    assert ask(process).status_code == ask(process, wrong).status_code == 401
    assert process.client.get("/health").status_code == 200
    assert process.client.get("/metrics").status_code == 401
    second = llmcore("keys", "add", "--api-keys", path, "bob")
    assert ask(process, second).status_code == 200
    llmcore("keys", "revoke", "--api-keys", path, "alice")
    assert ask(process, key).status_code == 401
    assert ask(process, second).status_code == 200
    answers = [ask(process, second) for _ in range(6)]
    assert answers[-1].status_code == 429
    assert 0 < int(answers[-1].headers["retry-after"]) <= 3700
    path.write_text("{")
    assert ask(process, second).status_code == 429
    process.client.close()
    process.process.terminate()
    said = "".join(process.process.communicate(timeout=30))
    assert "the keys stay as they were" in said
    assert not any(secret in said for secret in (key, second, wrong, key[-20:]))


@pytest.fixture(scope="module")
def certificate(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tls")
    private = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
    now = datetime.datetime.now(datetime.timezone.utc)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(private.public_key())
        .serial_number(1)
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
        .sign(private, hashes.SHA256())
    )
    cert, key = folder / "cert.pem", folder / "key.pem"
    cert.write_bytes(made.public_bytes(serialization.Encoding.PEM))
    key.write_bytes(
        private.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
    )
    return cert, key


def test_https(stories_model, certificate):
    cert, key = certificate
    arguments = ["--port", "0", "--threads", "1", "--tls-cert", str(cert), "--tls-key", str(key)]
    process = ServedProcess(REAL_SERVER, [*arguments, str(stories_model)])
    try:
        assert process.url.startswith("https://")
        address = process.url.replace("127.0.0.1", "localhost")
        trust = ssl.create_default_context(cafile=cert)
        with httpx.Client(base_url=address, verify=trust, trust_env=False, timeout=30) as http:
            assert http.post(GENERATE, json=ASK).status_code == 200
    finally:
        process.stop()


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--tls-cert", "CERT"], "go together"),
        (["--tls-cert", "CERT", "--tls-key", "CERT"], "cannot use"),
        (["--jwt-issuer", "x"], "need --jwt-key"),
        (["--jwt-key", "CERT", "--jwt-algorithm", "RS256"], "no key for RS256"),
        (["--api-keys", "CERT"], "not a key file"),
        (["--rate-limit", "many"], "not a rate"),
        (["--limit-storage", "nowhere://"], "cannot count"),
        (["--cors-origin", "example.org"], "is not *"),
        (["--memory-limit", "1MB"], "There is not enough memory for the model"),
        (["--quantization", "q9_9"], "unknown quantization"),
    ],
)
def test_settings_that_cannot_be_are_told_in_one_message(certificate, arguments, said):
    given = [str(certificate[0]) if argument == "CERT" else argument for argument in arguments]
    result = subprocess.run(
        [*REAL_SERVER, "--port", "0", *given], capture_output=True, text=True, timeout=30, check=False
    )
    assert result.returncode != 0
    assert said in result.stderr
    assert "Traceback" not in result.stderr


@pytest.fixture(scope="module")
def bounded():
    process = ServedProcess(FAKE_SERVER, ["head_timeout=1"])
    yield process
    process.stop()


def connect(process):
    return socket.create_connection(("127.0.0.1", int(process.url.rsplit(":", 1)[1])), timeout=10)


def answer_of(connection):
    received = b""
    while b"}}" not in received and (data := connection.recv(65536)):
        received += data
    head, _, body = received.partition(b"\r\n\r\n")
    return int(head.split()[1]), json.loads(body)["error"]


@pytest.mark.parametrize(
    "head",
    [
        b"GET /health HTTP/1.1\r\nX-Long: " + b"a" * 200_000,
        b"GET /" + b"a" * 200_000,
        b"GET /health HTTP/1.1\r\n" + b"X-Many: a\r\n" * 20_000,
        b"GET /health HTTP/1.1\r\nX-Long: " + b"a" * 70_000 + b"\r\n\r\n",
    ],
    ids=["a header", "the address", "many headers", "a complete request"],
)
def test_heads_are_bounded(bounded, head):
    with connect(bounded) as connection:
        connection.sendall(head)
        status, error = answer_of(connection)
    assert status == 431
    assert error["code"] == "HEADERS_TOO_LARGE"
    assert bounded.client.get("/health").status_code == 200


def test_what_is_no_http_is_told_in_shape(bounded):
    with connect(bounded) as connection:
        connection.sendall(b"\x16\x03\x01\x02\x00nonsense\r\n\r\n")
        assert answer_of(connection)[0] == 400


@pytest.mark.parametrize("path", [GENERATE, "/api/v1/generate/stream", "/api/v1/batch/generate"])
def test_a_client_that_leaves_gives_its_place_back_and_pays_for_its_tokens(serve_fake, path):
    process = serve_fake(concurrency=1, tokens=40, pause=0.02, repeat=1000)
    request = {"prompt": "x", "max_tokens": 4000}
    body = {"requests": [request]} if "batch" in path else request
    with send_raw(process, path, body):
        process.wait_for_metric("llmcore_time_to_first_token_seconds_count", 1)
        time.sleep(0.5)
        refused = process.post(GENERATE, ASK)
        assert refused.status_code == 429
        assert process.metric("llmcore_requests_rejected_total") == 1
    process.wait_for_metric("active_connections", 0)
    # The prompt, one user turn as JSON, and what was generated till then exceed the tokens there are.
    refused = process.client.post(GENERATE, json=ASK, headers={"Accept-Language": "en"})
    assert "tokens" in refused.json()["error"]["details"]


def test_an_address_that_the_client_names_is_not_its_own(serve_fake):
    """It would choose its quota, and whose cached prompts it finds."""
    process = serve_fake(concurrency=1, pause=0.05, repeat=1000)
    with send_raw(process, GENERATE, {"prompt": "x", "max_tokens": 4000}):
        process.wait_for_metric("llmcore_requests_running", 1)
        for header in ("X-Forwarded-For", "Forwarded", "X-Real-IP"):
            named = {header: "for=203.0.113.9" if header == "Forwarded" else "203.0.113.9"}
            assert process.client.post(GENERATE, json=ASK, headers=named).status_code == 429


@pytest.mark.parametrize(
    ("sent", "told"), [(b"", b""), (b"GET /health HTTP/1.1\r\nHost: x\r\n", b"HTTP/1.1 408 ")]
)
def test_a_head_that_does_not_arrive_ends_the_connection(bounded, sent, told):
    with connect(bounded) as connection:
        connection.sendall(sent)
        began = time.monotonic()
        assert connection.recv(13) == told
        while connection.recv(1000):
            pass
        assert 0.5 < time.monotonic() - began < 8


def test_long_bodies_and_idle_connections_are_no_long_heads(bounded):
    with httpx.Client(base_url=bounded.url, trust_env=False, timeout=30) as http:
        for _ in range(3):
            answer = http.post(GENERATE, json={"prompt": "x" * 300_000})
            assert answer.status_code == 200
            time.sleep(0.6)
