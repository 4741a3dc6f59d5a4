"""The order of the page: which figure stands in which chapter."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from pippin.report.figure import Figure

# Title of a chapter, and how the keys of its figures begin, in their order. What fits none comes last.
_ORDER = {
    "What it learned": ("training", "held-out"),
    "Where the time went": ("waterfall", "time", "throughput"),
    "What the chip can do": ("roofline", "matmul", "micro", "attention", "memory", "collective"),
    "Whether it computes the same": ("numerics",),
    "What it costs": ("price", "energy"),
    "What was foreseen, and larger jobs": ("prediction", "projection"),
}
_REST = "More figures"


@dataclass(frozen=True)
class Chapter:
    """Figures under one title; `first` is the number of the first of them on the page."""

    key: str
    title: str
    figures: tuple[Figure, ...]
    first: int

    @property
    def finding(self) -> str:
        """What to read if one reads one sentence: the first figure's."""
        return self.figures[0].finding


def make_chapters(figures: Iterable[Figure]) -> list[Chapter]:
    """Every figure in its chapter, numbered through; chapters without a figure are left out."""
    ordered = sorted(figures, key=lambda figure: _place(figure.key))
    chapters: list[Chapter] = []
    first = 1
    for number, title in enumerate((*_ORDER, _REST)):
        within = tuple(figure for figure in ordered if _place(figure.key)[0] == number)
        if within:
            chapters.append(Chapter(f"chapter-{number + 1}", title, within, first))
        first += len(within)
    return chapters


def _place(key: str) -> tuple[int, int]:
    for chapter, beginnings in enumerate(_ORDER.values()):
        for place, beginning in enumerate(beginnings):
            if key.startswith(beginning):
                return chapter, place
    return len(_ORDER), 0
