"""LoRA adapters over HTTP: named by requests, listed, added and taken away; each test without a model."""

from __future__ import annotations

import asyncio
import re
import threading
from pathlib import Path

import pytest
from adapter_files import write_adapter
from click.testing import CliRunner
from fake_engine import FakeEngine, fake_registry
from in_process_client import InProcessClient

from llmcore import ModelError
from llmcore_server.adapter_service import AdapterService
from llmcore_server.adapters import AdapterFile, adapter_file
from llmcore_server.api_keys import KeyRing, new_key, write_keys
from llmcore_server.authentication import Authenticator
from llmcore_server.cli import serve
from llmcore_server.config import ServerConfig
from llmcore_server.disconnect import closing_scope
from llmcore_server.errors import ApiError
from llmcore_server.model_files import ModelSelectionError, model_file, scan_directory

GENERATE = "/api/v1/generate"
ADAPTERS = "/api/v1/models/tiny-chat/adapters"
MESSAGES = [{"role": "user", "content": "hi"}]
ENGLISH = {"Accept-Language": "en"}


@pytest.fixture
def models_dir(tmp_path: Path) -> Path:
    folder = tmp_path / "models"
    (folder / "more").mkdir(parents=True)
    (folder / "poet.gguf").write_bytes(b"GGUF")
    (folder / "more" / "deep.gguf").write_bytes(b"GGUF")
    (folder / "note.txt").write_text("x", encoding="utf-8")
    (folder / "folder.gguf").mkdir()
    (tmp_path / "outside.gguf").write_bytes(b"GGUF")
    (folder / "link.gguf").symlink_to(tmp_path / "outside.gguf")
    return folder


@pytest.fixture
def client(engine: FakeEngine, models_dir: Path) -> InProcessClient:
    """Over a model that has the adapter `Pirate` from the start."""
    adapter = adapter_file("Pirate", models_dir / "poet.gguf", 0.5)
    return InProcessClient(engine, ServerConfig(adapters_dir=models_dir), {"adapters": [adapter]})


@pytest.mark.parametrize(
    ("path", "body"),
    [
        (GENERATE, {"prompt": "x", "lora": "pirate"}),
        (GENERATE, {"prompt": "x", "model": "tiny-chat", "lora": "Pirate"}),
        (GENERATE, {"prompt": "x", "model": "pirate", "lora": "PIRATE"}),
        (GENERATE, {"prompt": "x", "model": "default:pirate"}),
        ("/api/v1/generate/stream", {"prompt": "x", "lora": "pirate"}),
        ("/v1/chat/completions", {"model": "tiny-chat:Pirate", "messages": MESSAGES}),
        ("/v1/chat/completions", {"model": "gpt-3.5-turbo:pirate", "messages": MESSAGES}),
        ("/v1/completions", {"model": "Pirate", "prompt": "x"}),
        ("/v1/embeddings", {"model": "pirate", "input": "x"}),
        ("/v1/responses", {"model": "pirate", "input": "x"}),
        ("/v1/messages", {"model": "pirate", "messages": MESSAGES, "max_tokens": 4}),
        ("/v1/engines/tiny-chat:pirate/completions", {"prompt": "x"}),
    ],
)
def test_every_route_may_name_one(client: InProcessClient, engine: FakeEngine, path: str, body: dict) -> None:
    assert client.post(path, body).status_code == 200
    assert engine.adapters_used == ["Pirate"]


def test_requests_without_one_get_the_model_itself(client: InProcessClient, engine: FakeEngine) -> None:
    assert client.post(GENERATE, {"prompt": "x", "lora": None}).status_code == 200
    items = [{"prompt": "x"}, {"prompt": "x", "lora": "pirate"}, {"prompt": "x", "lora": "nobody"}]
    results = client.post("/api/v1/batch/generate", {"requests": items}).json()["results"]
    assert engine.adapters_used == [None, None, "Pirate"]
    assert results[2]["error"]["code"] == "MODEL_NOT_FOUND"


