"""``llmcore serve``: the command line of the server. Imports nothing heavy before it is run."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from llmcore.device_options import gpu_layers_option
from llmcore.model_options import draft_model_option, kv_cache_type_option, prompt_lookup_option
from llmcore_server.access_options import (
    access_options,
    allowed_origins,
    authenticator,
    checked_tls,
    limit_settings,
)
from llmcore_server.keys_cli import keys
from llmcore_server.option_types import byte_size

if TYPE_CHECKING:
    from llmcore_server.adapters import AdapterFile

__all__ = ["keys", "serve"]

_LIMITS = ("rate_limit", "token_limit", "concurrency_limit", "limit_storage")


def _parse_aliases(
    _context: click.Context, _parameter: click.Parameter, values: tuple[str, ...]
) -> dict[str, str]:
    aliases: dict[str, str] = {}
    for value in values:
        name, separator, target = value.partition("=")
        if not (name and separator and target):
            raise click.BadParameter(f"'{value}' is not NAME=TARGET")
        aliases[name] = target
    return aliases


def _parse_adapters(
    _context: click.Context, _parameter: click.Parameter, values: tuple[str, ...]
) -> tuple[AdapterFile, ...]:
    if not values:
        return ()
    from llmcore import LLMCoreError  # noqa: PLC0415 - not needed for --help
    from llmcore.lora import parse_lora  # noqa: PLC0415
    from llmcore_server.adapters import adapter_file  # noqa: PLC0415

    found = []
    for value in values:
        try:
            source = parse_lora(value)
            found.append(adapter_file(source.name, Path(source.path), source.scale))
        except (LLMCoreError, ValueError) as error:
            raise click.BadParameter(str(error)) from None
        except OSError as error:
            raise click.BadParameter(f"cannot read '{value}': {error.strerror}") from None
    if len({file.key for file in found}) < len(found):
        raise click.BadParameter("two adapters have the same name")
    return tuple(found)


@click.command()
@click.argument("models", nargs=-1, metavar="[MODEL]...")
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on.")
@click.option(
    "--port", default=8000, show_default=True, type=click.IntRange(0, 65535), help="Port; 0 takes a free one."
)
@click.option("--threads", type=click.IntRange(1, 1024), help="Compute threads.  [default: all cores]")
@click.option(
    "--device",
    default="auto",
    show_default=True,
    type=click.Choice(["auto", "cpu", "cuda"]),
    help="Where the model runs.",
)
@gpu_layers_option
@click.option("--n-ctx", type=click.IntRange(1), help="Context length in tokens.  [default: the model's]")
@click.option("--quantization", metavar="TYPE", help="Convert wider weights to this type while loading.")
@click.option("--max-batch", type=click.IntRange(1), help="Most sequences to decode at once.")
@kv_cache_type_option
@click.option(
    "--kv-spill-ram",
    type=byte_size,
    metavar="SIZE",
    help="Memory of each model for cached prefixes that leave its cache, such as 2GB.  [default: none]",
)
@click.option(
    "--kv-cache-dir",
    type=click.Path(file_okay=False, path_type=Path),
    help="Directory that keeps cached prefixes, over restarts too.",
)
@click.option(
    "--kv-cache-dir-limit",
    type=byte_size,
    metavar="SIZE",
    help="What --kv-cache-dir may hold.  [default: 8GB]",
)
@click.option(
    "--max-itl-ms",
    type=click.FloatRange(1),
    help="Between two tokens: how far prompts may stretch it.  [default: to less than twice, "
    "further while a short one is read or more requests wait for their first token than decode]",
)
@prompt_lookup_option
@draft_model_option
@click.option(
    "--draft-tokens",
    type=click.IntRange(1, 32),
    default=4,
    show_default=True,
    help="Tokens it guesses in a step at most.",
)
@click.option(
    "--deterministic", is_flag=True, help="The same bits for a request whatever runs beside it; slower."
)
@click.option("--mmap", is_flag=True, help="Leave the weights in the file's pages, which processes share.")
@click.option("--explain", is_flag=True, help="Print the kernels of each model as it is loaded.")
@click.option(
    "--models-dir",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    help="Directory whose *.gguf files are listed.",
)
@click.option(
    "--alias",
    "aliases",
    multiple=True,
    metavar="NAME=TARGET",
    callback=_parse_aliases,
    help="Another name for a model; may be repeated.",
)
@click.option(
    "--lora",
    "adapters",
    multiple=True,
    metavar="NAME=PATH[:SCALE]",
    callback=_parse_adapters,
    help="A LoRA adapter of the first model that requests may name; may be repeated.",
)
@click.option(
    "--memory-limit",
    type=byte_size,
    metavar="SIZE",
    help="What all models may take, such as 8GB; idle ones leave for others.  [default: the machine's]",
)
@click.option(
    "--autoload/--no-autoload",
    default=None,
    help="Load a model when a request names it.  [default: with --models-dir]",
)
@click.option(
    "--event-interval-ms",
    type=click.FloatRange(0, 10_000),
    default=150.0,
    show_default=True,
    help="Between two events of /api/v1/generate/stream, at least: browsers merge faster ones.",
)
@click.option(
    "--request-timeout",
    type=click.FloatRange(0, min_open=True),
    metavar="SECONDS",
    help="Most time a generation may take; a request may ask for less.  [default: no limit]",
)
@access_options
def serve(  # noqa: PLR0917 - click passes them by name
    models: tuple[str, ...],
    host: str,
    port: int,
    threads: int | None,
    device: str,
    gpu_layers: str,
    n_ctx: int | None,
    quantization: str | None,
    max_batch: int | None,
    kv_cache_type: str,
    kv_spill_ram: int | None,
    kv_cache_dir: Path | None,
    kv_cache_dir_limit: int | None,
    max_itl_ms: float | None,
    prompt_lookup: int,
    draft_model: Path | None,
    draft_tokens: int,
    deterministic: bool,
    mmap: bool,
    explain: bool,
    models_dir: Path | None,
    aliases: dict[str, str],
    adapters: tuple[AdapterFile, ...],
    memory_limit: int | None,
    autoload: bool | None,
    request_timeout: float | None,
    event_interval_ms: float,
    **access: Any,
) -> None:
    """Serve models over HTTP.

    MODEL is a GGUF file, or the name of one in --models-dir; the first is the default model.
    Without one, the embedded model is served.
    """
    from llmcore_server.config import ServerConfig  # noqa: PLC0415
    from llmcore_server.process import EngineOptions, listen, run_server  # noqa: PLC0415

    if draft_model is not None and (len(models) > 1 or models_dir is not None):
        raise click.UsageError("--draft-model guesses for one MODEL, without --models-dir")
    if kv_cache_dir_limit is not None and kv_cache_dir is None:
        raise click.UsageError("--kv-cache-dir-limit needs --kv-cache-dir.")
    tls = checked_tls(access.pop("tls_cert"), access.pop("tls_key"))
    origins = access.pop("cors_origins")
    limits = limit_settings(**{name: access.pop(name) for name in _LIMITS})
    who = authenticator(**access)
    config = ServerConfig(
        memory_limit=memory_limit,
        autoload=models_dir is not None if autoload is None else autoload,
        adapters_dir=models_dir,
        request_timeout=request_timeout,
        authenticator=who,
        limits=limits,
        cors_origins=allowed_origins(origins),
        event_interval=event_interval_ms / 1000,
    )
    options = EngineOptions(
        device=device,
        gpu_layers=gpu_layers,
        threads=threads,
        n_ctx=n_ctx,
        quantization=quantization,
        max_batch=max_batch,
        max_itl_ms=max_itl_ms,
        prompt_lookup=prompt_lookup,
        draft_model=draft_model,
        draft_tokens=draft_tokens,
        deterministic=deterministic,
        mmap=mmap,
        explain=explain,
        kv_cache_type=kv_cache_type,
        kv_spill_ram=kv_spill_ram,
        kv_cache_dir=kv_cache_dir,
        kv_cache_dir_limit=kv_cache_dir_limit,
    )
    socket = listen(host, port)
    raise SystemExit(
        run_server(
            socket,
            named=models,
            directory=models_dir,
            aliases=aliases,
            adapters=adapters,
            options=options,
            config=config,
            tls=tls,
        )
    )


if __name__ == "__main__":
    serve()
