"""Prints fleets side by side, as a table, as JSON, or as a page."""

from __future__ import annotations

import sys
from pathlib import Path

from rich.console import Console
from rich.table import Table

from pippin import __version__
from pippin.cli.catalog import print_json
from pippin.plan.fleets import Comparison
from pippin.plan.fleets_json import comparison_json
from pippin.plan.page import headline, side_by_side, write_page

_WIDTH = 110


def show(plan: Comparison, *, as_json: bool, html: Path | None, command: str) -> None:
    """Prints the comparison, and writes the page if a path for it is given.

    Raises:
        PippinError: the page cannot be written.
    """
    if html is not None:
        write_page(plan, html, version=__version__, command=command)
    if as_json:
        print_json(comparison_json(plan))
        return
    console = Console(file=sys.stdout, width=None if sys.stdout.isatty() else _WIDTH, highlight=False)
    console.print(headline(plan), markup=False)
    console.print(_table(plan))
    for name, reason in plan.refused:
        console.print(f"{name} cannot: {reason}", markup=False)
    if html is not None:
        console.print(f"page: {html}", markup=False)


def _table(plan: Comparison) -> Table:
    from rich.text import Text

    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    table.add_column("")
    for fleet in plan.fleets:
        table.add_column(Text(fleet.name))
    for row in side_by_side(plan):
        cells = [Text(cell.value or "unknown") for cell in row.cells]
        for text, cell in zip(cells, row.cells, strict=True):
            if cell.note:
                text.append(f"\n{cell.note}", style="dim")
        table.add_row(Text(row.label), *cells)
    return table
