"""`pippin catalog`: what Pippin knows of chips, prices and fleets."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from pippin.catalog import load_catalog
from pippin.catalog.catalog import Catalog
from pippin.catalog.describe import WHAT, Sheet, What, entries, listing, sheets
from pippin.errors import PippinError, nearest

_WIDTH = 100


def show_list(what: str, file: Path | None, *, as_json: bool) -> None:
    """Prints one table of the catalog.

    Raises:
        PippinError: no such table; the nearest is named.
    """
    catalog = load_catalog(file)
    table = _what(what)
    if as_json:
        print_json({table: _rows(catalog, table), "catalog_changes": list(catalog.changes)})
    else:
        draw([listing(catalog, table)], catalog)


def show_entry(name: str, file: Path | None, *, as_json: bool) -> None:
    """Prints everything of one name, with its sources.

    Raises:
        PippinError: there is nothing of that name; the nearest is named.
    """
    catalog = load_catalog(file)
    if as_json:
        found = {noun: row.model_dump(mode="json") for noun, row in entries(catalog, name).items()}
        if "instance" in found:
            here = found["instance"]["instance_id"]
            prices = [price for price in catalog.prices if price.instance_id == here]
            found["instance"]["prices"] = [price.model_dump(mode="json") for price in prices]
        print_json({**found, "catalog_changes": list(catalog.changes)})
    else:
        draw(sheets(catalog, name), catalog)


def _what(word: str) -> What:
    for known in WHAT:
        if word in (known, known.removesuffix("s")):
            return known
    near = nearest(word, WHAT)
    fix = f"did you mean '{near}'?" if near else f"one of {', '.join(WHAT)}"
    raise PippinError(f"the catalog has no table '{word}'", fix=fix)


def _rows(catalog: Catalog, what: What) -> list[dict[str, Any]]:
    rows: dict[What, Any] = {
        "chips": catalog.chips.values(),
        "instances": catalog.instances.values(),
        "prices": catalog.prices,
        "fleets": map(catalog.fleet, catalog.fleet_names()),
        "clusters": catalog.clusters.values(),
    }
    return [row.model_dump(mode="json") for row in rows[what]]


def print_json(value: Any) -> None:
    """One JSON document on standard output; what is not known is null."""
    json.dump(value, sys.stdout, indent=2, allow_nan=False)
    print()


def draw(tables: list[Sheet], catalog: Catalog) -> None:
    """Tables of text; 100 columns where the output is not a terminal."""
    console = Console(width=None if sys.stdout.isatty() else _WIDTH, highlight=False)
    for sheet in tables:
        table = Table(title=sheet.title, title_justify="left", title_style="bold", box=None, pad_edge=False)
        for column in sheet.columns:
            table.add_column(column.removesuffix(">"), justify="right" if column.endswith(">") else "left")
        for row in sheet.rows:
            table.add_row(*map(_literal, row))
        console.print(table)
        for note in sheet.notes:
            console.print(note, markup=False)
        console.print()
    for change in catalog.changes:
        console.print(f"* {change}", markup=False)


def _literal(cell: str) -> str:
    return cell.replace("[", r"\[")
