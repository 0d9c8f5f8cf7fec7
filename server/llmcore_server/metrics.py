"""The server's metrics on a registry of their own, and their text as the specification prints it."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping

from prometheus_client import CollectorRegistry, Counter, Gauge, ProcessCollector
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector
from prometheus_client.samples import Sample

from llmcore_server.engine_protocol import EngineStats
from llmcore_server.quick_histogram import QuickHistogram
from llmcore_server.registry import EngineRegistry

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"

_INFERENCE_BUCKETS = (0.1, 0.25, 0.5, 1, 2, 3, 5, 10, 30, 60, 120, 300)
_FIRST_TOKEN_BUCKETS = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2, 5, 10, 30, 60)
_INTER_TOKEN_BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2)
_LOAD_BUCKETS = (0.1, 0.5, 1, 2, 5, 10, 30, 60, 120, 300, 600)

# Metrics read from an engine's own statistics.
_ENGINE_GAUGES: Mapping[str, tuple[str, Callable[[EngineStats], float]]] = {
    "llmcore_kv_blocks_used": (
        "Blocks of the KV cache that hold tokens",
        lambda stats: stats.kv_blocks_total - stats.kv_blocks_free,
    ),
    "llmcore_requests_running": ("Sequences in the batch: its size", lambda stats: stats.running),
    "llmcore_requests_waiting": ("Requests in the engine's queue", lambda stats: stats.waiting),
    "llmcore_kv_blocks": ("Blocks of the KV cache", lambda stats: stats.kv_blocks_total),
    "llmcore_kv_blocks_free": ("Free blocks of the KV cache", lambda stats: stats.kv_blocks_free),
}

_ENGINE_COUNTERS: Mapping[str, tuple[str, Callable[[EngineStats], float]]] = {
    "llmcore_engine_steps_total": ("Steps of the engine", lambda stats: stats.steps),
    "llmcore_engine_step_seconds_total": ("Time spent in steps", lambda stats: stats.step_seconds),
    "llmcore_preemptions_total": (
        "Sequences that gave their blocks to older ones and waited again",
        lambda stats: stats.preemptions,
    ),
    "llmcore_engine_requests_total": ("Requests the engine took", lambda stats: stats.requests),
    "llmcore_engine_cancelled_requests_total": (
        "Requests ended in the engine before they were finished",
        lambda stats: stats.cancelled,
    ),
    "llmcore_engine_failed_requests_total": (
        "Requests that failed in the engine, missed deadlines included",
        lambda stats: stats.failed,
    ),
    "llmcore_deadline_misses_total": (
        "Requests that were not finished when their time was over",
        lambda stats: stats.expired,
    ),
    "llmcore_engine_prompt_tokens_total": (
        "Prompt tokens of admitted requests, cached ones included: what the prefix cache is asked for",
        lambda stats: stats.prompt_tokens,
    ),
    "llmcore_prefix_cache_tokens_total": (
        "Prompt tokens found in the prefix cache",
        lambda stats: stats.cached_prompt_tokens,
    ),
    "llmcore_engine_generated_tokens_total": ("Tokens sampled", lambda stats: stats.generated_tokens),
    "llmcore_guessed_tokens_total": ("Tokens run on a guess", lambda stats: stats.guessed_tokens),
    "llmcore_accepted_tokens_total": ("Guessed tokens that were right", lambda stats: stats.accepted_tokens),
    "llmcore_wasted_tokens_total": (
        "Tokens run or sampled for requests that were cancelled or missed their deadline",
        lambda stats: stats.wasted_tokens,
    ),
    "llmcore_kv_blocks_spilled_ram_total": (
        "Blocks that left the KV cache for memory",
        lambda stats: stats.kv_spilled_ram,
    ),
    "llmcore_kv_blocks_restored_ram_total": (
        "Blocks that came back to the KV cache from memory",
        lambda stats: stats.kv_restored_ram,
    ),
    "llmcore_kv_blocks_spilled_disk_total": (
        "Blocks of the KV cache written to its directory",
        lambda stats: stats.kv_spilled_disk,
    ),
    "llmcore_kv_blocks_restored_disk_total": (
        "Blocks of the KV cache read from its directory",
        lambda stats: stats.kv_restored_disk,
    ),
    "llmcore_kept_preemptions_total": (
        "Of those that gave way, the ones whose blocks were kept",
        lambda stats: stats.kept_preemptions,
    ),
    "llmcore_drafted_tokens_total": ("Of the guesses, a draft model's", lambda stats: stats.drafted_tokens),
    "llmcore_accepted_draft_tokens_total": (
        "Of the guesses that were right, a draft model's",
        lambda stats: stats.accepted_draft_tokens,
    ),
    "llmcore_draft_failures_total": ("Failures of a draft model", lambda stats: stats.draft_failures),
    "llmcore_draft_seconds_total": ("Time spent in a draft model", lambda stats: stats.draft_seconds),
}


class InFlight:
    """The number of requests being served."""

    def __init__(self) -> None:
        self.count = 0

    def inc(self) -> None:
        self.count += 1

    def dec(self) -> None:
        self.count -= 1


class Metrics:
    """Counts what the server does. The two documented metrics carry no labels."""

    def __init__(self, version: str, engines: EngineRegistry) -> None:
        self.registry = CollectorRegistry()
        self.inference_seconds = QuickHistogram(
            "model_inference_seconds", "模型推理耗时", buckets=_INFERENCE_BUCKETS, registry=self.registry
        )
        self.in_flight = InFlight()
        Gauge("active_connections", "活跃连接数", registry=self.registry).set_function(
            lambda: self.in_flight.count
        )
        self.first_token_seconds = self._histogram(
            "llmcore_time_to_first_token_seconds",
            "Time from the start of a generation to its first token",
            _FIRST_TOKEN_BUCKETS,
        )
        self.inter_token_seconds = self._histogram(
            "llmcore_inter_token_seconds",
            "Time between two consecutive outputs of a generation",
            _INTER_TOKEN_BUCKETS,
        )
        self.queue_seconds = self._histogram(
            "llmcore_queue_seconds", "Time from submission to the first step", _FIRST_TOKEN_BUCKETS
        )
        self.prompt_tokens = self._counter("llmcore_prompt_tokens_total", "Prompt tokens processed")
        self.cached_tokens = self._counter(
            "llmcore_cached_tokens_total", "Prompt tokens whose keys and values were still in the cache"
        )
        self.generated_tokens = self._counter("llmcore_generated_tokens_total", "Tokens generated")
        self.cancelled = self._counter(
            "llmcore_requests_cancelled_total", "Generations ended before they were finished"
        )
        self.cancelled_tokens = self._counter(
            "llmcore_cancelled_tokens_total", "Tokens generated for requests that were then cancelled"
        )
        self.rejected = Counter(
            "llmcore_requests_rejected_total",
            "Requests refused, by reason",
            ["reason"],
            registry=self.registry,
        )
        Gauge("llmcore_build_info", "The version that runs", ["version"], registry=self.registry).labels(
            version
        ).set(1)
        self.loads = Counter(
            "llmcore_model_loads_total",
            "Loads of models by their outcome",
            ["outcome"],
            registry=self.registry,
        )
        for outcome in ("ok", "failed"):
            self.loads.labels(outcome)
        self.load_seconds = self._histogram(
            "llmcore_model_load_seconds",
            "Time from a load's request to the model's first step",
            _LOAD_BUCKETS,
        )
        engines.load_observers.append(self._observe_load)
        self.registry.register(EngineCollector(engines))
        ProcessCollector(registry=self.registry)

    def _observe_load(self, outcome: str, seconds: float) -> None:
        self.loads.labels(outcome).inc()
        self.load_seconds.observe(seconds)

    def text(self) -> bytes:
        """Return all metrics in Prometheus' text format 0.0.4, integral numbers without a fraction."""
        return "".join(_family_text(family) for family in self.registry.collect()).encode()

    def _histogram(self, name: str, documentation: str, buckets: tuple[float, ...]) -> QuickHistogram:
        return QuickHistogram(name, documentation, buckets=buckets, registry=self.registry)

    def _counter(self, name: str, documentation: str) -> Counter:
        return Counter(name, documentation, registry=self.registry)


