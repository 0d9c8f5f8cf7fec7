"""Loading and unloading over a fake engine: what is told, what waits, what leaves, what is refused."""

from __future__ import annotations

import asyncio
import threading
import time
from contextlib import asynccontextmanager
from pathlib import Path

import httpx
import pytest
from fake_engine import FakeEngine, fake_registry
from falcon import testing
from served_process import events

from llmcore_server.app import create_app
from llmcore_server.config import ServerConfig
from llmcore_server.model_file import ModelFile
from llmcore_server.resident_models import ResidentModels

MODELS = "/api/v1/models"
GENERATE = "/api/v1/generate"
GB = 1 << 30


def files(*names, size=GB):
    return [ModelFile(name, Path(f"{name}.gguf"), size, 0, "F16", "llama", 2048) for name in names]


@asynccontextmanager
async def serving(registry, config=None):
    app = create_app(registry, config or ServerConfig())
    transport = httpx.ASGITransport(app, raise_app_exceptions=False)
    async with (
        testing.ASGIConductor(app),
        httpx.AsyncClient(transport=transport, base_url="http://t") as http,
    ):
        yield http


class Loads:
    """Builds an engine for each plan and remembers it."""

    def __init__(self, seconds=0.0, **engine):
        self.plans, self.engines, self.seconds, self.engine = [], [], seconds, engine

    def __call__(self, plan):
        time.sleep(self.seconds)
        self.plans.append(plan)
        self.engines.append(FakeEngine(**self.engine))
        return self.engines[-1]


def run(scenario):
    asyncio.run(asyncio.wait_for(scenario, 20))


def registry_of(load, *names, limit=None, strict=True, **options):
    settings = {"preload": [], "aliases": {}, "residents": ResidentModels(limit, strict, drain_timeout=5.0)}
    settings["models"] = files(*names)
    return fake_registry(FakeEngine(), load=load, **{**settings, **options})


def test_a_model_tells_everything_about_itself(client):
    model = client.get(f"{MODELS}/tiny-chat").json()
    assert {"name", "format", "size", "loaded", "memory_usage", "quantization", "architecture"} < set(model)
    assert model["aliases"] == ["gpt-3.5-turbo"]
    assert client.get(f"{MODELS}/cold").json()["status"] == "unloaded"
    assert client.get(f"{MODELS}/COLD").json()["name"] == "cold"
    assert client.get(f"{MODELS}/nobody").status_code == 404


def test_load_waits_and_answers_the_model():
    async def scenario():
        load = Loads()
        async with serving(registry_of(load, "a", "b")) as http:
            answer = await http.post(f"{MODELS}/b/load", json={"prefer_gpu": False})
            assert answer.status_code == 200
            assert answer.json() == (await http.get(f"{MODELS}/b")).json()
            assert answer.json()["status"] == "ready"
            assert answer.json()["progress"] == 1
            assert answer.json()["device"] == "cpu"
            assert answer.json()["context_length"] == 2048
            assert load.plans[0].prefer_gpu is False
            assert (await http.post(GENERATE, json={"prompt": "x", "model": "b"})).status_code == 200
            assert (await http.post(GENERATE, json={"prompt": "x", "model": "a"})).status_code == 503

    run(scenario())


def test_what_is_not_as_asked_is_told():
    async def scenario():
        async with serving(registry_of(Loads(), "a")) as http:
            answer = await http.post(f"{MODELS}/a/load", json={"prefer_gpu": True, "speed": "high"})
            assert (
                answer.headers["x-llmcore-warnings"]
                == "ignored: speed, prefer_gpu: the model runs on the CPU"
            )

    run(scenario())


@pytest.mark.parametrize("body", [None, b"", b"{}", b'{"quantization": null, "wait": true}'])
def test_an_absent_body_asks_for_nothing_special(body):
    async def scenario():
        async with serving(registry_of(Loads(), "a")) as http:
            answer = await http.post(f"{MODELS}/a/load", content=body)
            assert answer.status_code == 200, answer.text

    run(scenario())


def test_two_loads_of_one_model_are_one_and_wait_false_answers_at_once():
    async def scenario():
        load = Loads(seconds=0.3)
        async with serving(registry_of(load, "a")) as http:
            began = time.monotonic()
            first = await http.post(f"{MODELS}/a/load", json={"wait": False})
            assert time.monotonic() - began < 0.25
            assert first.status_code == 202
            assert first.json()["status"] == "loading"
            assert first.json()["loaded"] is False
            assert 0 <= first.json()["progress"] < 1
            both = await asyncio.gather(http.post(f"{MODELS}/a/load"), http.post(f"{MODELS}/a/load"))
            assert [answer.json()["status"] for answer in both] == ["ready", "ready"]
            await http.post(f"{MODELS}/a/load")
            assert len(load.plans) == 1
            metrics = (await http.get("/metrics")).text
            assert 'llmcore_model_loads_total{outcome="ok"} 1\n' in metrics
            assert "llmcore_model_load_seconds_count 1\n" in metrics

    run(scenario())