@pytest.mark.parametrize(
    ("path", "body", "code", "param"),
    [
        (GENERATE, {"prompt": "x", "lora": "nobody"}, "MODEL_NOT_FOUND", None),
        (GENERATE, {"prompt": "x", "model": "cold", "lora": "pirate"}, "MODEL_NOT_FOUND", None),
        (GENERATE, {"prompt": "x", "model": "tiny-chat:nobody"}, "MODEL_NOT_FOUND", None),
        (GENERATE, {"prompt": "x", "model": ":pirate"}, "MODEL_NOT_FOUND", None),
        ("/v1/completions", {"prompt": "x", "model": "cold:pirate"}, "model_not_found", "model"),
        ("/v1/completions", {"prompt": "x", "model": "nobody:pirate"}, "model_not_found", "model"),
    ],
)
def test_unknown_ones_are_404(
    client: InProcessClient, path: str, body: dict, code: str, param: str | None
) -> None:
    answer = client.post(path, body, headers=ENGLISH)
    assert answer.status_code == 404
    error = answer.json()["error"]
    assert error["code"] == code
    assert error.get("param") == param
    name = body.get("lora") or body["model"].rpartition(":")[2]
    assert name in str(error) or body["model"] in str(error)


def test_two_different_ones_are_refused(engine: FakeEngine, models_dir: Path) -> None:
    both = [adapter_file(name, models_dir / "poet.gguf") for name in ("a", "b")]
    client = InProcessClient(engine, registry_options={"adapters": both})
    answer = client.post(GENERATE, {"prompt": "x", "model": "tiny-chat:a", "lora": "b"})
    assert answer.status_code == 400
    assert not engine.adapters_used


def test_lists_name_them(client: InProcessClient) -> None:
    listed = {model["id"]: model for model in client.get("/v1/models").json()["data"]}
    assert listed["Pirate"]["parent"] == "tiny-chat"
    assert "parent" not in listed["tiny-chat"]
    for name in ("pirate", "tiny-chat:pirate"):
        one = client.get(f"/v1/models/{name}").json()
        assert (one["id"], one["parent"]) == (name, "tiny-chat")
    detail = client.get("/api/v1/models/tiny-chat").json()
    assert [(one["name"], one["scale"]) for one in detail["adapters"]] == [("Pirate", 0.5)]
    # They are no models: nothing can be loaded or freed by their names.
    assert client.get("/api/v1/models/pirate").status_code == 404
    assert client.post("/api/v1/models/tiny-chat:pirate/unload", {}).status_code == 404


def test_they_come_and_go(client: InProcessClient, engine: FakeEngine) -> None:
    added, used, taken, again, gone, unknown = client.requests(
        ("POST", ADAPTERS, {"json": {"name": "poet", "path": "more/deep.gguf", "scale": 2}}),
        ("POST", GENERATE, {"json": {"prompt": "x", "lora": "poet"}}),
        ("POST", ADAPTERS, {"json": {"name": "POET", "path": "poet.gguf"}}),
        ("DELETE", f"{ADAPTERS}/Poet", {}),
        ("POST", GENERATE, {"json": {"prompt": "x", "lora": "poet"}}),
        ("DELETE", f"{ADAPTERS}/poet", {}),
    )
    assert [one["name"] for one in added.json()["adapters"]] == ["Pirate", "poet"]
    assert used.status_code == 200
    assert taken.status_code == 400
    assert [one["name"] for one in again.json()["adapters"]] == ["Pirate"]
    assert (gone.status_code, unknown.status_code) == (404, 404)
    assert unknown.json()["error"]["code"] == "MODEL_NOT_FOUND"
    assert engine.adapters == {}
    assert engine.adapters_used == ["poet"]


def test_they_stay_when_the_model_is_loaded_anew(client: InProcessClient) -> None:
    plans = []
    load = client.registry_options.setdefault("load", lambda plan: plans.append(plan) or client.engine)
    assert load is not None
    client.requests(
        ("POST", ADAPTERS, {"json": {"name": "poet", "path": "poet.gguf"}}),
        ("POST", "/api/v1/models/tiny-chat/unload", {}),
        ("DELETE", f"{ADAPTERS}/pirate", {}),
        ("POST", "/api/v1/models/tiny-chat/load", {}),
    )
    assert [[adapter.name for adapter in plan.adapters] for plan in plans] == [["Pirate"], ["poet"]]


