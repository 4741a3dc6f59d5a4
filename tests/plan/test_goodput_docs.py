"""docs/goodput.md shows what the code computes and ships."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from pippin.plan.asynchronous import INNER_STEPS, WIRE_BITS
from pippin.plan.failures import failure_rate, recovery
from pippin.plan.goodput import asynchronous_efficiency, fleet_mtbf, synchronous_efficiency

TEXT = (Path(__file__).parents[2] / "docs" / "goodput.md").read_text(encoding="utf-8")


def rows(pattern: str) -> list[list[str]]:
    lines = [line for line in TEXT.splitlines() if re.match(pattern, line)]
    return [[cell.strip(" `") for cell in line.strip("|").split(" | ")] for line in lines]


def test_the_table_of_goodput_is_what_the_formulas_give() -> None:
    mtbf = fleet_mtbf(16_384 * 54 / 419 / 365.25, [16_384, 50_000, 100_000, 200_000, 400_000])
    found = rows(r"\| `(synchronous|\d+ learners)")
    assert len(found) == 6
    for setting, *cells in found:
        numbers = [float(n) for n in re.findall(r"[\d.]+", setting)]
        got = (
            synchronous_efficiency(mtbf, 60 * numbers[0], 10.0)
            if setting.startswith("synchronous")
            else asynchronous_efficiency(mtbf, 60 * numbers[1], 60 * numbers[2], numbers[0])
        )
        assert [float(cell) for cell in cells] == pytest.approx(got.tolist(), abs=0.00051), setting


@pytest.mark.parametrize(
    ("first", "chip_id"),
    [("H100", "h100_sxm"), ("A100", "a100_80"), ("B200", "gb200_nvl72"), ("all others", "trn2")],
)
def test_the_rates_are_those_that_ship(first: str, chip_id: str) -> None:
    (row,) = rows(rf"\| {first}")
    rate = failure_rate(chip_id).mtbf_years
    assert [float(n) for n in re.findall(r"[\d.]+", row[1])] == [rate.value, rate.low, rate.high]


def test_recovery_times_and_defaults_are_those_that_ship() -> None:
    times = recovery()
    spoken = re.sub(r"\s+", " ", TEXT)
    assert "restart 10 min (3 to 20)" in spoken and times.restart.as_list() == [180.0, 1200.0]
    assert "stall 10 s (2 to 60)" in spoken and times.checkpoint.as_list() == [2.0, 60.0]
    assert "all replicas 3 min (1 to 10)" in spoken and times.stall.as_list() == [60.0, 600.0]
    assert "away 20 min (5 to 60)" in spoken and times.down.as_list() == [300.0, 3600.0]
    assert f"(default {INNER_STEPS}, as INTELLECT-1)" in spoken
    assert f"at {WIRE_BITS} bits" in spoken


def test_the_picture_of_the_page_is_small() -> None:
    picture = Path(__file__).parents[2] / "docs" / "images" / "plan.png"
    assert picture.read_bytes().startswith(b"\x89PNG") and picture.stat().st_size < 300_000
