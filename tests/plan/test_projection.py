"""A target on several fleets and on the machine that was measured."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from pippin.catalog import load_catalog
from pippin.errors import PippinError
from pippin.models.config import ModelConfig
from pippin.models.presets import preset
from pippin.plan.assayed import run_of
from pippin.plan.at_hand import AtHand
from pippin.plan.calibration import Calibration, shipped_calibration
from pippin.plan.estimate import Estimate
from pippin.plan.foresight import foresee
from pippin.plan.layout import single
from pippin.plan.own import learned
from pippin.plan.projection import DEFAULT_FLEETS, Measured, Projection, project, read_fleets, read_target
from pippin.plan.ranked import Rated, rank

from ..machines import CPU

SMALL = ModelConfig.model_validate({**preset("pippin-5m"), "vocab_size": 8192})
H100 = replace(
    CPU, name="NVIDIA H100", platform="cuda", catalog_id="h100_sxm", unit="chip", compute_dtype="bfloat16"
)


def assayed(machine: AtHand, slower: float = 1.4) -> Calibration:
    """The shipped calibration with an assay that took so many times what was foreseen."""
    seconds = foresee(SMALL, 4, 128, machine, shipped_calibration()).step.value * slower
    return learned(shipped_calibration(), run_of(machine, "pippin-5m", SMALL, 4, 128, seconds))


def projected(
    calibration: Calibration, machine: AtHand, *fleets: str, usd: float | None = None
) -> Projection:
    measured = Measured(machine, usd, "2026-11-25", 100.0, "a meter")
    wanted = read_fleets(fleets, load_catalog())
    return project(read_target("apple-on-device-3b"), wanted, calibration, measured)


def width(estimate: Estimate) -> float:
    return float(np.log(estimate.high / estimate.low))


def test_a_measured_machine_narrows_its_own_interval_and_moves_no_other_chip() -> None:
    before = projected(shipped_calibration(), CPU, "trn2:64", "p5:64")
    after = projected(assayed(CPU), CPU, "trn2:64", "p5:64")
    assert before.machine and after.machine
    assert width(after.machine.seconds) < width(before.machine.seconds)
    assert after.machine.seconds.value > before.machine.seconds.value
    for one, other in zip(before.fleets, after.fleets, strict=True):
        assert (one.seconds, one.costs, one.energy) == (other.seconds, other.costs, other.energy)
        assert not one.measured and one.rests_on == other.rests_on


def test_a_fleet_of_the_measured_chip_is_planned_as_measured() -> None:
    before, after = (projected(c, H100, "p5:8").fleets[0] for c in (shipped_calibration(), assayed(H100)))
    assert after.measured and "this assay folded in" in after.evidence
    # Its interval is that of JAX on this chip, narrowed; the shipped runs know Megatron-Core on it better.
    assert "with 1 assay of this machine" in after.rests_on and "assay" not in before.rests_on


def test_days_dollars_and_joules_follow_from_one_another() -> None:
    found = projected(shipped_calibration(), CPU, "p5:64", usd=0.5)
    assert found.machine
    for each in (found.machine, *found.fleets):
        assert each.seconds.value == pytest.approx(6.3e12 / each.tokens_per_second.value)
        assert any(cost.usd for cost in each.costs)
        for cost in each.costs:
            if cost.usd is None:
                assert cost.reason
                continue
            hours = each.seconds.value / 3600
            assert cost.usd.value == pytest.approx(cost.chips_paid * hours * cost.basis.usd_per_chip_hour)
            assert cost.usd.low < cost.usd.value < cost.usd.high and cost.basis.date
    assert found.machine.energy.joules
    assert found.machine.energy.joules.value == pytest.approx(100.0 * found.machine.seconds.value)
    # 54 GB of float32 states do not fit 16 GiB, and that is said rather than hidden.
    assert not found.machine.fits and found.machine.memory_bytes > 16 * 2**30


def test_every_fleet_says_which_runs_it_rests_on() -> None:
    trainium, nvidia = projected(shipped_calibration(), CPU, "trn2:64", "p5:64").fleets
    assert trainium.runs == {} and "no published run" in trainium.evidence
    assert sum(nvidia.runs.values()) > 50 and str(sum(nvidia.runs.values())) in nvidia.evidence


def test_what_does_not_fit_is_refused_with_the_reason_and_the_others_stay() -> None:
    found = projected(shipped_calibration(), CPU, "v5e:1", "p5:64")
    ((name, reason),) = found.refused
    assert name == "v5e, 1 chips" and "does not fit" in reason
    assert [each.name for each in found.fleets] == ["p5: H100"]


@pytest.mark.parametrize(
    ("text", "words"),
    [("trn2:0", "NAME:CHIPS"), ("trn2:some", "NAME:CHIPS"), ("trn22", "trn2"), ("v5e:9999", "has 256 chips")],
)
def test_a_fleet_that_cannot_be_is_an_error(text: str, words: str) -> None:
    with pytest.raises(PippinError, match=words) as caught:
        read_fleets([text], load_catalog())
    assert caught.value.where == "--fleet"


def test_fleets_are_named_with_and_without_a_number() -> None:
    found = read_fleets([*DEFAULT_FLEETS, "h100_sxm", "v5e"], load_catalog())
    assert [chips for _, chips in found] == [64] * 7
    with pytest.raises(PippinError, match="apple-on-device-3b"):
        read_target("apple-on-device-3")


def test_a_plan_of_an_assayed_chip_has_what_the_assay_taught() -> None:
    request, catalog = read_target("apple-on-device-3b"), load_catalog()
    tasks = [request.task(catalog.fleet("p5"), c) for c in (shipped_calibration(), assayed(H100))]
    assert [task.system.stack for task in tasks] == ["megatron", "jax"]
    rated, layout = (
        Rated.of(catalog.chip("h100_sxm"), "bf16"),
        single(data=64, global_batch=4096, sequence_length=4096),
    )
    jax = replace(tasks[0], system=tasks[1].system)
    before, after = (rank(task, layout, rated)[0].step for task in (jax, tasks[1]))
    assert before.value < after.value and width(after) < width(before)
    other = [request.task(catalog.fleet("p5en"), c).system for c in (shipped_calibration(), assayed(H100))]
    assert other[0] == other[1]
