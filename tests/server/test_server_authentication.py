"""Keys and tokens: who is let in, who is not, and what is told of either."""

from __future__ import annotations

import hmac
import json
import logging
import time

import jwt
import pytest
from click.testing import CliRunner
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from fake_engine import FakeEngine
from in_process_client import InProcessClient

from llmcore_server.access_options import authenticator
from llmcore_server.api_keys import KeyFileError, KeyRing, digest_of, new_key, read_keys, write_keys
from llmcore_server.authentication import Authenticator
from llmcore_server.cli import keys as keys_command
from llmcore_server.config import ServerConfig
from llmcore_server.json_web_tokens import TokenKeyError, granted_scopes, read_verifier

GENERATE = "/api/v1/generate"
CHAT = "/v1/chat/completions"
BODY = {"prompt": "x", "messages": [{"role": "user", "content": "x"}]}
# Claims are collected long before they are checked: a few minutes from then may be over.
FAR_FUTURE = 1 << 33
SECRET = b"0123456789abcdef0123456789abcdef"
PUBLIC = ["/health", "/health/live", "/health/ready", "/api/v1/health"]
CLOSED = [
    "/metrics",
    "/api/v1/models",
    "/v1/models",
    "/api/v1/models/cold",
    "/docs",
    "/openapi.json",
    "/nowhere",
]


def bearer(credential):
    return {"Authorization": f"Bearer {credential}"}


@pytest.fixture
def key_file(tmp_path):
    path = tmp_path / "keys.json"
    key, entry = new_key("alice")
    write_keys(path, [entry])
    return path, key


def client_of(**settings):
    return InProcessClient(FakeEngine(), ServerConfig(authenticator=Authenticator(**settings)))


@pytest.fixture
def client(key_file):
    return client_of(keys=KeyRing(key_file[0], print))


def token(claims=None, secret=SECRET, algorithm="HS256", **headers):
    content = {"sub": "bob", "exp": time.time() + 60, **(claims or {})}
    return jwt.encode({k: v for k, v in content.items() if v is not None}, secret, algorithm, headers or None)


@pytest.mark.parametrize("path", PUBLIC)
def test_health_needs_no_key(client, path):
    assert client.get(path).status_code in (200, 503)


@pytest.mark.parametrize("path", CLOSED)
def test_everything_else_does(client, path):
    answer = client.get(path)
    assert answer.status_code == 401
    assert answer.headers["www-authenticate"] == "Bearer"


@pytest.mark.parametrize("headers", [bearer, lambda key: {"X-API-Key": key}, lambda key: {"x-api-key": key}])
def test_a_good_key_is_let_in(client, key_file, headers):
    assert client.post(GENERATE, BODY, headers=headers(key_file[1])).status_code == 200
    assert client.get("/api/v1/models", headers=headers(key_file[1])).status_code == 200


@pytest.mark.parametrize("bad", ["", "x", "sk-llmcore-" + "A" * 43, "a.b.c", "\x7f" * 20, "k" * 20_000])
@pytest.mark.parametrize(("path", "code"), [(GENERATE, "AUTHENTICATION_FAILED"), (CHAT, "invalid_api_key")])
def test_a_bad_key_is_not(client, bad, path, code):
    for headers in (bearer(bad), {"X-API-Key": bad}, {"Authorization": bad}):
        answer = client.post(path, BODY, headers=headers)
        assert answer.status_code == 401
        assert answer.json()["error"]["code"] == code


def test_a_key_that_differs_in_a_letter_is_not(client, key_file):
    key = key_file[1]
    for wrong in (key[:-1], key + "a", key[:-1] + ("a" if key[-1] != "a" else "b"), key.upper()):
        assert client.post(GENERATE, BODY, headers=bearer(wrong)).status_code == 401


def test_the_file_holds_no_key_and_is_the_owners_alone(key_file):
    path, key = key_file
    assert key not in path.read_text()
    assert digest_of(key) in path.read_text()
    assert path.stat().st_mode & 0o077 == 0


def test_revoked_and_expired_keys_are_refused_from_the_next_request_on(key_file):
    path, key = key_file
    ring = KeyRing(path, print)
    assert ring.find(key) is not None
    CliRunner().invoke(keys_command, ["revoke", "--api-keys", str(path), "alice"])
    assert ring.find(key) is None
    late, entry = new_key("late", expires=int(time.time()) - 1)
    write_keys(path, [entry])
    assert ring.find(late) is None


def test_a_broken_file_locks_nobody_out_and_an_absent_one_everybody(key_file):
    path, key = key_file
    said = []
    ring = KeyRing(path, said.append)
    path.write_text('{"keys": [')
    assert ring.find(key) is not None
    assert len(said) == 1
    path.unlink()
    assert ring.find(key) is None
    assert ring.find(key) is None
    assert len(said) == 2
    assert not any(key in line for line in said)


