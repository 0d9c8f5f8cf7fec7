"""A directory of models that changes while the server runs."""

from __future__ import annotations

import asyncio
import os

import httpx
import pytest
from fake_engine import FakeEngine
from falcon import testing

from llmcore.tools.shapes import Shape
from llmcore.tools.synthesize import synthesize
from llmcore_server.app import create_app
from llmcore_server.config import ServerConfig
from llmcore_server.model_directory import ModelDirectory
from llmcore_server.model_files import scan_directory, select_models
from llmcore_server.registry import EngineRegistry

SHAPE = Shape("llama", 256, 1, 2, 1, 64, 256, 300, 512)


@pytest.fixture(scope="module")
def model_bytes(tmp_path_factory):
    path = tmp_path_factory.mktemp("model") / "m.gguf"
    synthesize(path, SHAPE, "Q4_0")
    return path.read_bytes()


class Served:
    """An application over a directory, in this process; every model is a fake one."""

    def __init__(self, folder, aliases):
        self.engines = []
        watched = ModelDirectory(folder)
        self.scans = 0

        def rescan():
            self.scans += 1
            return watched.changed()

        def load(plan):
            self.engines.append(FakeEngine(text=plan.file.stem))
            return self.engines[-1]

        selection = select_models(["first"], folder, aliases)
        registry = EngineRegistry(
            selection.models, load, selection.preload, aliases, autoload=True, rescan=rescan
        )
        self.app = create_app(registry, ServerConfig())

    async def names(self):
        native = [one["name"] for one in (await self.http.get("/api/v1/models")).json()["models"]]
        openai = [one["id"] for one in (await self.http.get("/v1/models")).json()["data"]]
        assert set(native) <= set(openai)
        return native

    async def ask(self, model):
        answer = await self.http.post("/api/v1/generate", json={"prompt": "x", "model": model})
        return answer.json().get("text", answer.status_code)


@pytest.fixture
def serve(tmp_path, model_bytes):
    """(scenario, aliases): run a coroutine of (server, write), which writes files that are models."""

    def write(name, content=model_bytes):
        (tmp_path / f"{name}.gguf").write_bytes(content)

    def run(scenario, **aliases):
        write("first")

        async def served():
            server = Served(tmp_path, aliases)
            transport = httpx.ASGITransport(server.app)
            async with (
                testing.ASGIConductor(server.app),
                httpx.AsyncClient(transport=transport, base_url="http://test") as server.http,
            ):
                await scenario(server, write)

        asyncio.run(served())

    return run


def test_a_new_file_is_listed_and_served(serve):
    async def scenario(server, write):
        assert await server.names() == ["first"]
        write("second.Q4_0")
        assert await server.names() == ["first", "second"]
        assert await server.ask("second") == "second.Q4_0"

    serve(scenario)


@pytest.mark.parametrize(
    "path", ["/api/v1/generate", "/v1/completions", "/v1/chat/completions", "/v1/embeddings", "/v1/messages"]
)
def test_a_new_file_is_found_by_a_request_that_names_it(serve, path):
    async def scenario(server, write):
        body = {
            "model": "second",
            "prompt": "x",
            "input": "x",
            "messages": [{"role": "user", "content": "x"}],
            "max_tokens": 4,
        }
        assert (await server.http.post(path, json=body)).status_code == 404
        write("second")
        assert (await server.http.post(path, json=body)).status_code == 200
        assert (await server.http.get("/v1/models/second")).status_code == 200

    serve(scenario)


def test_a_file_that_is_gone_vanishes_unless_it_is_loaded(serve, tmp_path):
    async def scenario(server, write):
        write("idle")
        write("busy")
        assert await server.ask("busy") == "busy"
        assert sorted(await server.names()) == ["busy", "first", "idle"]
        for name in ("idle", "busy", "first"):
            (tmp_path / f"{name}.gguf").unlink()
        # Loaded ones go on; the default model stays though its file is gone.
        assert sorted(await server.names()) == ["busy", "first"]
        assert await server.ask("idle") == 404
        assert await server.ask("busy") == "busy"
        assert (await server.http.post("/api/v1/models/busy/unload")).status_code == 200
        assert await server.names() == ["first"]
        assert await server.ask("busy") == 404

    serve(scenario)


def test_a_file_is_a_quantization_of_a_model_there_is(serve):
    async def scenario(server, write):
        write("first.Q8_0")
        (model,) = (await server.http.get("/api/v1/models")).json()["models"]
        detail = (await server.http.get("/api/v1/models/first")).json()
        assert model["name"] == "first"
        assert len(detail["quantizations"]) >= 1
        assert (await server.http.get("/v1/models/first.Q8_0")).status_code == 200

    serve(scenario)


def test_a_file_that_is_still_being_written_appears_when_it_is_whole(serve, model_bytes):
    async def scenario(server, write):
        write("second", b"")
        assert await server.names() == ["first"]
        write("second", model_bytes)
        assert await server.names() == ["first", "second"]

    serve(scenario)


def test_an_alias_outlives_its_file(serve, tmp_path):
    async def scenario(server, write):
        assert await server.ask("short") == "second"
        (tmp_path / "second.gguf").unlink()
        assert (await server.http.post("/api/v1/models/second/unload")).status_code == 200
        listed = await server.http.get("/v1/models")
        assert [one["id"] for one in listed.json()["data"]] == ["first"]
        assert await server.ask("short") == 404
        write("second")
        assert await server.ask("short") == "second"

    (tmp_path / "second.gguf").write_bytes(b"GGUF")
    serve(scenario, short="second")


def test_known_names_cost_no_look_at_the_directory(serve):
    async def scenario(server, write):
        del write
        await server.ask("first")
        assert server.scans == 0
        assert await server.ask("nobody") == 404
        assert server.scans == 1

    serve(scenario)


def test_nothing_is_read_again_while_nothing_changes(tmp_path, model_bytes, monkeypatch):
    (tmp_path / "one.gguf").write_bytes(model_bytes)
    watched = ModelDirectory(tmp_path)
    read = []
    monkeypatch.setattr(
        "llmcore_server.model_directory.scan_directory",
        lambda folder: read.append(folder) or scan_directory(folder),
    )
    assert watched.changed() is None
    (tmp_path / "notes.txt").write_text("no model")
    assert watched.changed() is None
    os.symlink(tmp_path / "nowhere", tmp_path / "broken.gguf")
    assert watched.changed() is None
    assert read == []
    (tmp_path / "two.gguf").write_bytes(model_bytes)
    assert [files[0].name for files in watched.changed()] == ["one", "two"]
    assert watched.changed() is None
    assert len(read) == 1


def test_a_directory_that_is_gone_has_no_models(tmp_path):
    folder = tmp_path / "models"
    folder.mkdir()
    (folder / "one.gguf").write_bytes(b"GGUF")
    watched = ModelDirectory(folder)
    (folder / "one.gguf").unlink()
    folder.rmdir()
    assert watched.changed() == []
