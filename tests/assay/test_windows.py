"""Speed windows: separate, spread over the run, and together all of it."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pippin.assay.findings import Metered, Unknown
from pippin.assay.pricing import catalog_prices
from pippin.assay.traced import TRACE
from pippin.assay.training import energy_section
from pippin.assay.windows import FEWEST_STEPS_IN_WINDOW, MOST_WINDOWS, speed_section, window_bounds
from pippin.assay.workload import FEWEST_STEPS
from pippin.catalog import find_chip


@given(st.integers(1, 5000))
def test_windows_are_a_cut_of_the_run_into_equal_parts(steps: int) -> None:
    bounds = window_bounds(steps)
    assert [first for first, _ in bounds] == [0, *(stop for _, stop in bounds[:-1])]
    assert bounds[-1][1] == steps
    sizes = [stop - first for first, stop in bounds]
    assert max(sizes) - min(sizes) <= 1 and min(sizes) >= min(steps, FEWEST_STEPS_IN_WINDOW)
    assert len(bounds) <= MOST_WINDOWS


def test_the_shortest_assay_has_five_windows() -> None:
    assert len(window_bounds(FEWEST_STEPS - 1)) >= 5


class FakeTrace:
    """Ten watts."""

    error = ""

    def joules_between(self, start: float, end: float) -> float:
        return 10 * (end - start)


def spans(steps: int = 40) -> list[dict[str, Any]]:
    """Steps of half a second and ten tokens with a second of validation after every tenth."""
    lines: list[dict[str, Any]] = [{"category": "compile", "start": 100.0, "end": 107.0, "name": "compile"}]
    now = 107.0
    for step in range(1, steps + 1):
        lines.append(
            {"category": "step", "start": now, "end": now + 0.5, "name": "step", "step": step}
            | {"tokens": [10 * step - 10, 10 * step]}
        )
        now += 0.5
        if step % 10 == 0:
            lines.append({"category": "evaluation", "start": now, "end": now + 1, "name": "validation"})
            now += 1
    return lines


def section(energy: Metered) -> tuple[dict[str, Any], Unknown]:
    unknown = Unknown()
    found: Any = SimpleNamespace(spans=spans(), energy=energy)
    return speed_section(found, unknown), unknown


def test_windows_hold_every_step_but_the_first_and_no_validation() -> None:
    speed, unknown = section(Metered(1.0, "fake", "all", "", FakeTrace()))  # type: ignore[arg-type]
    windows = speed["windows"]
    assert len(windows) == 13
    assert sum(window["tokens"] for window in windows) == 390
    assert sum(window["seconds"] for window in windows) == pytest.approx(39 * 0.5)
    assert all(window["tokens"] / window["seconds"] == pytest.approx(20) for window in windows)
    assert windows[0]["start_seconds"] == pytest.approx(7.5) and windows[0]["start_step"] == 2
    assert windows[-1]["end_seconds"] == pytest.approx(7 + 20 + 3)
    assert sum(speed["window_joules"]) == pytest.approx(10 * 39 * 0.5)
    assert not unknown


def energy(metered: Metered, checks: list[tuple[float, float]]) -> tuple[dict[str, Any], Unknown]:
    unknown, known = Unknown(), {"category": "evaluation", "name": "repeat check"}
    among = [*spans(), *(known | {"start": start, "end": end} for start, end in checks)]
    if checks:
        among[-1]["name"] = TRACE
    found: Any = SimpleNamespace(spans=among, energy=metered, account=SimpleNamespace(tokens=400))
    return energy_section(found, unknown), unknown


def test_the_energy_of_repeat_checks_is_not_the_trainings() -> None:
    metered = Metered(300.0, "fake", "all", "", FakeTrace())  # type: ignore[arg-type]
    without, _ = energy(metered, [])
    assert (without["joules"], without["joules_per_token"]) == (300.0, 0.75)
    checked, _ = energy(metered, [(120.0, 121.0), (125.0, 128.0)])
    assert (checked["joules"], checked["joules_per_token"]) == (260.0, 0.65)


def test_energy_that_cannot_be_told_from_the_checks_is_unknown() -> None:
    broken = SimpleNamespace(error="the meter stopped")
    metered = Metered(300.0, "fake", "all", "", broken)  # type: ignore[arg-type]
    found, unknown = energy(metered, [(120.0, 121.0)])
    assert found["joules"] is None and found["joules_per_token"] is None
    assert unknown == dict.fromkeys(("energy.joules", "energy.joules_per_token"), "the meter stopped")
    assert energy(metered, [])[0]["joules"] == 300.0


def test_without_a_meter_the_joules_have_the_reason() -> None:
    speed, unknown = section(Metered(None, None, None, "no meter here"))
    assert speed["window_joules"] is None
    assert unknown == {"speed.window_joules": "no meter here"}


def machine(kind: str, platform: str, devices: int) -> Any:
    return SimpleNamespace(
        known=find_chip(kind, platform), chip=SimpleNamespace(num_devices=devices, device_kind=kind)
    )


def test_the_price_rows_are_for_what_was_measured() -> None:
    rows = catalog_prices(machine("NVIDIA H100 80GB HBM3", "cuda", 4))
    assert rows is not None
    (row,) = (row for row in rows if row["instance"] == "p5.48xlarge" and row["kind"] == "on demand")
    assert row["chips_per_instance"] == 8
    assert row["usd_per_hour"] == pytest.approx(row["usd_per_instance_hour"] / 2)
    assert row["region"] and row["date"] and row["source"]


def test_a_core_pays_for_its_share_of_the_chip() -> None:
    (whole, *_), (half, *_) = (catalog_prices(machine("NC_v2", "neuron", n)) or [] for n in (2, 1))
    assert half["usd_per_hour"] == pytest.approx(whole["usd_per_hour"] / 2)


def test_a_chip_that_the_catalog_lacks_has_no_rows() -> None:
    assert catalog_prices(machine("cpu", "cpu", 1)) is None
