"""The table of many assays: its columns, how it is sorted and filtered, and its page."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote, urlencode

from pippin.report.downloads import as_csv, csv_address
from pippin.report.html import render_template
from pippin.report.schema import Report
from pippin.report.shelf import Entry
from pippin.report.units import bits, dollars, moment, percent, si, significant


@dataclass(frozen=True)
class Column:
    """A column; `value` is what sorts, None where unknown, and `show` how it reads."""

    key: str
    title: str
    value: Callable[[Report], Any]
    show: Callable[[Any], str] = str

    @property
    def is_text(self) -> bool:
        """Whether it first sorts from A on; numbers begin with the largest, times with the last."""
        return self.key in ("name", "chip.name", "workload.preset")

    @property
    def is_number(self) -> bool:
        """Whether its values are set to the right, so that digits stand below one another."""
        return not self.is_text and self.key != "created"


def _at(path: str) -> Callable[[Report], Any]:
    def value(report: Report) -> Any:
        part: Any = report
        for name in path.split("."):
            part = getattr(part, name)
        return part

    return value


NAME = "name"
# The name of an assay is its folder's, which no report knows; keys of the others are paths in the report.
COLUMNS = (
    Column(NAME, "Assay", lambda report: None),
    *(
        Column(path, title, _at(path), show)
        for path, title, show in (
            ("chip.name", "Chip", str),
            ("workload.preset", "Model", str),
            ("created", "Made", moment),
            ("tokens_per_second", "Training tokens/s", significant),
            ("tokens_per_second_end_to_end", "End to end tokens/s", significant),
            ("model_flops_per_second", "Model arithmetic", lambda value: si(value, "FLOP/s")),
            ("measured_peak_share", "Of measured peak", percent),
            ("mfu", "MFU", percent),
            ("held_out.bits_per_byte", "Held-out bits/byte", bits),
            ("price.usd_per_million_tokens", "USD per million tokens", dollars),
            ("energy.joules_per_token", "Energy per token", lambda value: si(value, "J")),
        )
    ),
)
_BY_KEY = {column.key: column for column in COLUMNS}


@dataclass(frozen=True)
class Query:
    """What of the table is asked for."""

    sort: str = "created"
    descending: bool = True
    words: str = ""
    chip: str = ""
    model: str = ""

    @classmethod
    def parse(cls, fields: Mapping[str, Sequence[str]]) -> Query:
        """Reads the fields of an address; what it does not know is taken as not said."""

        def last(name: str) -> str:
            return fields.get(name, [""])[-1]

        sort = last("sort") if last("sort") in _BY_KEY else cls.sort
        falls = not _BY_KEY[sort].is_text if last("order") not in ("up", "down") else last("order") == "down"
        return cls(sort, falls, last("words").strip(), last("chip"), last("model"))

    def address(self, **changes: str) -> str:
        """The address of this table, or of one that differs."""
        fields = {"sort": self.sort, "order": "down" if self.descending else "up"}
        fields |= {"words": self.words, "chip": self.chip, "model": self.model} | changes
        return "/?" + urlencode({name: value for name, value in fields.items() if value})


def select(entries: Sequence[Entry], query: Query) -> list[Entry]:
    """The readable entries that the query asks for, in its order; those without the number come last."""
    column = _BY_KEY[query.sort]
    found = [entry for entry in entries if entry.report is not None and _fits(entry, entry.report, query)]
    known = [entry for entry in found if _value(column, entry) is not None]
    known.sort(key=lambda entry: _sortable(_value(column, entry)), reverse=query.descending)
    return known + [entry for entry in found if _value(column, entry) is None]


def _fits(entry: Entry, report: Report, query: Query) -> bool:
    text = f"{entry.name} {report.chip.name} {report.workload.preset} {report.workload.corpus}".casefold()
    return (
        all(word in text for word in query.words.casefold().split())
        and query.chip in ("", report.chip.name)
        and query.model in ("", report.workload.preset)
    )


def _value(column: Column, entry: Entry) -> Any:
    assert entry.report is not None
    return entry.name if column.key == NAME else column.value(entry.report)


def _sortable(value: Any) -> Any:
    return value.casefold() if isinstance(value, str) else value


@dataclass(frozen=True)
class Heading:
    """The head of a column, which leads to the table sorted by it."""

    title: str
    address: str
    aria_sort: str | None
    is_number: bool


@dataclass(frozen=True)
class Cell:
    """A value as text, or None with the reason."""

    value: str | None
    reason: str
    is_number: bool


def headings(query: Query) -> list[Heading]:
    """One for each column; that of the sorted one turns its order around."""
    made = []
    for column in COLUMNS:
        is_sorted = column.key == query.sort
        falls = not query.descending if is_sorted else not column.is_text
        address = query.address(sort=column.key, order="down" if falls else "up")
        order = ("descending" if query.descending else "ascending") if is_sorted else None
        made.append(Heading(column.title, address, order, column.is_number))
    return made


def _cells(entry: Entry) -> list[Cell]:
    assert entry.report is not None
    cells = []
    for column in COLUMNS[1:]:
        value = column.value(entry.report)
        reason = entry.report.unknown.get(column.key, "")
        cells.append(Cell(None if value is None else column.show(value), reason, column.is_number))
    return cells


def page_address(entry: Entry) -> str:
    """Where the page of an assay is served."""
    return f"/assay/{quote(entry.name, errors='surrogateescape')}/report.html"


def render_index(entries: Sequence[Entry], query: Query, *, folder: str, version: str) -> str:
    """The page of the table. All text is escaped."""
    shown = select(entries, query)
    reports = [entry.report for entry in entries if entry.report is not None]
    table = [{column.key: _value(column, entry) for column in COLUMNS} for entry in shown]
    return render_template(
        "pippin.report",
        "index.html.j2",
        version=version,
        command=f"pippin report serve {folder}",
        folder=folder,
        query=query,
        headings=headings(query),
        rows=[(entry, page_address(entry), _cells(entry)) for entry in shown],
        broken=[entry for entry in entries if entry.report is None],
        total=len(reports),
        chips=sorted({report.chip.name for report in reports}),
        models=sorted({report.workload.preset for report in reports}),
        csv=csv_address(as_csv(table)) if table else "",
    )
