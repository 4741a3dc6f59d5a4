"""The table of chips: every row loads, and every number says where it is from."""

from __future__ import annotations

import datetime
import re
import subprocess
import sys

import pytest

from pippin.catalog import CatalogChip, load_chips, load_sources
from pippin.catalog.chips import parse_chips, read_data
from pippin.catalog.match import load_kinds
from pippin.errors import PippinError

CHIP_IDS = [
    *("trn1", "trn1n", "inf2", "trn2", "trn3"),
    *("a100_40", "a100_80", "h100_sxm", "h200_sxm", "b200_sxm", "gb200_nvl72", "b300_sxm", "gb300_nvl72"),
    *("mi300x", "mi325x", "mi355x", "gaudi2", "gaudi3"),
    *("tpu_v4", "tpu_v5e", "tpu_v5p", "tpu_v6e", "tpu_v7x"),
    *("graviton2", "graviton3", "graviton4", "graviton5", "xeon_spr", "epyc_genoa"),
    *("apple_m2_ultra", "apple_m4", "apple_m4_max"),
]

# Column of a number, and the column that must say where it is from.
SOURCES = {
    "year": "year_source",
    "fp32_tflops": "flops_source",
    "tf32_tflops": "flops_source",
    "bf16_tflops": "flops_source",
    "fp8_tflops": "flops_source",
    "float32_runs_as": "float32_runs_as_source",
    "memory_size": "memory_source",
    "memory_gbytes_per_second": "memory_source",
    "power_watts": "power_source",
    "cores_per_chip": "cores_source",
}


def test_every_row_loads() -> None:
    assert list(load_chips()) == CHIP_IDS


@pytest.mark.parametrize("chip", load_chips().values(), ids=lambda chip: chip.chip_id)
def test_every_number_has_a_source_and_every_source_a_number(chip: CatalogChip) -> None:
    for source_column in set(SOURCES.values()):
        numbers = [getattr(chip, column) for column, source in SOURCES.items() if source == source_column]
        known = any(number is not None for number in numbers)
        assert known == bool(getattr(chip, source_column)), source_column
    assert (chip.power_watts is not None) == bool(chip.power_term)
    assert (chip.memory_size is not None) == bool(chip.memory_unit)
    assert chip.confidence
    assert datetime.date(2026, 11, 22) <= chip.as_of <= datetime.date.today()


def _names_a_source(text: str) -> bool:
    known = [*load_sources(), "derived", "unverified"]
    return any(re.search(rf"(?<!\w){re.escape(key)}(?!\w)", text) for key in known)


def test_every_source_is_explained() -> None:
    for chip in load_chips().values():
        for column in set(SOURCES.values()):
            text = getattr(chip, column)
            assert not text or _names_a_source(text), f"{chip.chip_id}.{column}: {text}"
    for kind in load_kinds():
        assert _names_a_source(kind.source), kind.source


def test_every_explained_source_is_used() -> None:
    text = read_data("chips.csv") + read_data("device_kinds.toml")
    assert [key for key in load_sources() if key not in text] == []


def test_golden_peaks() -> None:
    bf16 = {chip.chip_id: chip.bf16_tflops for chip in load_chips().values() if chip.bf16_tflops}
    assert bf16 == {
        "trn1": 190,
        "trn1n": 190,
        "inf2": 190,
        "trn2": 667,
        "trn3": 671,
        "a100_40": 312,
        "a100_80": 312,
        "h100_sxm": 989,
        "h200_sxm": 989,
        "b200_sxm": 2250,
        "gb200_nvl72": 2500,
        "b300_sxm": 2250,
        "gb300_nvl72": 2500,
        "mi300x": 1307,
        "mi325x": 1307,
        "mi355x": 2500,
        "gaudi2": 432,
        "gaudi3": 1677,
        "tpu_v4": 275,
        "tpu_v5e": 197,
        "tpu_v5p": 459,
        "tpu_v6e": 918,
        "tpu_v7x": 2307,
    }


def test_peaks_rise_as_formats_shrink() -> None:
    """A sparse number in a dense column, or two columns swapped, would break the order."""
    for chip in load_chips().values():
        peaks = [chip.fp32_tflops, chip.tf32_tflops, chip.bf16_tflops, chip.fp8_tflops]
        known = [peak for peak in peaks if peak is not None]
        assert known == sorted(known), chip.chip_id


def test_missing_numbers_are_none() -> None:
    chips = load_chips()
    assert chips["a100_80"].fp8_tflops is None
    assert chips["tpu_v6e"].power_watts is None
    assert chips["xeon_spr"].fp32_tflops is None


def test_a_bad_cell_names_row_and_column() -> None:
    text = read_data("chips.csv").replace(
        "A100 SXM 40GB,NVIDIA,train+serve,2020", "A100 SXM 40GB,NVIDIA,toaster,2020"
    )
    with pytest.raises(PippinError, match=r"row 7 \(a100_40\): column 'kind'"):
        parse_chips(text)
    with pytest.raises(PippinError, match=r"row 34 \(trn1\): this chip id stands in an earlier row too"):
        parse_chips(read_data("chips.csv") + read_data("chips.csv").splitlines()[1])


def test_the_catalog_works_without_jax() -> None:
    code = (
        "import sys; from pippin import catalog; catalog.load_chips(); catalog.select_rules('cpu');"
        "catalog.find_chip('TPU v4', 'tpu'); sys.exit('jax' in sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