class EngineCollector(Collector):
    """Reads the engines' statistics when asked, one series a loaded model."""

    def __init__(self, registry: EngineRegistry) -> None:
        self._registry = registry

    def collect(self) -> Iterable[Metric]:
        statistics = [
            (model.name, model.engine.stats()) for model in self._registry.known if model.engine is not None
        ]
        for name, (documentation, value_of) in _ENGINE_GAUGES.items():
            family = GaugeMetricFamily(name, documentation, labels=["model"])
            for model, stats in statistics:
                family.add_metric([model], value_of(stats))
            yield family
        for name, (documentation, value_of) in _ENGINE_COUNTERS.items():
            counter = CounterMetricFamily(name, documentation, labels=["model"])
            for model, stats in statistics:
                counter.add_metric([model], value_of(stats))
            yield counter
        memory = GaugeMetricFamily(
            "llmcore_model_memory_bytes", "Memory that loading a model took", labels=["model"]
        )
        for known in self._registry.known:
            if known.loaded:
                memory.add_metric([known.name], known.memory)
        yield memory


def _family_text(family: Metric) -> str:
    name = family.name + "_total" if family.type == "counter" else family.name
    lines = [f"# HELP {name} {family.documentation}", f"# TYPE {name} {family.type}"]
    # prometheus_client adds a creation time to each series, which the specification does not print.
    lines += [_sample_text(sample) for sample in family.samples if not sample.name.endswith("_created")]
    return "\n".join(lines) + "\n\n"


def _sample_text(sample: Sample) -> str:
    labels = ",".join(
        f'{name}="{_bound(value) if name == "le" else _escaped(value)}"'
        for name, value in sample.labels.items()
    )
    series = f"{sample.name}{{{labels}}}" if labels else sample.name
    return f"{series} {_number(sample.value)}"


def _bound(value: str) -> str:
    return _number(float(value))


def _number(value: float) -> str:
    if math.isinf(value):
        return "+Inf" if value > 0 else "-Inf"
    return str(int(value)) if value == int(value) else repr(float(value))


def _escaped(value: str) -> str:
    return value.replace("\\", r"\\").replace("\n", r"\n").replace('"', r"\"")