def test_only_files_of_the_models_directory(client: InProcessClient, models_dir: Path) -> None:
    paths = [
        "../outside.gguf", "/etc/passwd", "link.gguf", "note.txt", "folder.gguf", "absent.gguf",
        "more/../../outside.gguf", "poet.gguf/x", "\x00", "a\x00.gguf", "~/poet.gguf", "x" * 4000, ".",
        str(models_dir.parent / "outside.gguf"),
    ]  # fmt: skip
    bodies = [{"json": {"name": "poet", "path": path}, "headers": ENGLISH} for path in paths]
    bodies.append({"content": b'{"name": "poet", "path": "\\ud800.gguf"}'})
    answers = client.requests(*(("POST", ADAPTERS, body) for body in bodies))
    assert [answer.status_code for answer in answers] == [400] * len(bodies)
    # Nothing tells what lies elsewhere, nor where.
    told = {re.sub(r"'.*'", "", answer.json()["error"]["details"]) for answer in answers[: len(paths)]}
    assert len(told) == 1
    assert not any(str(models_dir) in answer.text for answer in answers)
    absolute = client.post(ADAPTERS, {"name": "poet", "path": str(models_dir / "poet.gguf")})
    assert absolute.status_code == 200


def test_without_a_directory_none_may_be_added(engine: FakeEngine) -> None:
    answer = InProcessClient(engine).post(ADAPTERS, {"name": "poet", "path": "poet.gguf"}, headers=ENGLISH)
    assert answer.status_code == 400
    assert "--models-dir" in answer.json()["error"]["details"]


def test_bad_requests_are_400(client: InProcessClient, engine: FakeEngine) -> None:
    bodies: list[object] = [
        {}, [], {"name": "x"}, {"path": "poet.gguf"}, {"name": "", "path": "poet.gguf"},
        {"name": "x", "path": ""}, {"name": "x" * 65, "path": "poet.gguf"}, {"name": 1, "path": "poet.gguf"},
        *({"name": name, "path": "poet.gguf"} for name in ("a/b", "a:b", "-a", ".", "a b", "\xe9", "a\n")),
        *({"name": name, "path": "poet.gguf"} for name in ("Pirate", "tiny-chat", "COLD", "default")),
        {"name": "GPT-3.5-Turbo", "path": "poet.gguf"},
        *({"name": "x", "path": "poet.gguf", "scale": scale} for scale in ("1", 1e9, [], True)),
    ]  # fmt: skip
    answers = client.requests(*(("POST", ADAPTERS, {"json": body}) for body in bodies))
    for body, answer in zip(bodies, answers, strict=True):
        assert answer.status_code == 400, body
        assert answer.json()["error"]["code"] in ("INVALID_REQUEST", "INVALID_JSON")
    assert engine.adapters == {}


def test_what_the_engine_refuses_is_told(client: InProcessClient, engine: FakeEngine) -> None:
    engine.adapter_error = ModelError("[lora] shape of tensor 'x'; got 3; expected 4")
    refused, listed = client.requests(
        ("POST", ADAPTERS, {"json": {"name": "poet", "path": "poet.gguf"}, "headers": ENGLISH}),
        ("GET", "/api/v1/models/tiny-chat", {}),
    )
    assert refused.status_code == 400
    assert "shape of tensor" in refused.json()["error"]["details"]
    assert [one["name"] for one in listed.json()["adapters"]] == ["Pirate"]
    engine.adapter_error = RuntimeError("nobody expects it")
    assert client.post(ADAPTERS, {"name": "poet", "path": "poet.gguf"}).status_code == 500


