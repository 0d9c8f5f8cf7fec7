"""schemathesis over the OpenAPI document: requests of every shape, answers in their schemas, no failures."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

from llmcore_server.schemas import SamplingFields

CHECKS = "not_a_server_error,status_code_conformance,content_type_conformance,response_schema_conformance"
# Unloading is left to tests of its own: what nobody loads again answers 503, as it should. Of the routes that
# lie at two places one is asked, and the old paths of OpenAI's name a model that nobody would guess.
ROUTES = (
    r"^/(api/v1/(generate|batch|models(?!/[^/]+/unload))|v1/(?!engines|(de)?tokenize|apply-template)"
    r"|(de)?tokenize|apply-template|health|metrics|docs|openapi)"
)


def for_fuzzing(document):
    """The document but for timeouts that are too short to be kept, which answer 503, as they should; and with
    the sampling parameters, which four routes check with the same code, on one of them."""
    schemas = document["components"]["schemas"]
    for kind in schemas["CompletionRequest"]["properties"]["timeout"]["anyOf"]:
        if kind["type"] == "number":
            kind["minimum"] = 60 + kind.pop("exclusiveMinimum")
    for name in ("GenerateRequest", "ChatCompletionRequest"):
        for field in set(SamplingFields.__struct_fields__) - {"model", "max_tokens", "stop"}:
            del schemas[name]["properties"][field]
    return document


def test_no_request_fails_and_every_answer_is_as_documented(serve_fake, tmp_path):
    process = serve_fake()
    process.wait_until_ready()
    command = shutil.which("st", path=f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")
    assert command is not None
    document = tmp_path / "openapi.json"
    document.write_text(json.dumps(for_fuzzing(process.client.get("/openapi.json").json())))
    arguments = [
        "--url",
        process.url,
        "--include-path-regex",
        ROUTES,
        "--checks",
        CHECKS,
        "--max-examples",
        "8",
        "--seed",
        "1",
    ]
    # How fast this machine makes up requests is not in question.
    arguments += ["--phases", "coverage,fuzzing", "--no-color", "--suppress-health-check", "too_slow"]
    result = subprocess.run(
        [command, "run", str(document), *arguments],
        capture_output=True,
        text=True,
        timeout=900,
        check=False,
        cwd=tmp_path,
        env={**os.environ, "NO_PROXY": "*"},
    )
    assert result.returncode == 0, result.stdout[-6000:] + result.stderr[-2000:]
    assert process.client.get("/health").json()["status"] == "healthy"
    assert process.metric("active_connections") == 0
