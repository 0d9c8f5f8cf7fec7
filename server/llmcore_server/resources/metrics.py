"""``GET /metrics``: Prometheus' text format."""

from __future__ import annotations

import falcon.asgi

from llmcore_server.metrics import CONTENT_TYPE, Metrics


class MetricsResource:
    """Everything the server counts."""

    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics

    async def on_get(self, req: falcon.asgi.Request, resp: falcon.asgi.Response) -> None:  # noqa: ARG002
        resp.content_type = CONTENT_TYPE
        resp.data = self._metrics.text()
