"""What a user's file adds to the catalog or changes in it. Format: docs/catalog.md."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import replace
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar, cast

from pippin.catalog.chips import SOURCE_GROUPS, CatalogChip
from pippin.catalog.clusters import Cluster
from pippin.catalog.fleets import FleetRow
from pippin.catalog.instances import Instance, Price
from pippin.catalog.tables import Row, plain, validated
from pippin.errors import PippinError, explained, nearest

if TYPE_CHECKING:
    from pippin.catalog.catalog import Catalog

AnyRow = TypeVar("AnyRow", bound=Row)
_MODELS: dict[str, tuple[type[Row], str]] = {
    "chips": (CatalogChip, "chip_id"),
    "instances": (Instance, "instance_id"),
    "clusters": (Cluster, "cluster_id"),
    "fleets": (FleetRow, "fleet_id"),
}
_TABLES = (*_MODELS, "prices")
# What a row may refer to, and in which table it is then looked up.
_REFERENCES = {"chip_id": "chips", "instance_id": "instances", "price_instance_id": "instances"}


def apply_file(catalog: Catalog, path: Path) -> Catalog:
    """The catalog as the file makes it.

    Raises:
        PippinError: unreadable, not TOML, an unknown table or key (the nearest is named), a value that does
            not fit, a chip or instance that is referred to but not known.
    """
    with explained(path):
        text = path.read_text(encoding="utf-8")
    try:
        tables = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise PippinError(f"not a TOML file: {error}", where=path) from error
    for name in tables:
        if name not in _TABLES:
            raise PippinError(f"unknown table '{name}'", where=path, fix=_did_you_mean(name, _TABLES))
    return _UserFile(path, tables).applied_to(catalog)


class _UserFile:
    """One file; collects in words what it changes."""

    def __init__(self, path: Path, tables: Mapping[str, Any]) -> None:
        self.path = path
        self.tables = tables
        self.changes: list[str] = []

    def applied_to(self, catalog: Catalog) -> Catalog:
        chips = self._merged("chips", catalog.chips)
        instances = self._merged("instances", catalog.instances)
        clusters = self._merged("clusters", catalog.clusters, instances)
        fleets = self._merged("fleets", catalog.fleet_rows, instances)
        known: dict[str, Mapping[str, Row]] = {"chips": chips, "instances": instances}
        for table, rows in (("instances", instances), ("clusters", clusters), ("fleets", fleets)):
            for name, row in cast("Mapping[str, Row]", rows).items():
                if row.users_fields:
                    self._check_references(table, row, name, known)
        return replace(
            catalog,
            chips=chips,
            instances=instances,
            clusters=clusters,
            fleet_rows=fleets,
            prices=(*catalog.prices, *self._prices(instances)),
            changes=(*catalog.changes, *self.changes),
        )

    def _merged(
        self, table: str, known: Mapping[str, AnyRow], instances: Mapping[str, Instance] | None = None
    ) -> dict[str, AnyRow]:
        entries = self.tables.get(table, {})
        if not isinstance(entries, dict):
            raise PippinError(f"'{table}' is not a table", where=self.path, fix=f"write [{table}.NAME]")
        rows = dict(known)
        for given, entry in entries.items():
            name = next((known for known in rows if plain(known) == plain(given)), given)
            if not isinstance(entry, dict):
                raise PippinError(f"'{table}.{name}' is not a table", where=self.path)
            rows[name] = self._row(table, name, dict(entry), rows, instances or {})
        return rows

    def _row(
        self,
        table: str,
        name: str,
        entry: dict[str, Any],
        rows: Mapping[str, AnyRow],
        instances: Mapping[str, Instance],
    ) -> AnyRow:
        model, key = _MODELS[table]
        where = f"{self.path}: {table}.{name}"
        like = entry.pop("like", name)
        if like != name and like not in rows:
            raise PippinError(f"like = '{like}': no such entry", where=where, fix=_did_you_mean(like, rows))
        for field in {key, "users_fields"} & entry.keys():
            raise PippinError(f"'{field}' cannot be set", where=where, fix="the id is the table's name")
        old = rows[like].model_dump() if like in rows else _blank(model)
        start = old if name in rows else {**old, "name": name}
        start |= {**_implied(model, entry, instances), key: name}
        given = {**_sources(entry, old, str(self.path)), **entry}
        own = tuple(entry) or ("like",)
        row = validated(model, {**start, **given, "users_fields": own}, where=where, noun="key")
        if name in rows:
            for field in entry:
                before = old[field] if old[field] not in (None, "", ()) else "unknown"
                self._tell(f"{table}.{name}.{field} = {getattr(row, field)} (was {before})")
        else:
            self._tell(f"{table}.{name}" + (f", like {like}" if like != name else "") + ", is new")
        return cast(AnyRow, row)

    def _tell(self, change: str) -> None:
        self.changes.append(f"{self.path.name}: {change}")

    def _prices(self, instances: Mapping[str, Instance]) -> list[Price]:
        entries = self.tables.get("prices", [])
        if not isinstance(entries, list):
            raise PippinError("'prices' is not a list of tables", where=self.path, fix="write [[prices]]")
        return [self._price(dict(entry), number, instances) for number, entry in enumerate(entries, start=1)]

    def _price(self, entry: dict[str, Any], number: int, instances: Mapping[str, Instance]) -> Price:
        where = f"{self.path}: prices, entry {number}"
        name = str(entry.get("instance_id", ""))
        if name not in instances:
            raise PippinError(f"unknown instance '{name}'", where=where, fix=_did_you_mean(name, instances))
        own = tuple(entry)
        if (each := entry.pop("usd_per_chip_hour", None)) is not None:
            chips = instances[name].chips
            if chips is None or "usd_per_hour" in entry or not isinstance(each, int | float):
                raise PippinError("usd_per_chip_hour does not fit here", where=where, fix="give usd_per_hour")
            entry["usd_per_hour"] = each * chips
        blank = dict.fromkeys(("term", "region", "date", "as_of", "why_unknown", "note"), "")
        cells = {**blank, "usd_per_hour": None, "trust": "high", "source": str(self.path), **entry}
        if isinstance(cells["date"], date):
            cells["date"] = cells["as_of"] = cells["date"].isoformat()
        price = validated(Price, {**cells, "users_fields": own}, where=where, noun="key")
        self._tell(f"price of {name}: {price.usd_per_hour} USD an hour ({price.basis})")
        return price

    def _check_references(
        self, table: str, row: Row, name: str, known: Mapping[str, Mapping[str, Row]]
    ) -> None:
        for field, target in _REFERENCES.items():
            value = getattr(row, field, "")
            if (value or field == "chip_id") and value not in known[target]:
                fix = _did_you_mean(value, known[target])
                where = f"{self.path}: {table}.{name}"
                raise PippinError(f"{field} = '{value}': the catalog has no such entry", where=where, fix=fix)


def _did_you_mean(word: str, known: Mapping[str, Any] | tuple[str, ...]) -> str:
    near = nearest(word, known)
    return f"did you mean '{near}'?" if near else f"known: {', '.join(list(known)[:8])}"


def _blank(model: type[Row]) -> dict[str, Any]:
    """An entry of which nothing is known."""
    cells: dict[str, Any] = {
        field: "" if info.annotation is str else None
        for field, info in model.model_fields.items()
        if info.is_required()
    }
    return cells | ({"kind": "train", "as_of": date.today()} if model is CatalogChip else {})


def _implied(model: type[Row], entry: Mapping[str, Any], instances: Mapping[str, Instance]) -> dict[str, str]:
    """What follows for a fleet or a cluster from the box it is built of."""
    box = instances.get(str(entry.get("instance_id", "")))
    if model is Instance or box is None:
        return {}
    return {"chip_id": box.chip_id, "price_instance_id": box.instance_id}


def _sources(entry: Mapping[str, Any], old: Mapping[str, Any], file: str) -> dict[str, str]:
    """Where each group of columns is from, once the user has set some of them."""
    groups = SOURCE_GROUPS if "flops_source" in old else {"source": tuple(old)}
    sources = {}
    for source, columns in groups.items():
        own = [column for column in columns if column in entry]
        if own and source not in entry:
            rest = f"; the rest: {old[source]}" if old[source] else ""
            sources[source] = f"{file} (the user's): {', '.join(own)}{rest}"
    return sources
