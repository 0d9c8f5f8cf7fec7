"""`llmcore serve --draft-model`: a small model guesses tokens for the one that is served."""

from __future__ import annotations

from pathlib import Path

import click.testing
from served_process import REAL_SERVER, ServedProcess

from llmcore import default_model
from llmcore_server.cli import serve


def test_answers_are_the_same(embedded: ServedProcess) -> None:
    body = {"prompt": "What is the sky?", "max_tokens": 24, "temperature": 0}
    options = [
        "--port",
        "0",
        "--threads",
        "1",
        "--draft-model",
        str(default_model.path()),
        "--draft-tokens",
        "3",
    ]
    guessing = ServedProcess(REAL_SERVER, options)
    try:
        found = guessing.post("/api/v1/generate", body)
        assert found.status_code == 200
        assert found.json()["text"] == embedded.post("/api/v1/generate", body).json()["text"]
    finally:
        assert guessing.stop() == 0


def test_it_guesses_for_one_model_only(tmp_path: Path) -> None:
    draft = str(default_model.path())
    for models in ([draft, draft], ["--models-dir", str(tmp_path), draft]):
        refused = click.testing.CliRunner().invoke(serve, [*models, "--draft-model", draft])
        assert refused.exit_code == 2
        assert "--draft-model guesses for one MODEL" in refused.output


def test_a_draft_with_another_vocabulary_ends_the_process(stories_model: Path) -> None:
    options = ["--port", "0", "--threads", "1", "--draft-model", str(stories_model)]
    process = ServedProcess(REAL_SERVER, options)
    _, said = process.process.communicate(timeout=60)
    process.client.close()
    assert process.process.returncode == 1
    assert "the draft model has another vocabulary" in said