def test_loads_that_wait_are_bounded(monkeypatch):
    monkeypatch.setattr("llmcore_server.registry._MOST_PENDING_LOADS", 6)
    may_finish = threading.Event()

    def load(_plan):
        may_finish.wait(10)
        return FakeEngine()

    async def scenario():
        async with serving(registry_of(load, "a")) as http:
            answers = [
                await http.post(f"{MODELS}/a/load", json={"wait": False, "quantization": name})
                for name in ["Q4_0", "Q8_0"] * 4
            ]
            may_finish.set()
            # The last one joins a load that waits.
            assert [answer.status_code for answer in answers] == [202] * 6 + [429, 202]
            assert answers[6].headers["retry-after"] == "5"
            joined = await http.post(f"{MODELS}/a/load", json={"quantization": "Q8_0"})
            assert joined.json()["quantization"] == "Q8_0"

    run(scenario())


def test_progress_is_the_share_of_the_weights_in_memory():
    resident = [0]
    halfway, may_finish = threading.Event(), threading.Event()

    def load(_plan):
        resident[0] = GB // 2
        halfway.set()
        may_finish.wait(10)
        return FakeEngine()

    async def scenario():
        async with serving(registry_of(load, "a", resident_bytes=lambda: resident[0])) as http:
            await http.post(f"{MODELS}/a/load", json={"wait": False})
            await asyncio.to_thread(halfway.wait, 10)
            assert (await http.get(f"{MODELS}/a")).json()["progress"] == 0.5
            may_finish.set()
            assert (await http.post(f"{MODELS}/a/load")).json()["memory_usage"] == "0.5GB"

    run(scenario())


def test_dry_run_tells_and_does_nothing():
    async def scenario():
        load = Loads()
        async with serving(registry_of(load, "a", "b", limit=int(1.5 * GB))) as http:
            await http.post(f"{MODELS}/a/load")
            planned = (await http.post(f"{MODELS}/b/load", json={"dry_run": True})).json()
            assert planned["status"] == "unloaded"
            assert planned["memory"] == {
                "weights": GB, "cache": 0, "workspace": 0, "total": GB, "limit": int(1.5 * GB),
                "fits": True, "unloads": ["a"],
            }  # fmt: skip
            assert len(load.plans) == 1
            assert (await http.get(f"{MODELS}/a")).json()["loaded"] is True

    run(scenario())


def test_the_least_recently_used_leaves_and_a_busy_one_never():
    async def scenario():
        load = Loads(pause=0.05)
        async with serving(registry_of(load, "a", "b", "c", limit=2 * GB, autoload=True)) as http:
            for name in "aba":
                await http.post(GENERATE, json={"prompt": "x", "model": name})
            assert (await http.post(GENERATE, json={"prompt": "x", "model": "c"})).status_code == 200
            loaded = {m["name"]: m["loaded"] for m in (await http.get(MODELS)).json()["models"]}
            assert loaded == {"a": True, "b": False, "c": True}
            assert load.engines[1].closed

            load.engine = {"pause": 0.0}
            for engine in load.engines:
                engine.text, engine.pause = "long" * 20, 0.02
            busy = [asyncio.create_task(http.post(GENERATE, json={"prompt": "x", "model": n})) for n in "ac"]
            await asyncio.sleep(0.3)
            refused = await http.post(GENERATE, json={"prompt": "x", "model": "b"})
            assert refused.status_code == 503
            assert refused.json()["error"]["code"] == "INSUFFICIENT_MEMORY"
            assert refused.headers["retry-after"] == "5"
            for answer in await asyncio.gather(*busy):
                assert answer.json()["text"] == "long" * 20
            # What was refused for want of memory is tried again by the next request.
            assert (await http.post(GENERATE, json={"prompt": "x", "model": "b"})).status_code == 200

    run(scenario())


def test_a_model_beyond_the_limit_is_refused_and_nothing_leaves_for_it():
    async def scenario():
        registry = registry_of(Loads(), "a", "b", limit=2 * GB)
        registry.resolve("b").files[0] = ModelFile("b", None, 3 * GB, 0)
        async with serving(registry) as http:
            await http.post(f"{MODELS}/a/load")
            answer = await http.post(f"{MODELS}/b/load")
            assert answer.status_code == 503
            assert answer.json()["error"]["code"] == "INSUFFICIENT_MEMORY"
            assert "3GB" in answer.json()["error"]["details"]
            assert "retry-after" not in answer.headers
            assert (await http.get(f"{MODELS}/a")).json()["loaded"] is True
            assert (await http.get(f"{MODELS}/b")).json()["status"] == "failed"

    run(scenario())


