"""The Grafana dashboard asks for metrics that exist, and leaves out none of the server's own."""

from __future__ import annotations

import json
import re

import pytest
from fake_engine import FakeEngine
from in_process_client import InProcessClient

# Words of PromQL that are no metrics.
PROMQL = {
    "sum",
    "by",
    "rate",
    "increase",
    "max",
    "histogram_quantile",
    "le",
    "model",
    "reason",
    "outcome",
    "version",
}
GENERATE = ("POST", "/api/v1/generate", {"json": {"prompt": "x"}})


@pytest.fixture(scope="module")
def metrics():
    refused = ("POST", "/api/v1/generate", {"json": {}})
    return InProcessClient(FakeEngine()).requests(GENERATE, refused, ("GET", "/metrics", {}))[-1].text


@pytest.fixture(scope="module")
def dashboard(repository):
    return json.loads((repository / "server" / "dashboards" / "llmcore.json").read_text(encoding="utf-8"))


def expressions(dashboard):
    return [target["expr"] for panel in dashboard["panels"] for target in panel["targets"]]


def metric_names(expression):
    bare = re.sub(r"\{[^}]*\}|\[[^\]]*\]|\"[^\"]*\"", " ", expression)
    return set(re.findall(r"[a-zA-Z_:][\w:]*", bare)) - PROMQL


def test_every_metric_it_asks_for_has_series(dashboard, metrics):
    series = set(re.findall(r"^([a-zA-Z_:][\w:]*)(?:\{| )", metrics, re.MULTILINE))
    asked = set().union(*map(metric_names, expressions(dashboard)))
    assert len(asked) > 15
    assert asked <= series


def test_labels_it_groups_by_exist(dashboard, metrics):
    for expression in expressions(dashboard):
        for label in re.findall(r"by \((\w+)\)", expression):
            (name, *_) = metric_names(expression)
            assert re.search(rf'^{name}{{[^}}]*{label}="', metrics, re.MULTILINE), expression


def test_panels_are_where_none_hides_another(dashboard):
    places = [(panel["gridPos"]["x"], panel["gridPos"]["y"]) for panel in dashboard["panels"]]
    assert len(places) == len(set(places))
    assert len({panel["id"] for panel in dashboard["panels"]}) == len(places)


def test_what_the_server_counts_is_on_it(dashboard, metrics):
    """The specification's two metrics and those of llmcore; gauges that only divide others left out."""
    declared = set(re.findall(r"^# TYPE ((?:llmcore_|model_|active_)\w+)", metrics, re.MULTILINE))
    asked = " ".join(expressions(dashboard))
    assert {name for name in declared if name not in asked} == {"llmcore_kv_blocks_free"}


def test_reasons_of_refusals_are_few(metrics):
    assert 'llmcore_requests_rejected_total{reason="invalid_request"} 1' in metrics
    strange = [("GET", f"/nowhere/{number}", {}) for number in range(5)]
    text = InProcessClient(FakeEngine()).requests(*strange, ("GET", "/metrics", {}))[-1].text
    assert re.findall(r"rejected_total\{.*", text) == ['rejected_total{reason="not_found"} 5']
