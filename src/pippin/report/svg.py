"""Turns a matplotlib figure into inline SVG that takes its colours and its font from the page.

Colours are drawn as sentinels, one per CSS variable, and replaced once the SVG is written: so one drawing
serves light, dark and print. Text stays text, in the page's font.
"""

from __future__ import annotations

import io
import logging
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pippin.report.html import printable

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# The CSS variables of templates/report.css that drawings may use.
COLOURS = (
    "ink",
    "muted",
    "grid",
    "paper",
    "model",
    "second",
    "other",
    "step",
    "compile",
    "data",
    "evaluation",
    "checkpoint",
    "restart",
    "idle",
)
FONT_PX = 13
SMALL_PX = 12
_FONT = "DejaVu Sans"  # ships with matplotlib, so that layout is the same everywhere


def colour(name: str) -> str:
    """The sentinel that stands for the CSS variable `--name`."""
    return f"#fe01{COLOURS.index(name):02x}"


@dataclass(frozen=True)
class Canvas:
    """A figure measured in CSS pixels from its top left corner."""

    figure: Figure
    width: float
    height: float
    narrow: bool

    def axes(self, left: float, top: float, width: float, height: float) -> Axes:
        """Axes in the given box, with a light horizontal grid and no frame."""
        box = (left, self.height - top - height, width, height)
        axes = self.figure.add_axes(
            (box[0] / self.width, box[1] / self.height, box[2] / self.width, box[3] / self.height)
        )
        axes.patch.set_visible(False)
        axes.spines[:].set_visible(False)
        axes.tick_params(length=0, labelsize=SMALL_PX, colors=colour("muted"), pad=6)
        axes.set_axisbelow(True)
        return axes

    def text(self, x: float, y: float, text: str, **style: Any) -> None:
        """Text at a place of the canvas, centred on `y`."""
        style = {"color": colour("ink"), "fontsize": FONT_PX, "va": "center", **style}
        self.figure.text(x / self.width, 1 - y / self.height, printable(text), **style)


def render(
    key: str, width: float, height: float, draw: Callable[[Canvas], None], *, narrow: bool = False
) -> str:
    """Draws on a canvas of the given CSS pixels and gives the SVG element; `key` keeps its ids unique."""
    with _style(key):
        from matplotlib.figure import Figure

        figure = Figure(figsize=(width / 72, height / 72), dpi=72)
        figure.patch.set_visible(False)
        draw(Canvas(figure, width, height, narrow))
        buffer = io.StringIO()
        no_metadata = dict.fromkeys(("Date", "Creator", "Format", "Type"))
        figure.savefig(buffer, format="svg", metadata=no_metadata)
    return inline(buffer.getvalue(), key)


@contextmanager
def _style(key: str) -> Iterator[None]:
    # A first run builds a font cache, in a temporary folder if need be, and would tell the terminal so.
    logging.getLogger("matplotlib").setLevel(logging.ERROR)
    import matplotlib

    settings: dict[Any, Any] = {
        "svg.fonttype": "none",
        "svg.hashsalt": key,
        "text.parse_math": False,
        "font.family": [_FONT],
        "font.size": FONT_PX,
        "path.simplify": True,
        "path.simplify_threshold": 0.4,
        "axes.unicode_minus": True,
        "axes.formatter.useoffset": False,
    }
    with matplotlib.rc_context():
        matplotlib.rcdefaults()  # whatever style the user has set for other plots
        matplotlib.rcParams.update(settings)
        yield


def inline(svg: str, key: str) -> str:
    """Makes matplotlib's SVG file an element for an HTML page: no header, no own style sheet, own ids."""
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r"<!--.*?-->", "", svg, flags=re.DOTALL)
    svg = re.sub(r"<defs>\s*<style.*?</style>\s*</defs>", "", svg, flags=re.DOTALL)
    view_box = re.search(r'viewBox="([^"]*)"', svg)
    assert view_box is not None
    svg = re.sub(
        r"<svg[^>]*>", f'<svg viewBox="{view_box[1]}" aria-hidden="true" focusable="false">', svg, count=1
    )
    svg = re.sub(r'\sstyle="([^"]*)"', lambda match: f' style="{_themed(match[1])}"', svg)
    svg = re.sub(r'\sd="([^"]*)"', lambda match: f' d="{_short(match[1])}"', svg)
    svg = re.sub(r' transform="rotate\(-0 [^"]*\)"', "", svg)
    svg = svg.replace("xlink:href", "href")
    svg = _own_ids(svg, key)
    return re.sub(r">\s*\n\s*<", ">\n<", svg).strip()


def _themed(style: str) -> str:
    style = re.sub(r"#fe01([0-9a-f]{2})", lambda match: f"var(--{COLOURS[int(match[1], 16)]})", style)
    return style.replace(f"'{_FONT}'", "var(--sans)")


def _short(path: str) -> str:
    # A hundredth of a pixel is enough, and halves the page.
    return " ".join(re.sub(r"(\.\d{2})\d+", r"\1", path).split())


def _own_ids(svg: str, key: str) -> str:
    used = set(re.findall(r"url\(#([^)]*)\)", svg)) | set(re.findall(r'href="#([^"]*)"', svg))
    svg = re.sub(r' id="([^"]*)"', lambda match: f' id="{key}-{match[1]}"' if match[1] in used else "", svg)
    return re.sub(r'(url\(#|href="#)', rf"\g<1>{key}-", svg)
