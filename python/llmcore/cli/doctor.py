"""`llmcore doctor`: what this machine and this installation can do."""

# ruff: noqa: PLC0415 - commands import what they need when they run, so that help is instant

import json
import os
import platform
import sys
from dataclasses import asdict, dataclass
from importlib.util import find_spec
from typing import Any

import click


@dataclass(frozen=True)
class Finding:
    """One line of the report; `ok` is None where nothing depends on it."""

    name: str
    value: str
    ok: bool | None = None


def examine() -> list[Finding]:
    """Everything the report shows. A finding that is not ok means that no model can be served."""
    findings = [
        Finding(
            "python",
            f"{platform.python_version()} ({platform.python_implementation()})",
            sys.version_info >= (3, 10),
        ),
        Finding("system", f"{platform.system()} {platform.release()} {platform.machine()}"),
    ]
    try:
        findings += _core_findings()
    except ImportError as error:
        findings.append(Finding("native core", f"cannot be loaded: {error}", ok=False))
    findings.append(Finding("memory", _memory()))
    findings.append(_default_model())
    server = find_spec("llmcore_server") is not None
    findings.append(Finding("server", "installed" if server else "not installed", ok=server))
    return findings


def _core_findings() -> list[Finding]:
    from llmcore import _core
    from llmcore.errors import LLMCoreError

    try:
        machine = _core.machine()
    except LLMCoreError as error:  # LLMCORE_ISA asks for what the machine lacks
        return [Finding("native core", str(error), ok=False)]
    kernels = _core.kernels()
    usable = sum(1 for kernel in kernels if kernel["usable"])
    ceiling = (
        ""
        if machine["isa"] == machine["isa_ceiling"]
        else f", lowered to {machine['isa_ceiling']} by LLMCORE_ISA"
    )
    return [
        Finding("llmcore", str(_core.__version__), ok=True),
        Finding("processor", str(machine["cpu"])),
        Finding("instruction sets", f"{', '.join(machine['isas'])}{ceiling}"),
        Finding("threads", f"{machine['processors']} usable processors"),
        Finding("kernels", f"{usable} of {len(kernels)} usable on this machine", ok=usable > 0),
        Finding("CUDA backend", _cuda(_core.cuda_status())),
    ]


def _cuda(status: dict[str, Any]) -> str:
    """The CUDA backend is a library of its own beside the core, there only if it was built."""
    if not status["library"]:
        return "not built"
    if not status["usable"]:
        return f"cannot be used: {status['reason']}"
    total, free = (status[name] / 2**30 for name in ("total_bytes", "free_bytes"))
    return (
        f"{status['name']}, compute capability {status['compute_capability']}, "
        f"{total:.1f} GiB, {free:.1f} GiB free"
    )


def _memory() -> str:
    names = getattr(os, "sysconf_names", {})
    if "SC_PHYS_PAGES" not in names:
        return "unknown"
    page = os.sysconf("SC_PAGE_SIZE")
    total = os.sysconf("SC_PHYS_PAGES") * page / 2**30
    if "SC_AVPHYS_PAGES" not in names:
        return f"{total:.1f} GiB"
    return f"{total:.1f} GiB, {os.sysconf('SC_AVPHYS_PAGES') * page / 2**30:.1f} GiB free"


def _default_model() -> Finding:
    from llmcore.default_model import path

    if not path().is_file():
        return Finding("embedded model", "missing: name a model file when serving or running")
    return Finding("embedded model", f"{path().name}, {path().stat().st_size / 1e6:.1f} MB")


@click.command(short_help="Say what this machine and installation can do.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def command(as_json: bool) -> None:
    """Say what this machine and this installation can do; exits with 0 if a model can be served."""
    findings = examine()
    can_serve = all(finding.ok is not False for finding in findings)
    if as_json:
        click.echo(
            json.dumps({"can_serve": can_serve, "findings": [asdict(finding) for finding in findings]})
        )
    else:
        for finding in findings:
            mark = " " if finding.ok is None else "+" if finding.ok else "!"
            click.echo(f"{mark} {finding.name:<17} {finding.value}")
        click.echo("Ready to serve." if can_serve else "Cannot serve: see the lines marked with '!'.")
    sys.exit(0 if can_serve else 1)
