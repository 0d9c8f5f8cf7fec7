"""The process behind ``llmcore serve``: its socket, its signals, its engines and its exit code."""

from __future__ import annotations

import gc
import logging
import os
import signal
import socket
import sys
from collections.abc import Mapping, Sequence
from dataclasses import KW_ONLY, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from llmcore_server.config import ServerConfig

if TYPE_CHECKING:
    from llmcore_server.adapters import AdapterFile
    from llmcore_server.engine_protocol import Engine
    from llmcore_server.load_planning import LoadPlan
    from llmcore_server.model_file import ModelFile

# Longer than the pools of the usual clients keep a connection, so that the client closes first.
_KEEP_ALIVE = 75


@dataclass(frozen=True)
class EngineOptions:
    """What every engine of this process is built with; None leaves the choice to the engine."""

    device: str
    threads: int | None
    n_ctx: int | None
    quantization: str | None
    max_batch: int | None
    _: KW_ONLY
    max_itl_ms: float | None = None
    prompt_lookup: int = 0
    draft_model: Path | None = None
    draft_tokens: int = 4
    deterministic: bool = False
    mmap: bool = False
    explain: bool = False
    kv_cache_type: str = "f16"
    kv_spill_ram: int | None = None
    kv_cache_dir: Path | None = None
    kv_cache_dir_limit: int | None = None
    gpu_layers: str = "auto"

    def build(self, plan: LoadPlan) -> Engine:
        """Load a model; blocking."""
        from llmcore import AsyncEngine  # noqa: PLC0415 - imported on the loader's thread, while we listen

        asked = {None: self.device, True: "auto", False: "cpu"}
        # A request may keep its model off the GPU.
        gpu_layers = "auto" if plan.prefer_gpu is False else self.gpu_layers
        engine = AsyncEngine(
            None if plan.file.path is None else str(plan.file.path),
            device=asked[plan.prefer_gpu],
            gpu_layers=gpu_layers,
            threads=self.threads,
            n_ctx=self.n_ctx,
            quantization=plan.quantization,
            max_batch=self.max_batch,
            kv_budget=plan.kv_budget,
            max_itl_ms=self.max_itl_ms,
            prompt_lookup=self.prompt_lookup,
            draft_model=self.draft_model,
            draft_tokens=self.draft_tokens,
            deterministic=self.deterministic,
            mmap=self.mmap,
            lora={adapter.name: (adapter.path, adapter.scale) for adapter in plan.adapters},
            kv_cache_type=self.kv_cache_type,
            kv_spill_ram=self.kv_spill_ram,
            kv_cache_dir=self.kv_cache_dir,
            kv_cache_dir_limit=self.kv_cache_dir_limit,
        )
        click.echo(engine.model_info.placement, err=True)
        click.echo(engine.model_info.kv_plan, err=True)
        if note := engine.model_info.device_note:
            click.echo(note, err=True)
        return engine

    async def warm_up(self, engine: Engine) -> None:
        """Make the engine's first step, which touches every weight."""
        from llmcore import AsyncEngine, SamplingParams  # noqa: PLC0415 - as above

        if not engine.model_info.generates:
            await engine.embed(["Hello"])
            return
        async for _ in engine.generate("Hello", SamplingParams(max_tokens=1)):
            pass
        if self.explain and isinstance(engine, AsyncEngine):
            click.echo(engine.explain(), err=True)
        # A vocabulary is hundreds of thousands of objects that stay: the collector need not look through them
        # again, which holds up every request each time.
        gc.collect()
        gc.freeze()


