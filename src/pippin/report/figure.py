"""What every figure of a page is: a drawing in two sizes, what it shows in words, its numbers as a table."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from pippin.report.drawing import NARROW_PX, WIDE_PX
from pippin.report.svg import Canvas, render


@dataclass(frozen=True)
class Figure:
    """A figure of the page; `wide` and `narrow` are SVG elements of the same drawing."""

    key: str
    title: str
    finding: str
    note: str
    columns: tuple[str, ...]
    rows: Sequence[tuple[str, ...]]
    wide: str
    narrow: str


@dataclass(frozen=True)
class Words:
    """What a figure says, and its numbers as a table."""

    title: str
    finding: str
    note: str
    columns: tuple[str, ...]
    rows: Sequence[tuple[str, ...]]


def make_figure(
    key: str, said: Words, draw: Callable[[Canvas], None], height: Callable[[bool], float]
) -> Figure:
    """Draws a figure in both sizes.

    Args:
        key: keeps the ids of the figure's elements apart from others'.
        said: title, finding, note and table.
        draw: draws on a canvas of either size.
        height: of the drawing in pixels, given whether it is the narrow one.
    """

    def drawing(narrow: bool) -> str:
        width = NARROW_PX if narrow else WIDE_PX
        return render(f"{key}-{'narrow' if narrow else 'wide'}", width, height(narrow), draw, narrow=narrow)

    return Figure(
        key, said.title, said.finding, said.note, said.columns, said.rows, drawing(False), drawing(True)
    )
