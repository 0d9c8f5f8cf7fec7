"""schemathesis over the OpenAPI document: requests of every shape, answers in their schemas, no failures."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

CHECKS = "not_a_server_error,status_code_conformance,content_type_conformance,response_schema_conformance"
# Unloading is left to tests of its own: what nobody loads again answers 503, as it should.
ROUTES = r"^/(api/v1/(?!models/[^/]+/unload)|v1/|(de)?tokenize|apply-template|health|metrics|docs|openapi)"


def with_long_timeouts(document):
    """The document but for timeouts that are too short to be kept, which answer 503, as they should."""
    for schema in document["components"]["schemas"].values():
        for kind in schema.get("properties", {}).get("timeout", {}).get("anyOf", []):
            if kind["type"] == "number":
                kind["minimum"] = 60 + kind.pop("exclusiveMinimum")
    return document


def test_no_request_fails_and_every_answer_is_as_documented(serve_fake, tmp_path):
    process = serve_fake()
    process.wait_until_ready()
    command = shutil.which("st", path=f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")
    assert command is not None
    document = tmp_path / "openapi.json"
    document.write_text(json.dumps(with_long_timeouts(process.client.get("/openapi.json").json())))
    arguments = [
        "--url",
        process.url,
        "--include-path-regex",
        ROUTES,
        "--checks",
        CHECKS,
        "--max-examples",
        "12",
        "--seed",
        "1",
    ]
    arguments += ["--phases", "coverage,fuzzing", "--no-color"]
    result = subprocess.run(
        [command, "run", str(document), *arguments],
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
        cwd=tmp_path,
        env={**os.environ, "NO_PROXY": "*"},
    )
    assert result.returncode == 0, result.stdout[-6000:] + result.stderr[-2000:]
    assert process.client.get("/health").json()["status"] == "healthy"
    assert process.metric("active_connections") == 0
