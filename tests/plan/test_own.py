"""What an assay teaches of its own machine, and that it teaches nothing of any other."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pippin.models.config import ModelConfig
from pippin.models.presets import preset
from pippin.plan.at_hand import AtHand, ground, layout_of
from pippin.plan.calibration import Calibration, of_file, parse_calibration, shipped_calibration, shipped_file
from pippin.plan.estimate import Estimate
from pippin.plan.foresight import foresee
from pippin.plan.own import effects, fold_in
from pippin.plan.publish import with_reports
from pippin.plan.reading import published_runs
from pippin.plan.runs import Run, Table, model_flops
from pippin.plan.steptime import step_time
from pippin.plan.validation import headline_runs

from ..machines import CPU

MACHINE = replace(CPU, name="Some CPU @ 2.0 GHz")


def shape_of(name: str) -> ModelConfig:
    return ModelConfig.model_validate({**preset(name), "vocab_size": 8192})


def foreseen(name: str, calibration: Calibration, machine: AtHand = MACHINE) -> Estimate:
    return foresee(shape_of(name), 4, 128, machine, calibration).step


def assay_of(name: str, seconds: float, machine: AtHand = MACHINE) -> Run:
    """An assay of a preset that took so long a step."""
    system = ground(machine).system
    return Run(
        id=f"assay-{name}-{seconds}",
        source=f"assay of {machine.name}",
        model=name,
        family="pippin",
        chip_id=system.chip_id,
        precision=system.precision,
        tier="A",
        task="pretrain",
        cells={},
        shape=shape_of(name),
        layout=layout_of(machine, 4, 128),
        system=system,
        step_seconds=seconds,
    )


def folded(*runs: Run) -> Calibration:
    file = shipped_file()
    assert file is not None
    return of_file(fold_in(file, runs))


def off(estimate: Estimate, seconds: float) -> float:
    return abs(float(np.log(estimate.value / seconds)))


def width(estimate: Estimate) -> float:
    return float(np.log(estimate.high / estimate.value))


@settings(max_examples=8, deadline=None)
@given(st.floats(0.4, 3.0).filter(lambda ratio: abs(np.log(ratio)) > 0.02))
def test_an_assay_moves_its_machine_to_what_was_measured_and_narrows_it(ratio: float) -> None:
    before = foreseen("pippin-5m", shipped_calibration())
    seconds = before.value * ratio
    after = foreseen("pippin-5m", folded(assay_of("pippin-5m", seconds)))
    assert off(after, seconds) < 0.25 * off(before, seconds)
    assert width(after) < 0.65 * width(before)


def test_more_assays_narrow_more_and_another_job_less() -> None:
    seconds = 1.4 * foreseen("pippin-5m", shipped_calibration()).value
    one = folded(assay_of("pippin-5m", seconds))
    three = folded(*(assay_of("pippin-5m", seconds * by) for by in (0.99, 1.0, 1.01)))
    assert width(foreseen("pippin-5m", three)) < width(foreseen("pippin-5m", one))
    # A model sixty times as large spends its time otherwise, and is known less well, but better than before.
    large = width(foreseen("pippin-350m", one))
    assert width(foreseen("pippin-5m", one)) < large < width(foreseen("pippin-350m", shipped_calibration()))


def test_no_other_system_moves_at_all() -> None:
    fitted = folded(assay_of("pippin-5m", 0.3))
    runs = headline_runs(published_runs())
    table = Table.of(runs)
    before, after = (
        step_time(table.shapes, table.layouts, table.systems, c).step_seconds
        for c in (shipped_calibration(), fitted)
    )
    assert np.array_equal(before, after)
    other = replace(MACHINE, cores=4)
    assert foreseen("pippin-5m", fitted, other) == foreseen("pippin-5m", shipped_calibration(), other)


def test_an_assay_of_a_known_chip_moves_its_own_software_alone() -> None:
    chip = replace(MACHINE, platform="cuda", catalog_id="h100_sxm", unit="chip", compute_dtype="bfloat16")
    before = foreseen("pippin-125m", shipped_calibration(), chip)
    after = foreseen("pippin-125m", folded(assay_of("pippin-125m", 2 * before.value, chip)), chip)
    assert before.value < after.value and width(after) < width(before)
    assert ground(chip).system.rated and "catalog" in ground(chip).basis


def test_the_file_keeps_what_was_learned() -> None:
    run = assay_of("pippin-5m", 0.3)
    file = with_reports([], [run])
    read = parse_calibration(file.model_dump_json(), "test")
    assert foreseen("pippin-5m", read) == foreseen("pippin-5m", folded(run))
    assert run.id in read.row_ids and "with 1 assay of this machine" in read.said_of(ground(MACHINE).system)
    (told,) = effects([run], file)
    assert off(told.after, 0.3) < off(told.before, 0.3) and width(told.after) < width(told.before)


@pytest.mark.parametrize("name", ["pippin-3m", "pippin-125m"])
def test_no_end_of_the_interval_is_faster_than_the_peak(name: str) -> None:
    run = assay_of(name, 1.0)
    fast = Calibration(
        {"matrix": 0.0, "activation_traffic": -9.0, "weight_traffic": -9.0, "memory": -9.0}, {}
    )
    found = foresee(run.shape, 4, 128, MACHINE, fast)
    assert found.step.low == pytest.approx(model_flops(run) / 250e9)
    assert sum(found.parts.values()) == pytest.approx(found.step.value)


def test_float32_moves_twice_the_bytes_of_bfloat16() -> None:
    parts: dict[str, Any] = {
        dtype: foresee(
            shape_of("pippin-5m"), 4, 128, replace(MACHINE, compute_dtype=dtype), shipped_calibration()
        )
        for dtype in ("float32", "bfloat16")
    }
    # Of the elementwise passes all but those over the logits, which are float32 in any case.
    ratio = parts["float32"].parts["memory"] / parts["bfloat16"].parts["memory"]
    assert 1.2 < ratio < 2.0
