"""Rate limits: headers on every answer, refusals, whose quota is whose; and CORS."""

from __future__ import annotations

import asyncio
import threading
import time

import httpx
import pytest
from fake_engine import FakeEngine, fake_registry
from fakeredis import TcpFakeServer
from falcon import testing
from in_process_client import InProcessClient

from llmcore_server.access_options import allowed_origins
from llmcore_server.api_keys import KeyLimits, KeyRing, new_key, write_keys
from llmcore_server.app import create_app
from llmcore_server.authentication import Authenticator, address_identity
from llmcore_server.config import ServerConfig
from llmcore_server.option_types import byte_size, rate
from llmcore_server.rate_limits import LimitSettings, LimitStorageError, RateLimiter

GENERATE = "/api/v1/generate"
STREAM = "/api/v1/generate/stream"
BATCH = "/api/v1/batch/generate"
CHAT = "/v1/chat/completions"
BODY = {"prompt": "x", "messages": [{"role": "user", "content": "x"}], "requests": [{"prompt": "x"}]}
ASK = ("POST", GENERATE, {"json": BODY})


def limited(**settings):
    return InProcessClient(FakeEngine(), ServerConfig(limits=LimitSettings(**settings)))


@pytest.mark.parametrize("path", [GENERATE, STREAM, BATCH, CHAT])
def test_every_answer_of_a_generating_route_tells_the_limit(client, path):
    answers = client.requests(
        ("POST", path, {"json": BODY}),
        ("POST", path, {"json": {}}),
        ("POST", path, {"content": b"{", "headers": {"Content-Type": "application/json"}}),
        ("GET", path, {}),
    )
    assert [answer.status_code for answer in answers] == [200, 400, 400, 405]
    left = [int(answer.headers["x-ratelimit-remaining"]) for answer in answers]
    assert left == [59_999, 59_998, 59_997, 59_996]
    for answer in answers:
        assert answer.headers["x-ratelimit-limit"] == "60000"
        assert 0 <= int(answer.headers["x-ratelimit-reset"]) - time.time() <= 62


def test_openai_routes_tell_it_as_openai_does():
    (answer,) = limited(tokens=(1000, 60)).requests(("POST", CHAT, {"json": BODY}))
    assert answer.headers["x-ratelimit-limit-requests"] == "60000"
    assert answer.headers["x-ratelimit-remaining-requests"] == "59999"
    assert answer.headers["x-ratelimit-remaining-tokens"] == "1000"
    assert answer.headers["x-ratelimit-reset-requests"].endswith("s")


@pytest.mark.parametrize("path", ["/health", "/metrics", "/api/v1/models", "/v1/models"])
def test_other_routes_have_no_limit(path):
    for answer in limited(requests=(1, 60)).requests(*[("GET", path, {})] * 3):
        assert answer.status_code == 200
        assert "x-ratelimit-limit" not in answer.headers


@pytest.mark.parametrize(("path", "code"), [(GENERATE, "TOO_MANY_REQUESTS"), (CHAT, "rate_limit_exceeded")])
def test_more_requests_than_allowed_are_refused(path, code):
    client = limited(requests=(3, 3600))
    answers = client.requests(*[("POST", path, {"json": BODY})] * 5, ("GET", "/metrics", {}))
    assert [answer.status_code for answer in answers[:5]] == [200, 200, 200, 429, 429]
    refused = answers[3]
    assert refused.json()["error"]["code"] == code
    assert refused.headers["x-ratelimit-remaining"] == "0"
    wait = int(refused.headers["retry-after"])
    assert abs(int(refused.headers["x-ratelimit-reset"]) - time.time() - wait) <= 2
    assert 'llmcore_requests_rejected_total{reason="rate_limit"} 2' in answers[5].text
    assert len(client.engine.prompts) == 3


def test_after_the_time_told_there_is_more():
    async def scenario():
        app = create_app(fake_registry(FakeEngine()), ServerConfig(limits=LimitSettings(requests=(2, 1))))
        http = httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://test")
        async with testing.ASGIConductor(app), http:
            answers = [await http.post(GENERATE, json=BODY) for _ in range(6)]
            refused = answers[-1]
            assert refused.status_code == 429
            await asyncio.sleep(int(refused.headers["retry-after"]))
            assert (await http.post(GENERATE, json=BODY)).status_code == 200

    asyncio.run(scenario())