def listen(host: str, port: int) -> socket.socket:
    """Bind at once, so that a port in use is told before anything is loaded; clients wait in the backlog."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return socket.create_server((host, port), family=family, backlog=2048)
    except OSError as error:
        raise click.ClickException(f"cannot listen on {host}:{port}: {error.strerror or error}") from None


def run_server(
    listener: socket.socket,
    *,
    named: Sequence[str],
    directory: Path | None,
    aliases: Mapping[str, str],
    options: EngineOptions,
    config: ServerConfig,
    adapters: Sequence[AdapterFile] = (),
    tls: tuple[str, str] | None = None,
) -> int:
    """Serve until SIGTERM or SIGINT, drain, and return the process's exit code.

    A model of ``named`` that cannot be loaded ends the process with 1. adapters: of the first model.
    tls: files of certificate and key.
    """
    import uvicorn  # noqa: PLC0415 - 0.1 s that --help need not wait for

    from llmcore_server.app import create_app  # noqa: PLC0415
    from llmcore_server.errors import ApiError  # noqa: PLC0415
    from llmcore_server.http_protocol import bounded_protocol  # noqa: PLC0415
    from llmcore_server.load_planning import LoadPlanner  # noqa: PLC0415
    from llmcore_server.model_directory import ModelDirectory  # noqa: PLC0415
    from llmcore_server.model_files import ModelSelectionError, select_models  # noqa: PLC0415
    from llmcore_server.process_memory import limit_bytes, resident_bytes  # noqa: PLC0415
    from llmcore_server.registry import EngineRegistry  # noqa: PLC0415
    from llmcore_server.resident_models import ResidentModels  # noqa: PLC0415

    logging.basicConfig(level=logging.WARNING, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    watched = None if directory is None else ModelDirectory(directory)
    try:
        selection = select_models(named, directory, aliases)
    except ModelSelectionError as error:
        raise click.ClickException(str(error)) from None

    failed: list[ModelFile] = []
    # The engine's own rule, a quarter of what is available, of what is available to the models.
    kv_budget = None if config.memory_limit is None else max(1, config.memory_limit // 4)

    def stop_on_failure(file: ModelFile, error: Exception) -> None:
        click.echo(f"Error: cannot load {file.name}: {error}", err=True)
        failed.append(file)
        server.should_exit = True

    try:
        registry = EngineRegistry(
            models=selection.models,
            load=options.build,
            preload=selection.preload,
            aliases=aliases,
            load_timeout=config.load_timeout,
            autoload=config.autoload,
            plan=LoadPlanner(
                options.quantization,
                options.n_ctx,
                options.max_batch,
                kv_budget,
                kv_cache_type=options.kv_cache_type,
                kv_spill_ram=options.kv_spill_ram or 0,
                draft_bytes=options.draft_model.stat().st_size if options.draft_model else 0,
            ),
            warm_up=options.warm_up,
            residents=ResidentModels(
                limit=config.memory_limit or limit_bytes(),
                strict=config.memory_limit is not None,
                drain_timeout=config.drain_timeout,
            ),
            resident_bytes=resident_bytes,
            on_load_failed=stop_on_failure,
            rescan=None if watched is None else watched.changed,
            adapters=adapters,
        )
    except ApiError as error:
        raise click.ClickException(str(error)) from None

    class AnnouncingServer(uvicorn.Server):
        async def startup(self, sockets: list[socket.socket] | None = None) -> None:
            await super().startup(sockets)
            _announce(listener, selection.preload, "https" if tls else "http")

    server = AnnouncingServer(
        uvicorn.Config(
            create_app(registry, config),
            http=bounded_protocol(config.max_head_bytes, config.head_timeout),
            ssl_certfile=tls[0] if tls else None,
            ssl_keyfile=tls[1] if tls else None,
            loop="auto",
            ws="none",
            lifespan="on",
            log_config=None,
            access_log=False,
            server_header=False,
            # An address that a client may name is nobody's: it would choose its quota and its cache.
            proxy_headers=False,
            timeout_keep_alive=_KEEP_ALIVE,
            timeout_graceful_shutdown=int(config.drain_timeout),
        )
    )

    def stop(signum: int, frame: Any) -> None:  # noqa: ARG001
        # Uvicorn handles these signals while it serves and raises them again at its end, to us.
        server.should_exit = True

    signal.signal(signal.SIGTERM, stop)
    signal.signal(signal.SIGINT, stop)
    server.run(sockets=[listener])
    code = 1 if failed else 0
    if registry.busy_loading:
        # A native load cannot be interrupted, and nothing it holds needs saving.
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)
    return code


def _announce(listener: socket.socket, loading: Sequence[str], scheme: str) -> None:
    host, port = listener.getsockname()[:2]
    shown = "127.0.0.1" if host in ("0.0.0.0", "::") else host
    url = f"{scheme}://[{shown}]:{port}" if ":" in shown else f"{scheme}://{shown}:{port}"
    click.echo(f"llmcore listens on {url} (model: {', '.join(loading)})")
    click.echo(
        f"Try: curl {url}/api/v1/generate -H 'Content-Type: application/json'"
        """ -d '{"prompt": "Hello"}'"""
    )
    sys.stdout.flush()
