"""A histogram for what happens with every token: without the locks of prometheus_client's own."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Sequence

from prometheus_client import CollectorRegistry
from prometheus_client.core import HistogramMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector


class QuickHistogram(Collector):
    """Counts values by buckets; observed and collected on one thread, the event loop's."""

    def __init__(
        self, name: str, documentation: str, *, buckets: Sequence[float], registry: CollectorRegistry
    ) -> None:
        """``buckets``: the upper bounds, ascending, each part of its bucket."""
        self._name = name
        self._documentation = documentation
        self._bounds = list(buckets)
        self._counts = [0] * (len(self._bounds) + 1)
        self._sum = 0.0
        registry.register(self)

    def observe(self, value: float) -> None:
        self._counts[bisect_left(self._bounds, value)] += 1
        self._sum += value

    def collect(self) -> Iterable[Metric]:
        seen = 0
        buckets = []
        for bound, count in zip([*self._bounds, float("inf")], self._counts, strict=True):
            seen += count
            buckets.append((str(bound), seen))
        yield HistogramMetricFamily(self._name, self._documentation, buckets=buckets, sum_value=self._sum)