def test_tokens_count_as_they_are_used():
    # A prompt of one user turn, as JSON, and four tokens of text.
    used = len('[{"role": "user", "content": "x"}]') + 4
    client = limited(tokens=(2 * used - 1, 3600))
    answers = client.requests(*[ASK] * 3, ("GET", "/metrics", {}))
    assert [answer.status_code for answer in answers[:3]] == [200, 200, 429]
    assert "token" in answers[2].json()["error"]["details"]
    assert 'reason="token_limit"} 1' in answers[3].text


def test_a_batch_counts_for_each_of_its_requests():
    client = limited(requests=(5, 3600))
    batch = {"requests": [{"prompt": "x"}] * 3}
    answers = client.requests(*[("POST", BATCH, {"json": batch})] * 2, ASK)
    assert [answer.status_code for answer in answers] == [200, 429, 200]
    assert answers[0].headers["x-ratelimit-remaining"] == "2"
    assert len(client.engine.prompts) == 4


def test_a_batch_that_no_window_has_room_for_is_told_so():
    (answer,) = limited(requests=(6, 60)).requests(
        ("POST", BATCH, {"json": {"requests": [{"prompt": "x"}] * 7}})
    )
    assert answer.status_code == 400
    assert answer.json()["error"]["code"] == "INVALID_REQUEST"
    assert "6" in answer.json()["error"]["details"]
    assert "retry-after" not in answer.headers
    (whole,) = limited(requests=(6, 60)).requests(
        ("POST", BATCH, {"json": {"requests": [{"prompt": "x"}] * 6}})
    )
    assert whole.status_code == 200


@pytest.mark.parametrize("path", [GENERATE, STREAM])
def test_requests_at_the_same_time(path):
    async def scenario():
        config = ServerConfig(limits=LimitSettings(concurrency=2))
        app = create_app(fake_registry(FakeEngine(pause=0.1)), config)
        http = httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://test")
        async with testing.ASGIConductor(app), http:
            answers = await asyncio.gather(*(http.post(path, json=BODY) for _ in range(4)))
            assert sorted(answer.status_code for answer in answers) == [200, 200, 429, 429]
            assert (await http.post(path, json=BODY)).status_code == 200
            assert 'reason="concurrency"} 2' in (await http.get("/metrics")).text

    asyncio.run(scenario())


def test_each_key_has_its_own_quota_and_limits(tmp_path):
    path = tmp_path / "keys.json"
    slow, first = new_key("slow", limits=KeyLimits(requests_per_minute=1))
    fast, second = new_key("fast")
    write_keys(path, [first, second])
    config = ServerConfig(authenticator=Authenticator(KeyRing(path, print)), limits=LimitSettings((3, 60)))

    def ask(key):
        return "POST", GENERATE, {"json": BODY, "headers": {"X-API-Key": key}}

    client = InProcessClient(FakeEngine(), config)
    answers = client.requests(ask(slow), ask(slow), ask(fast), ask(fast), ask("wrong"))
    assert [answer.status_code for answer in answers] == [200, 429, 200, 200, 401]
    assert [answer.headers["x-ratelimit-limit"] for answer in answers] == ["1", "1", "3", "3", "3"]


def test_trying_keys_is_limited_too(tmp_path):
    path = tmp_path / "keys.json"
    write_keys(path, [])
    config = ServerConfig(authenticator=Authenticator(KeyRing(path, print)), limits=LimitSettings((2, 60)))
    answers = InProcessClient(FakeEngine(), config).requests(*[ASK] * 3)
    assert [answer.status_code for answer in answers] == [401, 401, 429]


@pytest.fixture
def redis_server():
    server = TcpFakeServer(("127.0.0.1", 0), server_type="redis")
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"redis://127.0.0.1:{server.server_address[1]}"
    server.shutdown()
    server.server_close()


def test_processes_that_share_a_counter_share_the_limit(redis_server):
    clients = [limited(requests=(3, 3600), storage=redis_server) for _ in range(2)]
    first = [answer.status_code for answer in clients[0].requests(ASK, ASK)]
    answers = clients[1].requests(ASK, ASK)
    assert first + [answer.status_code for answer in answers] == [200, 200, 200, 429]
    assert [answer.headers["x-ratelimit-remaining"] for answer in answers] == ["0", "0"]
    assert int(answers[1].headers["retry-after"]) <= 3601


