"""The outputs of one engine for several threads that wait, each for its own requests."""

from __future__ import annotations

import itertools
import threading
from collections import deque
from collections.abc import Generator, Iterator

from llmcore import _core
from llmcore.completions import check_output, delta_of
from llmcore.engine import LoadedModel, check_process
from llmcore.outputs import Delta
from llmcore.sampling_params import SamplingParams

# So long a wait for outputs may keep Ctrl-C from being noticed, in seconds.
_WAIT = 0.1


class Mail:
    """Sorts the engine's outputs by request. Whichever thread waits sorts for all."""

    def __init__(self, model: LoadedModel) -> None:
        # All of it: the engine lives while a stream is read, whatever becomes of the LLM.
        self._model = model
        self._ids = itertools.count(1)
        self._boxes: dict[int, deque[_core.Output]] = {}
        self._sorting = threading.Lock()

    def open(self) -> int:
        """A new request's id and box."""
        request = next(self._ids)
        self._boxes[request] = deque()
        return request

    def drop(self, request: int) -> None:
        """No more of this request is wanted: ends it if it still runs."""
        if self._boxes.pop(request, None) is not None:
            self._model.core.abort(request)

    def read(self, request: int) -> Iterator[_core.Output]:
        """The request's outputs as they arrive, to its last."""
        box = self._boxes[request]
        while True:
            while not box:
                # In a fork of the process a thread that is not there may hold the lock for ever.
                check_process(self._model.core)
                with self._sorting:
                    if not box:
                        self._sort()
            output = box.popleft()
            if output.request_done:
                del self._boxes[request]
            yield output
            if output.request_done:
                return

    def _sort(self) -> None:
        for output in self._model.core.wait(_WAIT):
            box = self._boxes.get(output.request)
            if box is not None:
                box.append(output)

    def deltas(self, request: int, params: SamplingParams) -> Generator[Delta | None, None, None]:
        """What each step adds, behind a first None: only a generator that has begun ends its request when it
        is closed."""
        try:
            yield None
            for output in self.read(request):
                check_output(output)
                yield delta_of(output, params)
        finally:
            self.drop(request)
