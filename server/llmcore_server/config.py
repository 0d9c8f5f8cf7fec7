"""The server's settings: frozen, given once to ``create_app``."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from llmcore_server.authentication import Authenticator
from llmcore_server.rate_limits import LimitSettings


@dataclass(frozen=True)
class ServerConfig:
    """Limits and intervals of the HTTP layer; times in seconds, sizes in bytes.

    max_body_bytes: a larger request body is refused with 413.
    body_timeout: a client that takes longer to send its body is refused with 408.
    request_timeout: seconds a generation may take, from the request's beginning to its end; None for no
        limit. A request may ask for less.
    load_timeout: how long a request waits for a model that is loading.
    stall_timeout: a client that accepts no data for so long is dropped and its generation cancelled.
    event_interval: least time between two events of ``/api/v1/generate/stream``, which tokens that come
        sooner join. With 0.15 no events merged in a Chromium that shared two busy cores with the model; with
        0.1 they did in one stream of ten, with 0.03 in every second.
    admission_wait: how long a stream waits for the engine's refusal before it answers 200.
    default_max_tokens, default_temperature: what ``/api/v1`` uses where a request says nothing.
    max_choices: largest ``n`` of one request.
    max_prompts: most prompts of one request, each counted ``n`` times.
    max_inputs: most texts of one request for embeddings.
    drain_timeout: how long running requests may take to finish once the server is told to stop, or their
        model to leave.
    memory_limit: bytes that all models together may take; None for the machine's memory, beyond which
        idle models leave but nothing is refused.
    autoload: whether a request loads the model it names.
    adapters_dir: where the files of adapters lie that requests may load; None: they may load none.
    max_batch_items: most requests of one ``/api/v1/batch/generate``.
    max_prompt_chars: longest prompt under ``/api/v1`` that is handed to a tokenizer, in characters.
    max_head_bytes, head_timeout: bounds of a request's line and headers.
    authenticator, limits: who may ask, and how often.
    cors_origins: origins whose pages may ask; ``*`` alone stands for all. None: all where nothing needs a
        key, no other than the server's own where something does.
    """

    max_body_bytes: int = 4 * 1024 * 1024
    body_timeout: float = 30.0
    request_timeout: float | None = None
    load_timeout: float = 600.0
    stall_timeout: float = 60.0
    event_interval: float = 0.15
    admission_wait: float = 0.2
    default_max_tokens: int = 512
    default_temperature: float = 0.7
    max_choices: int = 16
    max_prompts: int = 128
    max_inputs: int = 2048
    drain_timeout: float = 30.0
    memory_limit: int | None = None
    autoload: bool = False
    adapters_dir: Path | None = None
    max_batch_items: int = 128
    max_prompt_chars: int = 2_000_000
    max_head_bytes: int = 64 * 1024
    head_timeout: float = 30.0
    authenticator: Authenticator = field(default_factory=Authenticator)
    limits: LimitSettings = field(default_factory=LimitSettings)
    cors_origins: tuple[str, ...] | None = None
