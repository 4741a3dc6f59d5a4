"""The search: equal to one layout at a time, exhaustive where it prunes, honest where nothing fits."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from pippin.catalog import load_chips
from pippin.models.config import ModelConfig
from pippin.models.presets import preset
from pippin.plan import search as searching
from pippin.plan.calibration import Calibration, shipped_calibration
from pippin.plan.compare import Wishes
from pippin.plan.framework import MEGATRON
from pippin.plan.layout import single
from pippin.plan.memory import memory
from pippin.plan.ranked import Rated, rank
from pippin.plan.search import Ranking, Task, search
from pippin.plan.shape import Shapes
from pippin.plan.space import enumerate_space
from pippin.plan.steptime import step_time
from pippin.plan.system import System


def task(name: str, chip: str, batch: int, length: int, **changes: Any) -> Task:
    config = ModelConfig(**preset(name))
    made = Task(config, batch, length, System.of(chip), shipped_calibration(), MEGATRON)
    return replace(made, **changes)


SMALL = task("qwen3-30b-a3b", "h100_sxm", 64, 4096)
JOBS = {
    "gpt3": task("gpt3-175b", "a100_80", 1536, 2048),
    "no-flash": task("gpt3-175b", "a100_80", 1536, 2048, flash=False),
    "deepseek": task("deepseek-v3", "trn2", 960, 4096),
    "llama": task("llama3.1-405b", "gb200_nvl72", 2048, 8192),
    "apple": task("apple-on-device-3b", "tpu_v5p", 512, 4096),
}


def found(ranking: Ranking) -> list[tuple[float, float, int]]:
    rows = zip(ranking.step_seconds, ranking.memory_bytes, ranking.layouts.chips, strict=True)
    return [(float(s), float(m), int(c)) for s, m, c in rows]


def test_the_search_finds_what_looking_at_every_layout_finds() -> None:
    """All layouts of a small job, one call each for step and memory, sorted by hand."""
    space = enumerate_space(SMALL.config, 16, SMALL.global_batch, SMALL.sequence_length)
    best: dict[int, float] = {}
    total = fitting = 0
    shapes = Shapes.of(SMALL.config)
    for rows, choices, zeros in space.groups():
        for choice in choices:
            for zero in zeros:
                layouts = space.layouts(rows, choice, zero)
                step = step_time(shapes, layouts, SMALL.system, SMALL.calibration).step_seconds
                fits = memory(shapes, layouts, SMALL.framework, SMALL.slice_chips).total <= SMALL.usable_bytes
                total, fitting = total + len(rows), fitting + int(fits.sum())
                for row, seconds in zip(rows[fits], step[fits], strict=True):
                    best[row] = min(seconds, best.get(row, np.inf))
    ranking = search(SMALL, 16)
    assert (ranking.size, ranking.evaluated, ranking.fitting) == (total, total, fitting)
    assert ranking.step_seconds.tolist() == sorted(best.values())[: len(ranking)]
    assert ranking.most_chips == max(int(space.chips[row]) for row in best)


def test_leaving_degrees_out_early_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = search(SMALL, 64)
    monkeypatch.setattr(searching, "_WHOLE", 1000)
    pruned = search(SMALL, 64)
    assert found(pruned) == found(whole)
    assert pruned.size == whole.size == whole.evaluated > 3 * pruned.evaluated


@pytest.mark.parametrize("objective", ["time", "cost"])
def test_an_objective_is_made_least_also_where_degrees_are_left_out(
    monkeypatch: pytest.MonkeyPatch, objective: str
) -> None:
    """A chip that fails once a day, so that failures weigh on the choice among 64."""
    weigh = Wishes(objective=objective, mtbf_years=1 / 365).weigh("h100_sxm")
    plain = search(SMALL, 64, keep=10**6)
    whole = search(SMALL, 64, weigh=weigh)
    weight = weigh(plain.layouts.chips, plain.layouts.data)
    cost = plain.step_seconds * weight
    np.testing.assert_allclose(
        whole.step_seconds * weigh(whole.layouts.chips, whole.layouts.data), np.sort(cost)[: len(whole)]
    )
    assert np.any(np.diff(cost) < 0)  # it is another order than that of the steps
    monkeypatch.setattr(searching, "_WHOLE", 1000)
    pruned = search(SMALL, 64, weigh=weigh)
    assert found(pruned) == found(whole) and pruned.evaluated < whole.evaluated


@pytest.mark.parametrize("name", JOBS)
def test_no_choice_is_faster_than_the_bound(name: str) -> None:
    """What the early leaving out rests on."""
    job = JOBS[name]
    space = enumerate_space(job.config, 64, job.global_batch, job.sequence_length, flash=job.flash)
    space = space.take(np.random.default_rng(3).choice(len(space), min(len(space), 400), replace=False))
    shapes, rows = Shapes.of(job.config), np.arange(len(space))

    def seconds(picked: Any, choice: Any, zero: int) -> Any:
        layouts = space.layouts(picked, choice, zero)
        return step_time(shapes, layouts, job.system, job.calibration).step_seconds

    bound = np.min([seconds(rows, space.bound(), zero) for zero in (0, 1, 2, 3)], axis=0)
    for picked, choices, zeros in space.groups():
        for choice in choices:
            for zero in zeros:
                assert np.all(seconds(picked, choice, zero) >= bound[picked] * (1 - 1e-12))


def test_chunks_do_not_matter(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = search(SMALL, 16, lean=True)
    monkeypatch.setattr(searching, "_CHUNK", 7)
    assert found(search(SMALL, 16, lean=True)) == found(whole)


def test_progress_reaches_the_end() -> None:
    seen: list[tuple[int, int]] = []
    ranking = search(SMALL, 16, progress=lambda done, total: seen.append((done, total)))
    assert seen[-1] == (ranking.evaluated, ranking.evaluated)
    assert [done for done, _ in seen] == sorted(done for done, _ in seen)


def test_nothing_fits_says_how_much_is_missing() -> None:
    ranking = search(task("llama3.1-405b", "a100_80", 2048, 8192), 8)
    assert not len(ranking) and ranking.fitting == 0
    assert ranking.smallest_bytes > 80e9
    total = memory(Shapes.of(ModelConfig(**preset("llama3.1-405b"))), ranking.smallest).total
    assert np.ravel(total)[0] == ranking.smallest_bytes


def test_no_end_of_an_interval_is_faster_than_the_rated_peak() -> None:
    wide = replace(shipped_calibration(), spreads={"all": 2.0, "unknown chip": 2.0, "dense/jax/tpu_v5p": 2.0})
    job = replace(JOBS["apple"], calibration=wide)
    best = search(job, 64, lean=True).layouts.take([0])
    found = rank(job, best, Rated.of(load_chips()["tpu_v5p"], "bf16"))[0]
    assert found.mfu and found.mfu.value < found.mfu.high == pytest.approx(1.0)
    assert found.step.high > 5 * found.step.value


def test_priors_alone_are_enough_to_search() -> None:
    ranking = search(replace(SMALL, calibration=Calibration.prior()), 8, lean=True)
    assert len(ranking) and np.all(np.diff(ranking.step_seconds) >= 0)
    assert len(single()) == 1
