"""Reads the catalog's data files: one typed row a line, errors that name file, row and column."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping
from importlib.resources import files
from typing import Annotated, Any, Literal, TypeVar

from pydantic import BaseModel, BeforeValidator, ConfigDict, ValidationError

from pippin.errors import PippinError, nearest

Topology = Literal["switch", "mesh", "ring", "2d_torus", "3d_torus"]


def _extents(cell: object) -> object:
    """The text "4x4x4" as a tuple; an empty cell is an unknown shape."""
    return tuple(cell.split("x")) if isinstance(cell, str) and cell else cell or ()


Extents = Annotated[tuple[int, ...], BeforeValidator(_extents)]


class Row(BaseModel):
    """A row of one of the tables. `users_fields` names what a user's file has set in it."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    users_fields: tuple[str, ...] = ()


AnyRow = TypeVar("AnyRow", bound=Row)


def plain(name: str) -> str:
    """A name as it is compared: case, and hyphen or underscore, make no difference."""
    return name.casefold().replace("_", "-")


def read_data(name: str) -> str:
    """The text of a data file of this package."""
    return files("pippin.catalog").joinpath(name).read_text(encoding="utf-8")


def parse_table(text: str, model: type[AnyRow], *, file: str, key: str) -> list[AnyRow]:
    """The rows of a table, in its order.

    Args:
        text: CSV with a header.
        model: what a row is. An empty cell of a column that is not text is a missing number.
        file: how to name the table in an error.
        key: the column that identifies a row, for the same purpose.

    Raises:
        PippinError: a cell does not fit its column, or a row has more or fewer cells than the header.
    """
    nullable = {name for name, field in model.model_fields.items() if field.annotation is not str}
    rows = []
    for line, row in enumerate(csv.DictReader(io.StringIO(text)), start=2):
        where = f"{file}, row {line} ({row.get(key)})"
        if None in row or None in row.values():
            raise PippinError(
                f"the row has {'more' if None in row else 'fewer'} cells than the header",
                where=where,
                fix="quote cells that contain a comma",
            )
        cells = {name: (cell or None) if name in nullable else cell for name, cell in row.items()}
        rows.append(validated(model, cells, where=where, noun="column"))
    return rows


def keyed(rows: list[AnyRow], key: str, *, file: str) -> dict[str, AnyRow]:
    """Rows by their id, which may stand once."""
    table: dict[str, AnyRow] = {}
    for line, row in enumerate(rows, start=2):
        name = getattr(row, key)
        if name in table:
            noun = key.removesuffix("_id")
            raise PippinError(
                f"this {noun} id stands in an earlier row too", where=f"{file}, row {line} ({name})"
            )
        table[name] = row
    return table


def validated(model: type[AnyRow], cells: Mapping[str, Any], *, where: str, noun: str) -> AnyRow:
    """A row made of cells; the first problem becomes a `PippinError` that names its field."""
    try:
        return model.model_validate(cells)
    except ValidationError as error:
        # A misspelt field is also a missing one: what stands there says more than what does not.
        first = min(error.errors(), key=lambda problem: problem["type"] != "extra_forbidden")
        field = str(first["loc"][0]) if first["loc"] else ""
        if first["type"] == "extra_forbidden":
            near = nearest(field, model.model_fields.keys() - {"users_fields"})
            fix = f"did you mean '{near}'?" if near else f"known: {', '.join(model.model_fields)}"
            raise PippinError(f"unknown {noun} '{field}'", where=where, fix=fix) from error
        message = first["msg"].removeprefix("Value error, ")
        raise PippinError(f"{noun} '{field}': {message}" if field else message, where=where) from error
