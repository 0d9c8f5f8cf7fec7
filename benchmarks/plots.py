"""Drawing, for those who ask for it: needs `pip install '.[bench]'`."""

from pathlib import Path
from typing import Any


def axes_of_a_figure(width: float = 9, height: float = 6) -> tuple[Any, Any]:
    """A figure and its axes; SystemExit without matplotlib."""
    try:
        import matplotlib as mpl  # noqa: PLC0415 - only who asks for a plot needs it

        mpl.use("Agg")
        from matplotlib import pyplot as plt  # noqa: PLC0415
    except ImportError:
        raise SystemExit("a plot needs matplotlib: pip install '.[bench]'") from None
    return plt.subplots(figsize=(width, height))


def save(figure: Any, path: Path) -> None:
    """Writes .svg or .png, as the path says."""
    figure.savefig(path, bbox_inches="tight")
