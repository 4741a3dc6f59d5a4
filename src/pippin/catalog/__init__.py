"""Facts about chips, each with its source, and the table of what differs between chips in training.

The data files lie beside this module: `chips.csv`, `device_kinds.toml`, `rules.toml`, `sources.toml`.
Nothing here imports JAX.
"""

from pippin.catalog.chips import CatalogChip, load_chips, load_sources
from pippin.catalog.match import find_chip
from pippin.catalog.peaks import Peak, peak, why_no_peak
from pippin.catalog.rules import Rules, select_rules

__all__ = [
    "CatalogChip",
    "Peak",
    "Rules",
    "find_chip",
    "load_chips",
    "load_sources",
    "peak",
    "select_rules",
    "why_no_peak",
]
