"""The catalog in tables of text: what `pippin catalog` prints. No figure stands without what it rests on."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, get_args

from pippin.catalog.catalog import Catalog
from pippin.catalog.chips import SOURCE_GROUPS, CatalogChip, Format
from pippin.catalog.clusters import Cluster
from pippin.catalog.fleets import Fleet
from pippin.catalog.instances import Instance, Price, current
from pippin.catalog.tables import Row, plain
from pippin.errors import PippinError, nearest

What = Literal["chips", "instances", "prices", "fleets", "clusters"]
WHAT: tuple[What, ...] = get_args(What)
_FORMATS: tuple[Format, ...] = ("bf16", "fp8", "fp4")


@dataclass(frozen=True)
class Sheet:
    """A table with a title and notes. Columns whose name ends in ">" are numbers, set to the right."""

    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    notes: tuple[str, ...] = ()


def number(value: float | None, places: int = 4) -> str:
    """So many significant digits; a hyphen for what is not known."""
    if value is None:
        return "-"
    text = f"{value:.{places}g}"
    return f"{value:,.0f}" if "e" in text or value >= 1000 else text


def listing(catalog: Catalog, what: What) -> Sheet:
    """One table of the catalog, a line for each entry."""
    return {
        "chips": _chips,
        "instances": _instances,
        "prices": _prices,
        "fleets": _fleets,
        "clusters": _clusters,
    }[what](catalog)


def _mark(name: str, row: Row | Fleet) -> str:
    return f"{name} *" if row.users_fields else name


def _chips(catalog: Catalog) -> Sheet:
    rows = tuple(
        (
            _mark(chip.chip_id, chip),
            number(chip.bf16_tflops),
            number(chip.fp8_tflops),
            f"{number(chip.memory_size)} {chip.memory_unit.split()[0]}" if chip.memory_size else "-",
            number(chip.memory_gbytes_per_second),
            number(chip.scaleup_gbytes_per_second),
            (chip.scaleup_topology or "-").replace("_", " "),
            number(chip.scaleup_domain_chips),
            number(chip.scaleout_gbits_per_second),
            number(chip.power_watts),
        )
        for chip in catalog.chips.values()
    )
    columns = ("chip", "bf16>", "fp8>", "memory>", "GB/s>", "links>", "topology", "domain>", "out>", "watts>")
    notes = (
        "bf16, fp8: dense TFLOP/s as rated. links: GB/s one way from a chip into its scale-up domain; "
        "domain: chips in it; out: Gbit/s a chip. watts: rated, or estimated if the vendor says nothing.",
        "`pippin catalog show CHIP` has the sources and the values that contradict each other.",
    )
    return Sheet("chips", columns, rows, notes)


def _instances(catalog: Catalog) -> Sheet:
    rows = []
    for box in catalog.instances.values():
        prices = [price for price in catalog.prices if price.instance_id == box.instance_id]
        best = [f"{number(price.usd_per_hour)} {price.kind}" for price in current(tuple(prices))]
        rows.append(
            (
                _mark(box.instance_id, box),
                box.provider,
                box.chip_id,
                number(box.chips),
                number(box.network_gbits_per_second, 5),
                "; ".join(best) or "unknown",
            )
        )
    columns = ("instance", "provider", "chip", "chips>", "Gbit/s>", "USD an hour, as last seen")
    notes = (
        "Prices are of the whole instance. `pippin catalog show INSTANCE` has region, date, source and trust "
        "of each, and older ones.",
    )
    return Sheet("instances", columns, tuple(rows), notes)


def _prices(catalog: Catalog) -> Sheet:
    columns = ("instance", "USD an hour>", "kind, term, region, date", "trust", "state")
    now = set(map(id, current(catalog.prices)))
    rows = tuple((_mark(p.instance_id, p), *_price_cells(p, id(p) in now)) for p in catalog.prices)
    return Sheet("prices", columns, rows)


def _price_cells(price: Price, is_current: bool) -> tuple[str, ...]:
    if price.usd_per_hour is None:
        return "unknown", price.basis, price.trust or "-", price.why_unknown
    state = "" if is_current else "do not use" if price.trust == "do not use" else "older"
    return number(price.usd_per_hour, 5), price.basis, price.trust or "-", state


def _fleets(catalog: Catalog) -> Sheet:
    rows = []
    for name in catalog.fleet_names():
        fleet = catalog.fleet(name)
        chip = fleet.chip
        prices = [f"{number(price.usd_per_chip_hour)} {price.kind}" for price in fleet.prices]
        stand_in = any(price.stand_in for price in fleet.prices)
        rows.append(
            (
                _mark(name, fleet),
                chip.chip_id,
                number(fleet.chips_at_most),
                number(chip.scaleup_domain_chips),
                number(chip.scaleout_gbits_per_second),
                ("; ".join(prices) or "unknown") + (" (stand-in)" if stand_in else ""),
            )
        )
    columns = ("fleet", "chip", "at most>", "domain>", "out>", "USD a chip-hour, as last seen")
    notes = (
        "at most: chips, where a page says so. domain: chips in a scale-up domain; out: Gbit/s a chip. "
        "stand-in: the price of another box with this chip. Every instance is a fleet of its own too.",
        "`pippin catalog show FLEET` has region, date and source of each price.",
    )
    return Sheet("fleets", columns, tuple(rows), notes)


def _clusters(catalog: Catalog) -> Sheet:
    rows = []
    for cluster in catalog.clusters.values():
        chip = catalog.chips.get(cluster.chip_id)
        peaks = [cluster.exaflops(chip, form) if chip else None for form in ("bf16", "fp8")]
        rows.append(
            (
                _mark(cluster.cluster_id, cluster),
                cluster.chip_id,
                number(cluster.chips),
                *(number(peak) for peak in peaks),
                cluster.status,
                cluster.as_of,
            )
        )
    columns = ("cluster", "chip", "chips>", "bf16>", "fp8>", "status", "as of")
    notes = ("bf16, fp8: exaflop/s, chips times the rated dense peak of one; no utilisation is assumed.",)
    return Sheet("clusters", columns, tuple(rows), notes)


def entries(catalog: Catalog, name: str) -> dict[str, Row | Fleet]:
    """Everything of this name: a chip, an instance, a fleet, a cluster; at least one.

    Raises:
        PippinError: there is nothing; the nearest name is given.
    """
    tables: dict[str, Mapping[str, Row]] = {
        "chip": catalog.chips,
        "instance": catalog.instances,
        "cluster": catalog.clusters,
    }
    found: dict[str, Row | Fleet] = {}
    for noun, table in tables.items():
        if (key := next((key for key in table if plain(key) == plain(name)), None)) is not None:
            found[noun] = table[key]
    known = {plain(key): key for key in catalog.fleet_names()}
    if plain(name) in known:
        found["fleet"] = catalog.fleet(name)
    if found:
        return found
    known |= {plain(key): key for table in tables.values() for key in table}
    near = nearest(plain(name), known)
    hint = f"did you mean '{known[near]}'? " if near else ""
    raise PippinError(
        f"nothing in the catalog is called '{name}'",
        fix=f"{hint}`pippin catalog list {'|'.join(WHAT)}` shows what there is",
    )


def sheets(catalog: Catalog, name: str) -> list[Sheet]:
    """Everything of this name in full, with sources; raises as `entries` does."""
    described: list[Sheet] = []
    for row in entries(catalog, name).values():
        if isinstance(row, CatalogChip):
            described.append(_chip_sheet(row))
        elif isinstance(row, Instance):
            described += [_plain_sheet("instance", row.instance_id, row), _price_sheet(catalog, row)]
        elif isinstance(row, Cluster):
            described.append(_cluster_sheet(catalog, row))
        elif isinstance(row, Fleet):
            described += _fleet_sheets(row)
    return described


def _label(field: str) -> str:
    return field.replace("_", " ")


def _value(value: Any) -> str:
    if isinstance(value, tuple):
        return " x ".join(map(str, value))
    return f"{value:,g}" if isinstance(value, float) else str(value)


def _chip_sheet(chip: CatalogChip) -> Sheet:
    rows: list[tuple[str, ...]] = []
    for source, fields in SOURCE_GROUPS.items():
        known = [field for field in fields if getattr(chip, field) not in (None, "", ())]
        if not known:
            rows.append((_label(source.removesuffix("_source")), "unknown", ""))
        for place, field in enumerate(known):
            where = getattr(chip, source) if place == 0 else ""
            rows.append((_label(field), _value(getattr(chip, field)), where))
    notes = [f"confidence: {chip.confidence}; compared with its sources on {chip.as_of}"]
    if chip.disagreements:
        notes.append(f"other values seen: {chip.disagreements}")
    notes.append("Peaks are dense unless the name says sparse; links count one direction.")
    title = f"chip {_mark(chip.chip_id, chip)}: {chip.name} ({chip.vendor})"
    return Sheet(title, ("what", "value", "source"), tuple(rows), tuple(notes))


def _plain_sheet(noun: str, name: str, row: Row) -> Sheet:
    hidden = {"source", "note", "users_fields", f"{noun}_id", "name"}
    values = {key: value for key, value in row.model_dump().items() if key not in hidden}
    rows = tuple((_label(k), _value(v)) for k, v in values.items() if v not in (None, "", ()))
    notes = [f"{_label(key)}: {value}" for key in ("source", "note") if (value := getattr(row, key, ""))]
    title = getattr(row, "name", "")
    return Sheet(
        f"{noun} {_mark(name, row)}" + (f": {title}" if title else ""), ("what", "value"), rows, tuple(notes)
    )


def _price_sheet(catalog: Catalog, box: Instance) -> Sheet:
    prices = tuple(price for price in catalog.prices if price.instance_id == box.instance_id)
    now = set(map(id, current(prices)))
    rows = tuple(
        (*_price_cells(price, id(price) in now), "; ".join(filter(None, (price.source, price.note))))
        for price in prices
    )
    columns = ("USD an hour>", "kind, term, region, date", "trust", "state", "source")
    return Sheet(f"prices of {box.instance_id}, whole instance", columns, rows)


def _cluster_sheet(catalog: Catalog, cluster: Cluster) -> Sheet:
    sheet = _plain_sheet("cluster", cluster.cluster_id, cluster)
    chip = catalog.chip(cluster.chip_id)
    rows = list(sheet.rows)
    for form in _FORMATS:
        peak = cluster.exaflops(chip, form)
        rows.append((f"exaflop/s, {form}, chips x rated dense peak", number(peak)))
    if cluster.megawatts_low and cluster.megawatts_high:
        low, high = (1e6 * mw / cluster.chips for mw in (cluster.megawatts_low, cluster.megawatts_high))
        span = number(low) if low == high else f"{number(low)} to {number(high)}"
        rows.append((f"watts a chip, derived from {cluster.megawatts_what}", span))
    return Sheet(sheet.title, sheet.columns, tuple(rows), sheet.notes)


def _fleet_sheets(fleet: Fleet) -> list[Sheet]:
    chip = fleet.chip
    links = "scaleup_topology scaleup_shape scaleup_domain_chips scaleup_gbytes_per_second"
    fields = [
        *links.split(),
        "scaleup_link_gbytes_per_second",
        "scaleout_gbits_per_second",
        "chips_per_instance",
    ]
    rows = [("chip", chip.chip_id), ("instance", fleet.instance_id or "as the chip's row")]
    rows.append(("chips at most", f"{number(fleet.chips_at_most)} ({fleet.source})"))
    rows += [(_label(f), _value(v)) for f in fields if (v := getattr(chip, f)) not in (None, "", ())]
    notes = [*([fleet.note] if fleet.note else []), f"links: {chip.scaleup_source or 'unknown'}"]
    notes += [f"no price: {reason}" for reason in fleet.no_price]
    head = Sheet(
        f"fleet {_mark(fleet.fleet_id, fleet)}: {fleet.name}", ("what", "value"), tuple(rows), tuple(notes)
    )
    prices = tuple(
        (
            number(p.usd_per_chip_hour),
            p.basis,
            p.trust or "-",
            f"stand-in: {p.stand_in}" if p.stand_in else p.instance_id,
            "; ".join(filter(None, (p.source, p.note))),
        )
        for p in fleet.prices
    )
    columns = ("USD a chip-hour>", "kind, term, region, date", "trust", "whose price", "source")
    return [head, Sheet(f"prices of {fleet.fleet_id}", columns, prices)] if prices else [head]
