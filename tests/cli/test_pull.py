"""`llmcore pull` from a hub of our own: chosen, resumed, checked, named; and from hubs that lie."""

from __future__ import annotations

import hashlib
import json
import os
import re
import subprocess
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qs

import pytest

from llmcore.errors import InvalidArgumentError
from llmcore.tools.hub import NAMED_MODELS, HubError, HubFile, Wanted, choose_files, wanted_model

COMMIT = "0123456789abcdef0123456789abcdef01234567"
CONTENT = b"GGUF" + bytes(range(256)) * 4096


class Hub:
    """A stand-in for a hub, with what huggingface_hub asks of one. `requests` is what it was asked."""

    def __init__(self):
        self.repositories = {}
        self.requests = []
        self.lies = set()
        self.gated = set()
        self.stalls_at = None
        self.stalled, self.released = threading.Event(), threading.Event()
        hub = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def log_message(self, *_arguments):
                pass

            def do_HEAD(self):
                hub.answer(self, body=False)

            def do_GET(self):
                hub.answer(self, body=True)

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def answer(self, request, *, body):
        self.requests.append((request.command, request.path, request.headers.get("Range")))
        tree = re.fullmatch(r"/api/models/([^/]+/[^/]+)/tree/[^?]+(\?.*)?", request.path)
        resolve = re.fullmatch(r"/([^/]+/[^/]+)/resolve/[^/]+/(.+)", request.path)
        scope = re.fullmatch(r"/api/v1/models/([^/]+/[^/]+)/repo(/files)?\?(.*)", request.path)
        if scope is not None:
            return self.answer_modelscope(request, scope, body)
        found = tree or resolve
        if found is None or found[1] not in self.repositories:
            return self.send(request, 404, b"{}", {"X-Error-Code": "RepoNotFound"}, body)
        if found[1] in self.gated:
            return self.send(request, 403, b"{}", {"X-Error-Code": "GatedRepo"}, body)
        files = self.repositories[found[1]]
        if tree:
            return self.send(
                request, 200, json.dumps([self.entry(*file) for file in files.items()]).encode(), {}, body
            )
        if resolve[2] not in files:
            return self.send(request, 404, b"", {"X-Error-Code": "EntryNotFound"}, body)
        return self.send_file(request, files[resolve[2]], body)

    def answer_modelscope(self, request, asked, body):
        files = self.repositories.get(asked[1])
        if files is None:
            return self.send(
                request, 404, b'{"Code": 10010205001, "Message": "no", "Success": false}', {}, body
            )
        if asked[2] is not None:
            listed = [
                {
                    "Path": path,
                    "Type": "blob",
                    "Size": len(content),
                    "Sha256": self.entry(path, content)["lfs"]["oid"],
                }
                for path, content in files.items()
            ]
            answer = {"Code": 200, "Success": True, "Data": {"Files": listed}}
            return self.send(
                request, 200, json.dumps(answer).encode(), {"Content-Type": "application/json"}, body
            )
        return self.send_file(request, files[parse_qs(asked[3])["FilePath"][0]], body)

    def entry(self, path, content):
        digest = hashlib.sha256(b"a lie" if path in self.lies else content).hexdigest()
        lfs = {"oid": digest, "size": len(content), "pointerSize": 134}
        return {"type": "file", "oid": "0" * 40, "size": len(content), "path": path, "lfs": lfs}

    def send_file(self, request, content, body):
        digest = hashlib.sha256(content).hexdigest()
        headers = {"X-Repo-Commit": COMMIT, "ETag": f'"{digest}"', "Accept-Ranges": "bytes"}
        headers |= {"X-Linked-Size": str(len(content)), "X-Linked-Etag": f'"{digest}"'}
        wanted = re.fullmatch(r"bytes=(\d+)-", request.headers.get("Range") or "")
        begin = int(wanted[1]) if wanted else 0
        if wanted:
            headers["Content-Range"] = f"bytes {begin}-{len(content) - 1}/{len(content)}"
        part = content[begin:]
        if body and self.stalls_at is not None:
            part, self.stalls_at = part[: self.stalls_at], None
            headers["Content-Length"] = str(len(content) - begin)
            self.send(request, 200, part, headers, body)
            self.stalled.set()
            self.released.wait(60)
            request.close_connection = True
            return None
        return self.send(request, 206 if wanted else 200, part, headers, body)

    @staticmethod
    def send(request, status, content, headers, body):
        request.send_response(status)
        for name, value in {"Content-Length": str(len(content)), **headers}.items():
            request.send_header(name, value)
        request.end_headers()
        if body:
            request.wfile.write(content)