@pytest.mark.parametrize(
    "content",
    ["", "[]", "{}", '{"keys": [{"id": "a"}]}', '{"keys": [{"id": "a", "name": "b", "sha256": "c"}]}'],
)
def test_files_that_hold_no_keys(tmp_path, content):
    path = tmp_path / "keys.json"
    path.write_text(content)
    with pytest.raises(KeyFileError):
        read_keys(path)


def test_scopes(tmp_path):
    path = tmp_path / "keys.json"
    generator, first = new_key("generator")
    operator, second = new_key("operator", scopes=["models", "metrics"])
    write_keys(path, [first, second])
    client = client_of(keys=KeyRing(path, print))
    load = "/api/v1/models/cold/load"
    for key, allowed in ((generator, [GENERATE]), (operator, [load, "/metrics"])):
        for path_, method in ((GENERATE, "POST"), (load, "POST"), ("/metrics", "GET")):
            body = {"json": BODY} if path_ == GENERATE else {}
            answer = client.request(method, path_, headers=bearer(key), **body)
            assert answer.status_code == (200 if path_ in allowed else 403), path_
    for path_ in ("/tokenize", "/v1/detokenize", "/apply-template", "/v1/messages/count_tokens"):
        # Each may load a model.
        statuses = [client.post(path_, {}, headers=bearer(key)).status_code for key in (generator, operator)]
        assert statuses == [400, 403], path_
    refused = client.post(CHAT, BODY, headers=bearer(operator))
    assert refused.json()["error"]["type"] == "permission_error"


def test_metrics_may_be_public(key_file):
    client = client_of(keys=KeyRing(key_file[0], print), public_metrics=True)
    assert client.get("/metrics").status_code == 200
    assert client.get("/api/v1/models").status_code == 401


@pytest.fixture
def verify(tmp_path):
    def make(key=SECRET, algorithm="HS256", **parties):
        path = tmp_path / "jwt.key"
        path.write_bytes(key)
        return client_of(tokens=read_verifier(path, algorithm, **parties))

    return make


def status(client, credential):
    return client.post(GENERATE, BODY, headers=bearer(credential)).status_code


def test_a_good_token_is_let_in(verify):
    client = verify(issuer="us", audience="llmcore")
    assert status(client, token({"iss": "us", "aud": "llmcore"})) == 200


@pytest.mark.parametrize(
    "claims",
    [
        {"exp": time.time() - 1},
        {"exp": None},
        {"sub": None},
        {"sub": ""},
        {"sub": 7},
        {"sub": "\ud800"},
        {"iss": "them"},
        {"iss": None},
        {"aud": "another"},
        {"aud": None},
        {"nbf": FAR_FUTURE},
    ],
)
def test_tokens_with_bad_claims_are_not(verify, claims):
    client = verify(issuer="us", audience="llmcore")
    assert status(client, token({"iss": "us", "aud": "llmcore", **claims})) == 401


def test_an_audience_nobody_expects_is_refused(verify):
    assert status(verify(), token({"aud": "another"})) == 401


def test_tokens_with_bad_signatures_are_not(verify):
    client = verify()
    good = token()
    head, claims, signature = good.split(".")
    none = jwt.encode({"sub": "bob", "exp": time.time() + 60}, None, "none")
    assert status(client, good) == 200
    for bad in (
        token(secret=b"x" * 32),
        none,
        f"{none}{signature}",
        f"{head}.{claims}.",
        f"{head}.{claims[:-2]}.{signature}",
        token(algorithm="HS512", secret=SECRET * 2),
    ):
        assert status(client, bad) == 401


def pem(private):
    public = private.public_key()
    form = serialization.PublicFormat.SubjectPublicKeyInfo
    return public.public_bytes(serialization.Encoding.PEM, form)


