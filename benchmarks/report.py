"""What every report of a benchmark begins with."""

from datetime import datetime, timezone

from llmcore import _core


def heading() -> dict[str, str]:
    """The processor's name, the highest instruction set that may be used, and the day (UTC), for JSON."""
    machine = _core.machine()
    date = datetime.now(timezone.utc).date().isoformat()
    return {"cpu": machine["cpu"], "isa": machine["isa_ceiling"], "date": date}