@pytest.fixture
def hub():
    made = Hub()
    yield made
    made.server.shutdown()
    made.server.server_close()


@pytest.fixture
def start_pull(hub, tmp_path):
    def start(*arguments, endpoint=None):
        environment = {**os.environ, "HF_ENDPOINT": endpoint or hub.url, "HF_HOME": str(tmp_path / "hf")}
        environment |= {"MODELSCOPE_ENDPOINT": endpoint or hub.url, "HOME": str(tmp_path)}
        environment |= {"MODELSCOPE_CACHE": str(tmp_path / "scope")}
        environment |= {"NO_PROXY": "*", "HF_HUB_DISABLE_TELEMETRY": "1", "HF_HUB_DOWNLOAD_TIMEOUT": "5"}
        environment.pop("HF_HUB_OFFLINE", None)
        return subprocess.Popen(
            [sys.executable, "-m", "llmcore", "pull", "--models-dir", str(tmp_path / "models"), *arguments],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=environment,
        )

    return start


@pytest.fixture
def pull(start_pull):
    def run(*arguments, **options):
        process = start_pull(*arguments, **options)
        out, err = process.communicate(timeout=120)
        return subprocess.CompletedProcess(process.args, process.returncode, out, err)

    return run


def models(tmp_path):
    return {path.name: path.read_bytes() for path in (tmp_path / "models").iterdir() if path.is_file()}


def test_a_model_by_its_name(hub, pull, tmp_path):
    hub.repositories[NAMED_MODELS["qwen-7b-chat"]] = {
        "README.md": b"x",
        "qwen1_5-7b-chat-q4_k_m.gguf": CONTENT,
        "qwen1_5-7b-chat-q8_0.gguf": CONTENT + b"wide",
    }
    result = pull("qwen-7b-chat")
    assert result.returncode == 0, result.stderr
    assert models(tmp_path) == {"qwen-7b-chat-q4_k_m.gguf": CONTENT}
    assert result.stdout.strip() == str(tmp_path / "models" / "qwen-7b-chat-q4_k_m.gguf")
    # Again: it is there, and whole.
    downloads = [path for method, path, _ in hub.requests if method == "GET" and "/resolve/" in path]
    assert pull("qwen-7b-chat").returncode == 0
    assert downloads == [path for method, path, _ in hub.requests if method == "GET" and "/resolve/" in path]
    assert pull("qwen-7b-chat", "--quantization", "q8_0").returncode == 0
    assert len(models(tmp_path)) == 2


def test_a_damaged_copy_is_fetched_again(hub, pull, tmp_path):
    hub.repositories["a/b"] = {"m-Q4_K_M.gguf": CONTENT}
    assert pull("a/b").returncode == 0
    path = tmp_path / "models" / "m-Q4_K_M.gguf"
    path.write_bytes(b"GGUF" + bytes(len(CONTENT) - 4))
    assert pull("a/b:m-Q4_K_M.gguf").returncode == 0
    assert path.read_bytes() == CONTENT


def test_all_parts_of_a_split_model(hub, pull, tmp_path):
    parts = {f"q/m-q4_k_m-0000{n}-of-00002.gguf": CONTENT + bytes([n]) for n in (1, 2)}
    hub.repositories["a/b"] = parts
    assert pull("a/b").returncode == 0
    assert models(tmp_path) == {Path(name).name: content for name, content in parts.items()}


def test_an_interrupted_fetch_goes_on_where_it_was(hub, pull, start_pull, tmp_path):
    content = CONTENT * 22
    hub.repositories["a/b"] = {"m-Q4_K_M.gguf": content}
    hub.stalls_at = 15_000_000
    process = start_pull("a/b")
    try:
        assert hub.stalled.wait(60)
        partial = lambda: sum(path.stat().st_size for path in tmp_path.rglob("*.partial"))  # noqa: E731
        deadline = time.monotonic() + 30
        while partial() < 10_000_000:
            assert time.monotonic() < deadline
            time.sleep(0.05)
    finally:
        process.kill()
        process.communicate()
        hub.released.set()
    assert pull("a/b").returncode == 0
    assert models(tmp_path) == {"m-Q4_K_M.gguf": content}
    (resumed,) = [asked for _, _, asked in hub.requests if asked]
    assert int(resumed.removeprefix("bytes=").removesuffix("-")) >= 10_000_000
    assert not list(tmp_path.rglob("*.partial"))


