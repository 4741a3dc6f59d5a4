"""The table of chips: every row loads, and every number says where it is from."""

from __future__ import annotations

import datetime
import re
import subprocess
import sys

import pytest

from pippin.catalog import CatalogChip, load_chips, load_sources
from pippin.catalog.chips import SOURCE_GROUPS, parse_chips
from pippin.catalog.match import load_kinds
from pippin.catalog.tables import read_data
from pippin.errors import PippinError

CHIP_IDS = [
    *("trn1", "trn1n", "inf2", "trn2", "trn3"),
    *("a100_40", "a100_80", "h100_sxm", "h200_sxm", "b200_sxm", "gb200_nvl72", "b300_sxm", "gb300_nvl72"),
    *("mi300x", "mi325x", "mi355x", "gaudi2", "gaudi3"),
    *("tpu_v4", "tpu_v5e", "tpu_v5p", "tpu_v6e", "tpu_v7x"),
    *("graviton2", "graviton3", "graviton4", "graviton5", "xeon_spr", "epyc_genoa"),
    *("apple_m2_ultra", "apple_m4", "apple_m4_max"),
]


def test_every_row_loads() -> None:
    assert list(load_chips()) == CHIP_IDS


def test_every_column_of_a_fact_belongs_to_a_source() -> None:
    free = {"chip_id", "name", "vendor", "kind", "as_of", "confidence", "disagreements", "users_fields"}
    runtime = {"devices_per_chip", "unit"}  # set by find_chip, not in the table
    columns = [*SOURCE_GROUPS, *(column for group in SOURCE_GROUPS.values() for column in group)]
    assert sorted(columns) == sorted(CatalogChip.model_fields.keys() - free - runtime)


@pytest.mark.parametrize("chip", load_chips().values(), ids=lambda chip: chip.chip_id)
def test_every_number_has_a_source_and_every_source_a_number(chip: CatalogChip) -> None:
    for source_column, columns in SOURCE_GROUPS.items():
        known = any(getattr(chip, column) not in (None, "", ()) for column in columns)
        assert known == bool(getattr(chip, source_column)), source_column
    assert (chip.power_watts is not None) == bool(chip.power_term)
    assert (chip.memory_size is not None) == bool(chip.memory_unit)
    assert (chip.scaleout_latency_microseconds is not None) == bool(chip.scaleout_latency_term)
    assert (chip.on_chip_memory_mib is not None) == bool(chip.on_chip_memory_kind)
    scaleup = {chip.scaleup_topology, chip.scaleup_domain_chips, chip.scaleup_gbytes_per_second}
    assert scaleup == {None} or None not in scaleup
    assert chip.confidence
    assert datetime.date(2026, 11, 22) <= chip.as_of <= datetime.date.today()


def _names_a_source(text: str) -> bool:
    known = [*load_sources(), "derived", "unverified"]
    return any(re.search(rf"(?<!\w){re.escape(key)}(?!\w)", text) for key in known)


def test_every_source_is_explained() -> None:
    for chip in load_chips().values():
        for column in SOURCE_GROUPS:
            text = getattr(chip, column)
            assert not text or _names_a_source(text), f"{chip.chip_id}.{column}: {text}"
    for kind in load_kinds():
        assert _names_a_source(kind.source), kind.source


def test_every_explained_source_is_used() -> None:
    names = ["chips", "instances", "prices", "clusters", "fleets", "claims", "measurements"]
    text = "".join(read_data(f"{name}.csv") for name in names) + read_data("device_kinds.toml")
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


@pytest.mark.parametrize("chip", load_chips().values(), ids=lambda chip: chip.chip_id)
def test_numbers_agree_with_each_other(chip: CatalogChip) -> None:
    """A both-ways bandwidth in a one-way column, or a sparse peak in a dense one, would not."""
    for small, large in [
        (chip.measured_bf16_tflops, chip.bf16_tflops),
        (chip.measured_fp8_tflops, chip.fp8_tflops),
        (chip.fp8_tflops, chip.fp4_tflops),
        (chip.bf16_tflops, chip.bf16_sparse_tflops),
        (chip.fp8_tflops, chip.fp8_sparse_tflops),
        (chip.scaleup_link_gbytes_per_second, chip.scaleup_gbytes_per_second),
    ]:
        assert small is None or large is None or small <= large
    total, link, domain = (
        chip.scaleup_gbytes_per_second,
        chip.scaleup_link_gbytes_per_second,
        chip.scaleup_domain_chips,
    )
    if total and link and domain:
        links = {"switch": 1, "mesh": domain - 1, "ring": 2, "2d_torus": 4, "3d_torus": 6}
        # Google rounds the sum up (1200 GB/s where six links of 90 make 1080 both ways).
        assert total == pytest.approx(links[chip.scaleup_topology or ""] * link, rel=0.12)


def test_golden_links() -> None:
    links = {
        chip.chip_id: (
            chip.scaleup_domain_chips,
            chip.scaleup_gbytes_per_second,
            chip.scaleout_gbits_per_second,
            chip.chips_per_instance,
        )
        for chip in load_chips().values()
        if chip.scaleup_domain_chips
    }
    assert links == {
        "trn1": (16, 192, 50, 16),
        "trn1n": (16, 192, 100, 16),
        "inf2": (12, 103, 8.3, 12),
        "trn2": (16, 512, 200, 16),
        "trn3": (64, 1280, 200, 16),
        "a100_40": (8, 300, 200, 8),
        "a100_80": (8, 300, 200, 8),
        "h100_sxm": (8, 450, 400, 8),
        "h200_sxm": (8, 450, 400, 8),
        "b200_sxm": (8, 900, 400, 8),
        "gb200_nvl72": (72, 900, 400, 4),
        "b300_sxm": (8, 900, 800, 8),
        "gb300_nvl72": (72, 900, 800, 4),
        "mi300x": (8, 448, 400, 8),
        "mi325x": (8, 448, 400, 8),
        "mi355x": (8, 535.5, 400, 8),
        "gaudi2": (8, 262.5, 300, 8),
        "gaudi3": (8, 525, 600, 8),
        "tpu_v4": (4096, 270, 50, 4),
        "tpu_v5e": (256, 200, 25, 8),
        "tpu_v5p": (8960, 600, 50, 4),
        "tpu_v6e": (256, 400, 100, 8),
        "tpu_v7x": (9216, 600, None, 4),
    }


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
    text = read_data("chips.csv").replace(",4x4,16,", ",4x5,16,", 1)
    with pytest.raises(PippinError, match=r"row 2 \(trn1\).*scaleup_shape does not multiply"):
        parse_chips(text)
    with pytest.raises(PippinError, match=r"row 34 \(trn1\): this chip id stands in an earlier row too"):
        parse_chips(read_data("chips.csv") + read_data("chips.csv").splitlines()[1])


def test_the_catalog_works_without_jax() -> None:
    code = (
        "import sys; from pippin import catalog; catalog.load_chips(); catalog.select_rules('cpu');"
        "catalog.find_chip('TPU v4', 'tpu'); sys.exit('jax' in sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
