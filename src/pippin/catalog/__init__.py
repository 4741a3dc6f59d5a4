"""Facts about chips, each with its source, and the table of what differs between chips in training.

The data files lie beside this module: `chips.csv`, `instances.csv`, `prices.csv`, `clusters.csv`,
`fleets.csv`, `device_kinds.toml`, `rules.toml`, `sources.toml`. Nothing here imports JAX.
"""

from pippin.catalog.catalog import Catalog, load_catalog
from pippin.catalog.chips import CatalogChip, load_chips, load_sources
from pippin.catalog.fleets import ChipPrice, Fleet
from pippin.catalog.instances import Instance, Price, load_instances, load_prices
from pippin.catalog.match import find_chip
from pippin.catalog.peaks import Peak, peak, why_no_peak
from pippin.catalog.rules import Rules, select_rules

__all__ = [
    "Catalog",
    "CatalogChip",
    "ChipPrice",
    "Fleet",
    "Instance",
    "Peak",
    "Price",
    "Rules",
    "find_chip",
    "load_catalog",
    "load_chips",
    "load_instances",
    "load_prices",
    "load_sources",
    "peak",
    "select_rules",
    "why_no_peak",
]