def test_a_model_that_is_not_loaded_takes_none(client: InProcessClient) -> None:
    answer = client.post("/api/v1/models/cold/adapters", {"name": "poet", "path": "poet.gguf"})
    assert answer.status_code == 503
    assert answer.json()["error"]["code"] == "MODEL_NOT_LOADED"
    for path in ("poet.gguf", "absent.gguf"):
        unknown = client.post("/api/v1/models/nobody/adapters", {"name": "x", "path": path})
        assert unknown.status_code == 404


def test_it_takes_the_right_to_load_models(engine: FakeEngine, models_dir: Path, tmp_path: Path) -> None:
    keys = {scope: new_key(scope, scopes=(scope,)) for scope in ("generate", "models")}
    write_keys(tmp_path / "keys.json", [entry for _, entry in keys.values()])
    config = ServerConfig(
        adapters_dir=models_dir, authenticator=Authenticator(keys=KeyRing(tmp_path / "keys.json", print))
    )
    client = InProcessClient(engine, config)
    body = {"name": "poet", "path": "poet.gguf"}

    def statuses(headers: dict[str, str]) -> list[int]:
        asked = [
            ("POST", ADAPTERS, {"json": body, "headers": headers}),
            ("DELETE", f"{ADAPTERS}/poet", {"headers": headers}),
        ]
        return [answer.status_code for answer in client.requests(*asked)]

    assert statuses({}) == [401, 401]
    assert statuses({"X-API-Key": keys["generate"][0]}) == [403, 403]
    assert statuses({"X-API-Key": keys["models"][0]}) == [200, 200]


def test_adapters_are_no_models(tmp_path: Path) -> None:
    path = write_adapter(tmp_path / "poet.gguf", "llama", {})
    assert scan_directory(tmp_path) == []
    with pytest.raises(ModelSelectionError, match="--lora"):
        model_file(path)


@pytest.mark.parametrize("value", ["", "x=", "=y", "x=/nowhere.gguf", "a:b=/nowhere.gguf"])
def test_the_command_line_names_what_is_wrong(value: str) -> None:
    result = CliRunner().invoke(serve, ["--lora", value])
    assert result.exit_code == 2
    assert "--lora" in result.output


def test_names_that_are_taken_are_refused_at_start(engine: FakeEngine, models_dir: Path) -> None:
    poet = f"poet={models_dir / 'poet.gguf'}"
    result = CliRunner().invoke(serve, ["--lora", poet, "--lora", poet.replace("poet=", "POET=")])
    assert result.exit_code == 2
    assert "the same name" in result.output
    for name in ("cold", "Tiny-Chat", "default"):
        with pytest.raises(ApiError, match="is taken"):
            fake_registry(engine, adapters=[adapter_file(name, models_dir / "poet.gguf")])


def test_a_file_is_described() -> None:
    assert AdapterFile("Poet", Path("x")).key == "poet"
    for name in ("", "a/b", "x" * 65):
        with pytest.raises(ValueError, match="no name"):
            adapter_file(name, Path("x"))


def test_the_model_stays_while_an_adapter_loads_whose_client_left(models_dir: Path) -> None:
    begun, may_end = threading.Event(), threading.Event()

    class SlowEngine(FakeEngine):
        def load_adapter(self, name: str, path: str | Path, scale: float = 1.0) -> None:
            begun.set()
            may_end.wait(10)
            super().load_adapter(name, path, scale)

    async def scenario() -> None:
        registry = fake_registry(SlowEngine())
        registry.start()
        service = AdapterService(registry, models_dir)
        model = registry.resolve("tiny-chat")

        async def request() -> None:
            async with closing_scope():
                await service.load(model, "bard", "poet.gguf", 1.0)

        client = asyncio.create_task(request())
        await asyncio.to_thread(begun.wait, 10)
        client.cancel()
        await asyncio.wait({client})
        assert model.resident is not None
        assert model.resident.users == 1
        may_end.set()
        await asyncio.wait_for(model.resident.unused.wait(), 10)
        assert model.resident.users == 0
        assert "bard" in model.adapters
        registry.close()

    asyncio.run(scenario())
