"""What the drawings of every page are made of: bars, panels with axes, labels."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pippin.report.svg import SMALL_PX, Canvas, colour
from pippin.report.units import SPACE, si_parts

if TYPE_CHECKING:
    from matplotlib.axes import Axes

WIDE_PX, NARROW_PX = 760, 344

Box = tuple[float, float, float, float]  # left, top, width, height in pixels of the canvas


def bar(canvas: Canvas, x: float, y: float, width: float, height: float, name: str, gap: float = 0) -> None:
    """A filled box of the canvas, in pixels from its top left corner; nothing where it has no width."""
    from matplotlib.patches import Rectangle

    if width <= 0:
        return
    size = (max(width - gap, 0.5) / canvas.width, height / canvas.height)
    corner = (x / canvas.width, 1 - (y + height) / canvas.height)
    patch = Rectangle(corner, *size, facecolor=colour(name), edgecolor="none")
    patch.set_transform(canvas.figure.transFigure)
    canvas.figure.add_artist(patch)


def panel(canvas: Canvas, box: Box, title: str, x_label: str = "tokens trained on", room: float = 46) -> Axes:
    """Axes with a title above and the name of the horizontal axis below, both inside the box.

    `room` is what the labels of the vertical axis get, in pixels.
    """
    from matplotlib.ticker import FuncFormatter, MaxNLocator

    left, top, width, height = box
    axes = canvas.axes(left + room, top + 34, width - room - 8, height - 34 - 50)
    axes.grid(axis="y", color=colour("grid"), linewidth=1)
    axes.spines["bottom"].set_visible(True)
    axes.spines["bottom"].set_color(colour("muted"))
    axes.xaxis.set_major_locator(MaxNLocator(4, integer=True, steps=[1, 2, 5, 10]))
    axes.yaxis.set_major_locator(MaxNLocator(5, steps=[1, 2, 5, 10]))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: tick(value)))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: tick(value)))
    canvas.text(left, top + 10, title, fontweight="bold")
    canvas.text(
        left + width - 8, top + height - 8, x_label, ha="right", fontsize=SMALL_PX, color=colour("muted")
    )
    return axes


def tick(value: float) -> str:
    """The label of a tick: short, with a prefix from 10,000 up."""
    scaled, prefix = si_parts(value)
    return f"{scaled:g}{SPACE}{prefix}" if abs(value) >= 10_000 else f"{value:,g}"


def label_end(axes: Axes, x: float, y: float, text: str, name: str) -> None:
    """A dot at the end of a curve, and its value."""
    axes.plot([x], [y], marker="o", markersize=6, color=colour(name), clip_on=False)
    axes.annotate(text, (x, y), (0, 10), ha="right", fontweight="bold", color=colour("ink"), **offset("data"))


def offset(x_coords: str) -> dict[str, Any]:
    """How to place a note a few points from data, or from the edge of the axes."""
    xycoords: Any = x_coords if x_coords == "data" else (x_coords, "data")
    return {"xycoords": xycoords, "textcoords": "offset points", "fontsize": SMALL_PX}
