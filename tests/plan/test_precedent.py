"""The best measured run of a chip, beside what the planner hopes for."""

from __future__ import annotations

import pytest

from pippin.catalog import load_chips
from pippin.plan.baseline import achieved_flops
from pippin.plan.precedent import precedent
from pippin.plan.ranked import Rated, mfu_basis
from pippin.plan.reading import published_runs


def test_no_scorable_run_of_the_chip_was_faster() -> None:
    best = precedent("a100_80", "bf16")
    assert best is not None
    rates = [
        achieved_flops(run)
        for run in published_runs()
        if run.chip_id == "a100_80" and run.precision == "bf16" and not (run.refused or run.wrong)
    ]
    assert best.flops_per_second == max(rates) and best.runs == len(rates) > 50
    # llm-foundry's MPT-7B at 64.2 % with the whole square of attention counted; causal is less.
    assert 0.55 < best.flops_per_second / 312e12 < 0.6423


@pytest.mark.parametrize(("chip", "precision"), [("trn2", "bf16"), ("a100_80", "fp4"), ("nothing", "bf16")])
def test_a_chip_without_measured_runs_has_none(chip: str, precision: str) -> None:
    assert precedent(chip, precision) is None


def test_the_basis_of_an_mfu_names_it() -> None:
    chips = load_chips()
    seen = mfu_basis(Rated.of(chips["a100_80"], "bf16"))
    assert "the best of" in seen and "measured runs of this chip reached" in seen
    assert "an extrapolation" in mfu_basis(Rated.of(chips["trn2"], "bf16"))
