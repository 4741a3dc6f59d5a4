"""The whole catalog: the tables of this package, with what a file of the user's adds or changes."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from pippin.catalog.chips import CatalogChip, load_chips
from pippin.catalog.clusters import Cluster, load_clusters
from pippin.catalog.fleets import Fleet, FleetRow, chip_prices, linked, load_fleet_rows
from pippin.catalog.instances import Instance, Price, load_instances, load_prices
from pippin.catalog.tables import Row, plain
from pippin.errors import PippinError, nearest

ENVIRONMENT = "PIPPIN_CATALOG"
AnyRow = TypeVar("AnyRow", bound=Row)


@dataclass(frozen=True)
class Catalog:
    """Chips, instances, clusters and fleets by id, and all prices.

    `changes` says in words what the user's file set; whatever prints a figure from here prints them too.
    """

    chips: Mapping[str, CatalogChip]
    instances: Mapping[str, Instance]
    prices: tuple[Price, ...]
    clusters: Mapping[str, Cluster]
    fleet_rows: Mapping[str, FleetRow]
    changes: tuple[str, ...] = ()

    def chip(self, name: str) -> CatalogChip:
        """A chip by id.

        Raises:
            PippinError: no such chip; the nearest is named.
        """
        return find(self.chips, name, "chip")

    def instance(self, name: str) -> Instance:
        """An instance by id; raises as `chip` does."""
        return find(self.instances, name, "instance")

    def cluster(self, name: str) -> Cluster:
        """A cluster by id; raises as `chip` does."""
        return find(self.clusters, name, "cluster")

    def fleet(self, name: str) -> Fleet:
        """The fleet, cluster or instance of this name (looked for in this order), as a fleet.

        Raises:
            PippinError: no such name; or its chip has prices here but no row.
        """
        if row := _found(self.fleet_rows, name):
            return self._assemble(row)
        if cluster := _found(self.clusters, name):
            return self._assemble(_cluster_row(cluster))
        if instance := _found(self.instances, name):
            return self._assemble(_instance_row(instance))
        known = [*self.fleet_rows, *self.clusters, *self.instances]
        raise _unknown("fleet", name, known, "pippin catalog list fleets")

    def fleet_of_chip(self, name: str) -> Fleet:
        """Any number of one chip, linked as its row says, with the prices of every instance that has it."""
        chip = self.chip(name)
        boxes = [box for box in self.instances.values() if box.chip_id == chip.chip_id]
        prices = [p for box in boxes for p in chip_prices(self.prices, box, wanted=box.instance_id)]
        reasons = [f"no instance with {chip.chip_id} has a price in the catalog"]
        return Fleet(
            fleet_id=chip.chip_id,
            name=chip.name,
            chip=chip,
            instance_id="",
            chips_at_most=None,
            prices=tuple(prices),
            no_price=() if prices else tuple(reasons),
            source="as many as asked for",
            note="",
            users_fields=chip.users_fields,
        )

    def fleet_names(self) -> list[str]:
        """What `fleet` finds beside single instances."""
        return [*self.fleet_rows, *(name for name in self.clusters if name not in self.fleet_rows)]

    def _assemble(self, row: FleetRow) -> Fleet:
        if row.chip_id not in self.chips:
            raise PippinError(
                f"the catalog has prices of {row.name} but no row for its chip '{row.chip_id}'",
                fix=f"add [chips.{row.chip_id}] to a file of yours and pass it with --catalog",
            )
        chip = self.chips[row.chip_id]
        instance = self.instances.get(row.instance_id)
        box = self.instances.get(row.price_instance_id or row.instance_id)
        return Fleet(
            fleet_id=row.fleet_id,
            name=row.name,
            chip=linked(chip, instance) if instance else chip,
            instance_id=row.instance_id,
            chips_at_most=row.chips_at_most,
            prices=chip_prices(self.prices, box, wanted=row.instance_id) if box else (),
            no_price=self._missing(row),
            source=row.source,
            note=row.note,
            users_fields=row.users_fields,
        )

    def _missing(self, row: FleetRow) -> tuple[str, ...]:
        boxes = {row.instance_id, row.price_instance_id} - {""}
        reasons = [
            f"{p.instance_id}: {p.why_unknown}"
            for p in self.prices
            if p.instance_id in boxes and p.why_unknown
        ]
        priced = any(price.instance_id in boxes for price in self.prices)
        return tuple(reasons if priced else ["the catalog has no price row for it"])


def _cluster_row(cluster: Cluster) -> FleetRow:
    shared = {
        name: getattr(cluster, name) for name in ("name", "chip_id", "instance_id", "price_instance_id")
    }
    return FleetRow(
        fleet_id=cluster.cluster_id,
        chips_at_most=cluster.chips,
        source=cluster.source,
        note=f"{cluster.status}, {cluster.as_of}" + (f"; {cluster.note}" if cluster.note else ""),
        users_fields=cluster.users_fields,
        **shared,
    )


def _instance_row(instance: Instance) -> FleetRow:
    return FleetRow(
        fleet_id=instance.instance_id,
        name=instance.name or instance.instance_id,
        chip_id=instance.chip_id,
        instance_id=instance.instance_id,
        price_instance_id=instance.instance_id,
        chips_at_most=None,
        source="no page states how many can be rented",
        note=instance.note,
        users_fields=instance.users_fields,
    )


def _found(table: Mapping[str, AnyRow], name: str) -> AnyRow | None:
    return next((row for key, row in table.items() if plain(key) == plain(name)), None)


def find(table: Mapping[str, AnyRow], name: str, noun: str) -> AnyRow:
    """The row of this name.

    Raises:
        PippinError: there is none; the nearest is named.
    """
    row = _found(table, name)
    if row is None:
        raise _unknown(noun, name, list(table), f"pippin catalog list {noun}s")
    return row


def _unknown(noun: str, name: str, known: list[str], command: str) -> PippinError:
    near = nearest(plain(name), [plain(key) for key in known])
    given = next((key for key in known if plain(key) == near), None)
    fix = f"did you mean '{given}'? " if given else ""
    return PippinError(f"unknown {noun} '{name}'", fix=f"{fix}`{command}` lists them")


def load_catalog(file: Path | None = None) -> Catalog:
    """The catalog, with the changes of a file of the user's.

    Args:
        file: TOML as docs/catalog.md describes it; by default what the environment variable
            PIPPIN_CATALOG names, if it is set.

    Raises:
        PippinError: the file cannot be read, or something in it does not fit.
    """
    base = Catalog(load_chips(), load_instances(), load_prices(), load_clusters(), load_fleet_rows())
    named = file or (Path(os.environ[ENVIRONMENT]) if os.environ.get(ENVIRONMENT) else None)
    if named is None:
        return base
    from pippin.catalog.overrides import apply_file

    return apply_file(base, named)
