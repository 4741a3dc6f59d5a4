"""What the page carries to take away: `report.json`, and a CSV file of each list of it."""

from __future__ import annotations

import base64
import csv
import io
import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from pippin.report.folders import REPORT
from pippin.report.listing import Group
from pippin.report.schema import Report


@dataclass(frozen=True)
class Download:
    """A file within the page: its name, what it holds, and the address that carries it."""

    name: str
    holds: str
    address: str


def make_downloads(report: Report, groups: Iterable[Group]) -> list[Download]:
    """The report itself, every single number with its method, and every list of the report as a table.

    Lists keep their exact numbers; a column is a field, `a.b` a field within a field. An empty cell is a
    number that is not known.
    """
    values = report.model_dump(mode="json", exclude={"unknown", "versions"})
    downloads = [
        Download(REPORT, "everything, exact", _address("application/json", report.to_json())),
        _numbers(values, report, groups),
    ]
    for path, rows in lists_of(values):
        holds = f"{len(rows):,} {'row' if len(rows) == 1 else 'rows'}"
        downloads.append(Download(f"{path}.csv", holds, csv_address(as_csv(rows))))
    return downloads


def _numbers(values: dict[str, Any], report: Report, groups: Iterable[Group]) -> Download:
    single = dict(_flat(values))
    rows = [
        {
            "field": row.path,
            "value": single.get(row.path, row.value),
            "method": row.method,
            "unknown_because": row.reason,
        }
        for group in groups
        for row in group.rows
    ]
    return Download("numbers.csv", f"{len(rows):,} fields with method", csv_address(as_csv(rows)))


def lists_of(value: Any, path: str = "") -> Iterator[tuple[str, list[dict[str, Any]]]]:
    """Every list of tables in a JSON value, with its dotted path; lists within rows are cells of them."""
    if isinstance(value, dict):
        for name, item in value.items():
            yield from lists_of(item, f"{path}.{name}" if path else name)
    elif isinstance(value, list) and value and all(isinstance(item, dict) for item in value):
        yield path, value


def as_csv(rows: Sequence[dict[str, Any]]) -> str:
    """Rows as CSV (RFC 4180), with a line of headings; every row may have fields of its own."""
    flat = [dict(_flat(row)) for row in rows]
    columns = list(dict.fromkeys(name for row in flat for name in row))
    text = io.StringIO()
    writer = csv.DictWriter(text, columns, restval="")
    writer.writeheader()
    writer.writerows(flat)
    return text.getvalue()


def _flat(value: dict[str, Any], path: str = "") -> Iterator[tuple[str, Any]]:
    for name, item in value.items():
        if isinstance(item, dict):
            yield from _flat(item, f"{path}{name}.")
        elif isinstance(item, list):
            yield path + name, json.dumps(item)
        else:
            yield path + name, item


def csv_address(text: str) -> str:
    """The address that carries a CSV file."""
    return _address("text/csv", text)


def _address(kind: str, content: str) -> str:
    carried = base64.b64encode(content.encode(errors="replace")).decode()
    return f"data:{kind};base64,{carried}"