def test_what_is_not_what_the_hub_lists_is_refused(hub, pull, tmp_path):
    hub.repositories["a/b"] = {"m-Q4_K_M.gguf": CONTENT}
    hub.lies.add("m-Q4_K_M.gguf")
    result = pull("a/b")
    assert result.returncode == 1
    assert "checksums differ" in result.stderr
    assert models(tmp_path) == {}


def test_what_is_no_model_is_refused(hub, pull, tmp_path):
    hub.repositories["a/b"] = {"m-Q4_K_M.gguf": b"<html>" * 100}
    result = pull("a/b")
    assert "not a GGUF file" in result.stderr
    assert models(tmp_path) == {}


def test_a_model_from_modelscope(hub, pull, tmp_path):
    hub.repositories["a/b"] = {"README.md": b"x", "m-Q4_K_M.gguf": CONTENT, "m-Q8_0.gguf": CONTENT + b"wide"}
    result = pull("a/b", "--hub", "modelscope")
    assert result.returncode == 0, result.stderr
    assert models(tmp_path) == {"m-Q4_K_M.gguf": CONTENT}
    assert pull("a/b", "--hub", "modelscope").returncode == 0
    hub.lies.add("m-Q8_0.gguf")
    result = pull("a/b:m-Q8_0.gguf", "--hub", "modelscope")
    assert "checksums differ" in result.stderr
    assert "Traceback" not in result.stderr
    result = pull("a/nobody", "--hub", "modelscope")
    assert result.returncode == 1
    assert "Traceback" not in result.stderr
    assert models(tmp_path) == {"m-Q4_K_M.gguf": CONTENT}


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["a/nobody"], "there is no"),
        (["a/gated"], "HF_TOKEN"),
        (["a/b", "--quantization", "Q2_K"], "has no Q2_K; there is: m-Q4_K_M.gguf"),
        (["a/b:other.gguf"], "has no other.gguf"),
        (["nonsense"], "expected one of qwen-7b-chat"),
        (["../../etc/passwd"], "expected one of"),
    ],
)
def test_refusals_are_one_line(hub, pull, arguments, said):
    hub.repositories |= {"a/b": {"m-Q4_K_M.gguf": CONTENT}, "a/gated": {}}
    hub.gated.add("a/gated")
    result = pull(*arguments)
    assert result.returncode == 1
    assert said in result.stderr
    assert "Traceback" not in result.stderr


def test_a_hub_that_is_not_there(pull):
    result = pull("a/b", endpoint="http://127.0.0.1:1")
    assert result.returncode == 1
    assert "cannot be reached" in result.stderr
    assert "Traceback" not in result.stderr


@pytest.mark.parametrize(
    "name", ["qwen-7b-chat", "qwen-14b-chat", "gemma-7b", "gemma-2b", "llama-2-7b-chat", "chatglm3-6b"]
)
def test_the_models_of_the_specification_have_a_place(name):
    assert wanted_model(name.upper()) == Wanted(NAMED_MODELS[name], name=name)


@pytest.mark.parametrize("text", ["", "a", "a/b/c", "a b/c", "/a", "a/", "http://x/y"])
def test_what_names_no_model(text):
    with pytest.raises(InvalidArgumentError):
        wanted_model(text)


def listed(*paths):
    return [HubFile(path, 1, "0" * 64, None) for path in paths]


def test_which_file():
    files = listed(
        "m.Q4_K_M.gguf",
        "m.Q4_K_S.gguf",
        "deep/m.Q4_K_M.gguf",
        "m.Q4_K_M.gguf.txt",
        "Q8_0/m-00001-of-00001.gguf",
    )
    chosen = choose_files(files, Wanted("a/b"), "q4_k_m")
    assert [file.path for file in chosen] == ["m.Q4_K_M.gguf"]
    assert choose_files(files, Wanted("a/b", "deep/m.Q4_K_M.gguf"), "x")[0].path == "deep/m.Q4_K_M.gguf"
    with pytest.raises(HubError, match="has no Q4_K;"):
        choose_files(files, Wanted("a/b"), "Q4_K")
    with pytest.raises(HubError, match="lacks parts"):
        choose_files(listed("m-q4_0-00001-of-00002.gguf"), Wanted("a/b"), "q4_0")
