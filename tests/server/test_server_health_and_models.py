"""Health, model lists and metrics."""

from __future__ import annotations

import re

import pytest
from prometheus_client.parser import text_string_to_metric_families

from llmcore.engine import EngineStats


@pytest.mark.parametrize("path", ["/health", "/api/v1/health"])
def test_health_has_the_documented_shape(client, path):
    answer = client.get(path)
    assert answer.status_code == 200
    assert set(answer.json()) == {"status", "model_loaded", "memory_usage", "active_connections"}
    assert answer.json()["status"] == "healthy"
    assert answer.json()["active_connections"] == 0
    assert re.fullmatch(r"\d+(\.\d)?GB/\d+(\.\d)?GB", answer.json()["memory_usage"])


def test_models_in_the_documented_shape(client):
    models = {model["name"]: model for model in client.get("/api/v1/models").json()["models"]}
    assert set(models) == {"tiny-chat", "cold"}
    assert models["tiny-chat"]["size"] == "4.2GB"
    assert models["tiny-chat"]["format"] == "gguf"
    assert models["cold"] == {
        "name": "cold",
        "format": "gguf",
        "size": "1MB",
        "loaded": False,
        "memory_usage": "0GB",
        "quantization": None,
        "architecture": None,
        "context_length": None,
    }


def test_models_in_openai_shape_list_aliases(client):
    answer = client.get("/v1/models").json()
    assert answer["object"] == "list"
    assert [model["id"] for model in answer["data"]] == ["tiny-chat", "cold", "gpt-3.5-turbo"]
    for model in answer["data"]:
        assert set(model) == {"id", "object", "created", "owned_by"}
        assert model["object"] == "model"
        assert model["created"] == 1_700_000_000


@pytest.mark.parametrize("path", ["/metrics", "/api/v1/metrics"])
def test_metrics_print_as_documented(client, path):
    answer = client.get(path)
    assert answer.headers["content-type"].startswith("text/plain; version=0.0.4")
    lines = answer.text.splitlines()
    assert "# HELP model_inference_seconds 模型推理耗时" in lines
    assert "# TYPE model_inference_seconds histogram" in lines
    for bound in ("1", "3", "5", "+Inf"):
        assert f'model_inference_seconds_bucket{{le="{bound}"}} 0' in lines
    assert "# HELP active_connections 活跃连接数" in lines
    assert "# TYPE active_connections gauge" in lines
    assert "active_connections 0" in lines


def test_metrics_parse_as_prometheus_text(client):
    families = {family.name: family for family in text_string_to_metric_families(client.get("/metrics").text)}
    assert families["model_inference_seconds"].type == "histogram"
    assert families["llmcore_prompt_tokens"].type == "counter"
    assert not [name for name in families if name.endswith("_created")]


def test_what_the_engine_counts_is_exported(client, engine):
    """Every total and state that its statistics have, each under a name of its own."""
    names = EngineStats.__struct_fields__
    told = {name: 1000.0 + number for number, name in enumerate(names)}
    engine.stats = lambda: EngineStats(**told)
    asked = ("POST", "/api/v1/generate", {"json": {"prompt": "x"}})
    text = client.requests(asked, ("GET", "/metrics", {}))[-1].text
    exported = re.findall(r'^llmcore_\w+{model="tiny-chat"} (\S+)$', text, re.MULTILINE)
    assert set(map(float, exported)) >= set(told.values())