def private_pem(private):
    form = (serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    return private.private_bytes(serialization.Encoding.PEM, *form)


@pytest.mark.parametrize("algorithm", ["RS256", "ES256"])
def test_public_keys(verify, algorithm, tmp_path):
    private = (
        rsa.generate_private_key(65537, 2048)
        if algorithm == "RS256"
        else ec.generate_private_key(ec.SECP256R1())
    )
    client = verify(pem(private), algorithm)
    assert status(client, token(secret=private, algorithm=algorithm)) == 200
    # A public key taken for a shared secret is the classic confusion.
    claims = {"sub": "bob", "exp": time.time() + 60}
    forged = jwt.api_jws.PyJWS()
    forged.get_algorithm_by_name("HS256").prepare_key = lambda key: key
    confused = forged.encode(json.dumps(claims).encode(), pem(private), "HS256")
    assert status(client, confused) == 401
    assert status(client, token()) == 401
    path = tmp_path / "private.pem"
    path.write_bytes(private_pem(private))
    with pytest.raises(TokenKeyError, match="private key"):
        read_verifier(path, algorithm)


@pytest.mark.parametrize(
    ("key", "algorithm", "said"),
    [
        (b"short", "HS256", "5 bytes"),
        (b"-----BEGIN PUBLIC KEY-----" + b"A" * 40, "HS256", "PEM"),
        (SECRET, "RS256", "no key for RS256"),
        (SECRET, "ES256", "no key for ES256"),
    ],
)
def test_keys_that_are_none(tmp_path, key, algorithm, said):
    path = tmp_path / "jwt.key"
    path.write_bytes(key)
    with pytest.raises(TokenKeyError, match=said):
        read_verifier(path, algorithm)


@pytest.mark.parametrize(
    ("claims", "scopes"),
    [
        ({}, ("generate",)),
        ({"scope": "models read"}, ("models",)),
        ({"scopes": ["generate", "metrics"]}, ("generate", "metrics")),
        ({"scope": ""}, ()),
        ({"scope": 7}, ()),
        ({"scope": [["generate"]]}, ()),
    ],
)
def test_scopes_of_tokens(claims, scopes):
    assert granted_scopes(claims) == scopes


def test_a_token_without_the_scope_is_refused(verify):
    assert status(verify(), token({"scope": "models"})) == 403


def test_keys_and_tokens_together(key_file, tmp_path):
    path = tmp_path / "jwt.key"
    path.write_bytes(SECRET + b"\n")
    both = authenticator(
        api_keys=key_file[0],
        jwt_key=path,
        jwt_algorithm="HS256",
        jwt_issuer=None,
        jwt_audience=None,
        public_metrics=False,
    )
    client = InProcessClient(FakeEngine(), ServerConfig(authenticator=both))
    assert status(client, key_file[1]) == 200
    assert status(client, token()) == 200
    answer = client.post(GENERATE, BODY, headers={**bearer("wrong"), "X-API-Key": key_file[1]})
    assert answer.status_code == 200


def test_keys_are_compared_in_constant_time(key_file, monkeypatch):
    path, key = key_file
    ring = KeyRing(path, print)
    compared, genuine = [], hmac.compare_digest

    def compare(one, other):
        compared.append((len(one), len(other)))
        return genuine(one, other)

    monkeypatch.setattr("llmcore_server.api_keys.hmac.compare_digest", compare)
    for wrong in ("", key[:-1], "x" * 10_000):
        assert ring.find(wrong) is None
    assert compared == [(64, 64)] * 3, "digests alone, of one length, whether the key is known or not"


def test_credentials_are_never_logged(key_file, tmp_path, caplog):
    secret = tmp_path / "jwt.key"
    secret.write_bytes(SECRET)
    client = client_of(keys=KeyRing(key_file[0], print), tokens=read_verifier(secret, "HS256"))
    credentials = [key_file[1], "sk-llmcore-" + "C" * 43, token(), token({"exp": 1}), "a.b.c"]
    with caplog.at_level(logging.DEBUG):
        for credential in credentials:
            for headers in (bearer(credential), {"X-API-Key": credential}):
                client.post(GENERATE, {**BODY, "temperature": 99}, headers=headers)
                client.post("/nowhere", BODY, headers=headers)
    said = caplog.text
    assert not any(part in said for one in credentials if len(one) > 9 for part in one.split("."))


def invoke(*arguments):
    return CliRunner().invoke(keys_command, list(arguments))


def test_the_keys_command(tmp_path):
    path = tmp_path / "new" / "keys.json"
    where = ["--api-keys", str(path)]
    added = invoke(
        "add", *where, "alice", "--scope", "models", "--requests-per-minute", "7", "--expires", "2d"
    )
    assert added.exit_code == 0
    key = added.stdout.strip()
    (entry,) = read_keys(path)
    assert entry.sha256 == digest_of(key)
    assert entry.scopes == ("models",)
    assert entry.limits.requests_per_minute == 7
    assert 86400 < entry.expires - time.time() <= 2 * 86400
    assert invoke("add", *where, "alice").exit_code == 1
    listed = invoke("list", *where)
    assert "alice" in listed.output
    assert "good" in listed.output
    assert key not in listed.output
    assert entry.sha256 not in listed.output
    assert invoke("revoke", *where, entry.id).exit_code == 0
    assert "revoked" in invoke("list", *where).output
    assert invoke("revoke", *where, entry.id).exit_code == 1
    assert invoke("add", *where, "alice").exit_code == 0
    path.write_text("nonsense")
    assert "not a key file" in invoke("list", *where).output


def test_the_command_tells_its_file_and_wants_a_name(tmp_path):
    for command in ("add", "list", "revoke"):
        told = "".join(CliRunner().invoke(keys_command, [command, "--help"]).output.split())
        assert "api-keys.json]" in told
    refused = CliRunner().invoke(keys_command, ["add", "--api-keys", str(tmp_path / "keys.json"), " "])
    assert refused.exit_code == 2
    assert "needs a name" in refused.output
    assert list(tmp_path.iterdir()) == []