@pytest.mark.parametrize("path", [GENERATE, f"{GENERATE}/stream", "/v1/chat/completions"])
def test_unload_waits_for_requests_and_then_frees(path):
    async def scenario():
        load = Loads(text="word" * 20, pause=0.02)
        async with serving(registry_of(load, "a")) as http:
            await http.post(f"{MODELS}/a/load")
            body = {"prompt": "x", "messages": [{"role": "user", "content": "x"}]}
            request = asyncio.create_task(http.post(path, json=body))
            await asyncio.sleep(0.2)
            answer = await http.post(f"{MODELS}/a/unload")
            assert answer.json()["status"] == "unloaded"
            assert request.done() or (await asyncio.wait({request}, timeout=0.5))[0]
            answer = request.result()
            text = (
                "".join(event["token"] for event in events(answer.text)) if "stream" in path else answer.text
            )
            assert "word" * 20 in text
            assert load.engines[0].closed
            assert (await http.post(GENERATE, json={"prompt": "x"})).json()["error"][
                "code"
            ] == "MODEL_NOT_LOADED"
            assert (await http.post(f"{MODELS}/a/unload")).status_code == 200

    run(scenario())


def test_unloading_twice_at_once_is_unloading():
    async def scenario():
        load = Loads(text="word" * 10, pause=0.02)
        async with serving(registry_of(load, "a", "b", limit=GB)) as http:
            await http.post(f"{MODELS}/a/load")
            request = asyncio.create_task(http.post(GENERATE, json={"prompt": "x"}))
            await asyncio.sleep(0.1)
            unloads = [asyncio.create_task(http.post(f"{MODELS}/a/unload")) for _ in range(2)]
            await asyncio.sleep(0.05)
            # One that is leaving makes room for another.
            assert (await http.post(f"{MODELS}/b/load")).status_code == 200
            for answer in await asyncio.gather(*unloads):
                assert answer.status_code == 200
            assert (await request).json()["text"] == "word" * 10

    run(scenario())


def test_another_quantization_is_loaded_in_place_of_the_first():
    async def scenario():
        load = Loads()
        async with serving(registry_of(load, "a")) as http:
            await http.post(f"{MODELS}/a/load")
            answer = await http.post(f"{MODELS}/a/load", json={"quantization": "Q4_0"})
            assert answer.json()["quantization"] == "Q4_0"
            assert [engine.closed for engine in load.engines] == [True, False]
            # A load that asks for nothing leaves what is there.
            assert (await http.post(f"{MODELS}/a/load")).json()["quantization"] == "Q4_0"

    run(scenario())


def test_a_load_that_fails_is_told_and_may_be_tried_again():
    def load(_plan):
        if fails:
            raise OSError("the disk is gone")
        return FakeEngine()

    fails = [True]

    async def scenario():
        async with serving(registry_of(load, "a", autoload=True)) as http:
            answer = await http.post(f"{MODELS}/a/load", headers={"Accept-Language": "en"})
            assert answer.status_code == 503
            assert answer.json()["error"]["code"] == "MODEL_LOAD_FAILED"
            model = (await http.get(f"{MODELS}/a", headers={"Accept-Language": "en"})).json()
            assert model["status"] == "failed"
            assert "the disk is gone" in model["error"]
            # A request does not try a broken file again and again.
            assert (await http.post(GENERATE, json={"prompt": "x"})).status_code == 503
            fails.clear()
            assert (await http.post(f"{MODELS}/a/load")).status_code == 200

    run(scenario())


def test_where_files_lie_is_not_told():
    def load(plan):
        raise ValueError(f"[gguf] '{plan.file.path}', byte 4: the version is not supported")

    async def scenario():
        registry = registry_of(load, models=[ModelFile("a", Path("/srv/private/a.gguf"), GB, 0)])
        async with serving(registry) as http:
            for answer in (await http.post(f"{MODELS}/a/load"), await http.get(f"{MODELS}/a")):
                assert "[gguf] 'a.gguf', byte 4" in answer.text
                assert "private" not in answer.text

    run(scenario())


def test_ready_once_the_first_step_has_run():
    stepped = asyncio.Event()

    async def warm_up(_engine):
        await stepped.wait()

    async def scenario():
        registry = registry_of(Loads(), "a", preload=["a"], warm_up=warm_up)
        async with serving(registry) as http:
            await asyncio.sleep(0.05)
            for path in ("/health/live", "/api/v1/health/live", "/health"):
                assert (await http.get(path)).status_code == 200
            waiting = await http.get("/health/ready")
            assert waiting.status_code == 503
            assert waiting.json() == {"status": "not ready", "reason": "a model is loading"}
            assert (await http.get("/health")).json()["model_loaded"] is False
            stepped.set()
            await asyncio.sleep(0.05)
            for path in ("/health/ready", "/api/v1/health/ready"):
                assert (await http.get(path)).json() == {"status": "ready"}

    run(scenario())


def test_a_first_step_that_fails_is_a_load_that_fails():
    async def warm_up(_engine):
        raise RuntimeError("no such instruction")

    async def scenario():
        load = Loads()
        async with serving(registry_of(load, "a", warm_up=warm_up)) as http:
            assert (await http.post(f"{MODELS}/a/load")).json()["error"]["code"] == "MODEL_LOAD_FAILED"
            assert load.engines[0].closed

    run(scenario())