@pytest.mark.parametrize(
    ("address", "identity"),
    [
        ("203.0.113.7", "address:203.0.113.7"),
        ("2001:db8:1:2:3:4:5:6", "address:2001:db8:1:2::"),
        ("2001:db8:1:2:ffff::", "address:2001:db8:1:2::"),
        ("::1", "address:::"),
        ("::ffff:203.0.113.7", "address:203.0.113.7"),
        ("", "address:"),
    ],
)
def test_whose_quota_an_address_is(address, identity):
    assert address_identity(address) == identity


def test_a_counter_that_cannot_be_reached_stops_nobody(caplog):
    answers = limited(requests=(1, 60), storage="redis://127.0.0.1:1").requests(ASK, ASK)
    assert [answer.status_code for answer in answers] == [200, 200]
    assert caplog.text.count("cannot be reached") == 1


def test_places_that_do_not_exist_are_told_at_start():
    with pytest.raises(LimitStorageError, match="nowhere://"):
        RateLimiter(LimitSettings(storage="nowhere://x"))


@pytest.mark.parametrize(
    ("text", "parsed"), [("100/minute", (100, 60)), ("5 per second", (5, 1)), ("9/day", (9, 86400))]
)
def test_rates(text, parsed):
    assert rate(text) == parsed


@pytest.mark.parametrize("text", ["", "100", "0/minute", "x/minute", "1/fortnight", "-1/minute"])
def test_rates_that_are_none(text):
    with pytest.raises(Exception, match="not a rate"):
        rate(text)


@pytest.mark.parametrize(
    ("text", "size"), [("8GB", 8 << 30), ("1.5GiB", 3 << 29), ("512m", 512 << 20), ("7", 7)]
)
def test_sizes(text, size):
    assert byte_size(text) == size


PREFLIGHT = {"Origin": "https://page.example", "Access-Control-Request-Method": "POST"}


@pytest.mark.parametrize(
    ("origins", "allowed"),
    [
        (("*",), "*"),
        (("https://page.example",), "https://page.example"),
        (("https://other.example",), None),
        ((), None),
    ],
)
def test_pages_of_other_origins_ask_where_they_may(origins, allowed):
    client = InProcessClient(FakeEngine(), ServerConfig(cors_origins=origins))
    asked, answered, refused = client.requests(
        ("OPTIONS", GENERATE, {"headers": PREFLIGHT}),
        ("POST", GENERATE, {"json": BODY, "headers": {"Origin": "https://page.example"}}),
        ("POST", GENERATE, {"json": {}, "headers": {"Origin": "https://page.example"}}),
    )
    for answer in (asked, answered, refused):
        assert answer.headers.get("access-control-allow-origin") == allowed
        assert "access-control-allow-credentials" not in answer.headers
    if allowed:
        assert "POST" in asked.headers["access-control-allow-methods"]
        exposed = answered.headers["access-control-expose-headers"].lower().split(", ")
        for name in (
            "x-ratelimit-remaining",
            "x-ratelimit-reset-tokens",
            "openai-processing-ms",
            "x-request-id",
        ):
            assert name in exposed
    for answer in (asked, answered, refused):
        assert answer.headers.get("vary") == ("Origin" if origins not in (("*",), ()) else None)


def test_a_page_may_ask_whether_it_may_ask_without_a_key(tmp_path):
    path = tmp_path / "keys.json"
    write_keys(path, [])
    config = ServerConfig(authenticator=Authenticator(KeyRing(path, print)), cors_origins=("*",))
    client = InProcessClient(FakeEngine(), config)
    answer = client.request("OPTIONS", GENERATE, headers=PREFLIGHT)
    assert answer.status_code == 200
    assert answer.headers["access-control-allow-origin"] == "*"
    assert client.post(GENERATE, BODY, headers={"Origin": "https://page.example"}).status_code == 401


def test_by_default_pages_may_ask_a_server_without_keys_alone(tmp_path):
    path = tmp_path / "keys.json"
    write_keys(path, [])
    for authenticator, allowed in ((Authenticator(), "*"), (Authenticator(KeyRing(path, print)), None)):
        client = InProcessClient(FakeEngine(), ServerConfig(authenticator=authenticator))
        answer = client.request("OPTIONS", GENERATE, headers=PREFLIGHT)
        assert answer.headers.get("access-control-allow-origin") == allowed


@pytest.mark.parametrize(
    ("given", "origins"),
    [
        ((), None),
        (("none",), ()),
        (("*",), ("*",)),
        (("https://a.example/", "http://b"), ("https://a.example", "http://b")),
    ],
)
def test_origins_as_given(given, origins):
    assert allowed_origins(given) == origins
