"""What all pictures have in common: colours, axes, and a file in the end. They need the extra `plot`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from trimtab.errors import InvalidInput, require

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# Okabe and Ito's colours, which colour-blind people can tell apart; yellow is left out, for it vanishes on white.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00", "#000000")
GREY = "#767676"
PALE = "#B8B8B8"


def new_figure(width: float, height: float) -> Figure:
    """An empty figure, in inches.

    Raises:
        MissingExtra: matplotlib is not installed.
    """
    require("matplotlib", extra="plot")
    from matplotlib.figure import Figure

    return Figure(figsize=(width, height), dpi=150, layout="constrained")


def tidy(axes: Axes, title: str) -> None:
    """A title at the left, a pale grid behind the data, and no box around them."""
    axes.set_title(title, loc="left", fontsize=10)
    axes.grid(axis="y", color="#E4E4E4", linewidth=.8)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)


def thousands() -> Any:
    from matplotlib.ticker import StrMethodFormatter

    return StrMethodFormatter("{x:,.0f}")


def percent() -> Any:
    from matplotlib.ticker import PercentFormatter

    return PercentFormatter(1.0, decimals=0)


def save(figure: Figure, file: Path) -> None:
    """Write the figure; the file's suffix says the format.

    Raises:
        InvalidInput: the file cannot be written.
    """
    try:
        figure.savefig(file)
    except (OSError, ValueError) as error:
        raise unwritable(file, error) from error


def unwritable(file: Path, error: Exception) -> InvalidInput:
    reason = getattr(error, "strerror", None) or str(error).rstrip(".")
    return InvalidInput(f"{file} cannot be written: {reason}.", field="file", value=str(file))
