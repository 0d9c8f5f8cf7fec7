"""``POST /v1/embeddings``."""

from __future__ import annotations

import base64
from typing import TYPE_CHECKING

import falcon.asgi

from llmcore_server.bodies.choices import invalid
from llmcore_server.bodies.completion import prompt_list
from llmcore_server.bodies.embedding import EmbeddingRequest
from llmcore_server.config import ServerConfig
from llmcore_server.metrics import Metrics
from llmcore_server.registry import EngineRegistry
from llmcore_server.request_body import read_request
from llmcore_server.schemas import BodyDecoder
from llmcore_server.v1_answers.embedding import EmbeddedText, EmbeddingList, EmbeddingUsage

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt


class EmbeddingsResource:
    """Texts in, vectors out, of length 1 unless asked otherwise."""

    def __init__(self, registry: EngineRegistry, metrics: Metrics, config: ServerConfig) -> None:
        self._registry = registry
        self._metrics = metrics
        self._config = config
        self._decoder = BodyDecoder(EmbeddingRequest, {})

    async def on_post(
        self, req: falcon.asgi.Request, resp: falcon.asgi.Response, engine: str | None = None
    ) -> None:
        """``engine`` is the model's name where the route's path tells it."""
        request = await read_request(req, resp, self._decoder, self._config)
        inputs = prompt_list(request.input, self._config.max_inputs, "input")
        if "" in inputs:
            raise invalid("input", "不能含空文本", "must not hold an empty text")
        name = engine or request.model
        model = await self._registry.choose(name)
        loaded = await self._registry.engine(model)
        width = loaded.model_info.d_model
        if request.dimensions is not None and request.dimensions > width:
            raise invalid(
                "dimensions", f"最多为 {width}", f"is at most {width}, the width of this model's embeddings"
            )
        normalize = request.normalize is not False
        embeddings = await loaded.embed(inputs, normalize=normalize, pooling=request.pooling)
        tokens = sum(one.prompt_tokens for one in embeddings)
        self._metrics.prompt_tokens.inc(tokens)
        vectors = [_shortened(one.vector, request.dimensions, normalize) for one in embeddings]
        as_text = request.encoding_format == "base64"
        resp.media = EmbeddingList(
            [
                EmbeddedText(index, _base64(vector) if as_text else vector.tolist())
                for index, vector in enumerate(vectors)
            ],
            model=name or model.name,
            usage=EmbeddingUsage(prompt_tokens=tokens, total_tokens=tokens),
        )


def _shortened(
    vector: npt.NDArray[np.float32], dimensions: int | None, normalize: bool
) -> npt.NDArray[np.float32]:
    """Return the first dimensions, at length 1 if wanted (Kusupati et al. 2022, Matryoshka learning)."""
    if dimensions is None or dimensions == len(vector):
        return vector
    if not normalize:
        return vector[:dimensions]
    from llmcore.embeddings import scaled_to_unit  # noqa: PLC0415 - keeps the start of the process light

    return scaled_to_unit(vector[:dimensions])


def _base64(vector: npt.NDArray[np.float32]) -> str:
    return base64.b64encode(vector.astype("<f4").tobytes()).decode()
