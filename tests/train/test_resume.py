"""A run that was stopped and went on is, bit for bit, the run that was not."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest

from pippin.errors import PippinError
from pippin.train.account import account, finished_steps
from pippin.train.checkpoint import steps_in
from pippin.train.digest import flatten
from pippin.train.ledger import read_ledger
from pippin.train.observer import Observer, RecordingObserver, StepReport

SUMMARY = ("steps", "tokens", "parameter_sha256", "validation_bits_per_byte", "job_hash")


class Die(RecordingObserver):
    """Ends the run as a kill does: nothing is saved after `step`."""

    def __init__(self, step: int) -> None:
        super().__init__()
        self._at = step

    def step(self, report: StepReport) -> None:
        super().step(report)
        if report.step == self._at:
            raise SystemExit


def assert_same_run(bench: Any, out: Path, finished: Any) -> None:
    summary, wanted = (json.loads((f / "summary.json").read_text()) for f in (out, finished.folder))
    assert {name: summary[name] for name in SUMMARY} == {name: wanted[name] for name in SUMMARY}
    assert bench.metrics(out) == bench.metrics(finished.folder)
    assert [line["step"] for line in bench.metrics(out)] == list(range(1, 25))
    steps, wanted_steps = (finished_steps(read_ledger(f / "ledger.jsonl")) for f in (out, finished.folder))
    # However often a step was repeated, it was always the same tokens.
    batches = {(span["step"], *span["tokens"], span["digest"]) for span in steps}
    assert batches == {(span["step"], *span["tokens"], span["digest"]) for span in wanted_steps}


@pytest.mark.parametrize("stops", [[1], [7, 8], [9, 15, 23]])
def test_stopped_and_gone_on(bench: Any, finished: Any, tmp_path: Path, stops: list[int]) -> None:
    for step in stops:
        bench.stop_at(tmp_path / "run", step)
        assert steps_in(tmp_path / "run" / "checkpoints")[-1] == step
        assert not (tmp_path / "run" / "summary.json").exists()
    trained = bench.train(tmp_path / "run")
    assert_same_run(bench, tmp_path / "run", finished)
    assert trained.summary["repeated_tokens"] == 0
    same = jax.tree.map(
        lambda a, b: bool((np.asarray(a) == np.asarray(b)).all()), trained.state, finished.trained.state
    )
    assert all(flatten(same).values())  # the optimiser's state too


@pytest.mark.parametrize("deaths", [[3], [8], [9, 10, 22], [24]])
def test_killed_and_started_again(bench: Any, finished: Any, tmp_path: Path, deaths: list[int]) -> None:
    out, observer = tmp_path / "run", RecordingObserver()
    for step in deaths:
        with pytest.raises(SystemExit):
            bench.train(out, observer=Die(step))
    trained = bench.train(out, observer=observer)
    assert observer.plans[0].first_step == (deaths[-1] - 1) // 8 * 8
    assert_same_run(bench, out, finished)
    totals = account(read_ledger(out / "ledger.jsonl"))
    # Each death throws away the steps after the last checkpoint.
    assert totals.repeated_tokens == sum((step - 1) % 8 + 1 for step in deaths) * 64
    assert trained.summary["repeated_tokens"] == totals.repeated_tokens
    assert totals.tokens == 24 * 64


@pytest.mark.parametrize(
    "saving",
    [
        {"checkpoint_every_steps": 1, "keep_checkpoints": 1},
        {"checkpoint_every_seconds": 1e-6},
        {"checkpoint_every_steps": 1000},
    ],
)
def test_how_often_it_saves_changes_nothing(
    bench: Any, finished: Any, tmp_path: Path, saving: dict[str, float]
) -> None:
    job = bench.job(run=saving)
    assert job.hash == bench.job().hash
    bench.stop_at(tmp_path / "run", 11, job)
    bench.train(tmp_path / "run", bench.job())
    assert_same_run(bench, tmp_path / "run", finished)


def test_by_default_it_saves_by_time_and_at_the_end(bench: Any, tmp_path: Path) -> None:
    observer = RecordingObserver()
    bench.train(tmp_path / "run", bench.job(run={"checkpoint_every_steps": 1000}), observer)
    assert observer.saves == [24]


def test_with_another_order_of_data_it_is_another_run(bench: Any, finished: Any, tmp_path: Path) -> None:
    """The comparisons above can fail."""
    trained = bench.train(tmp_path / "run", bench.job(train={"seed": 1}))
    assert trained.summary["parameter_sha256"] != finished.trained.summary["parameter_sha256"]
    assert bench.metrics(tmp_path / "run") != bench.metrics(finished.folder)


def test_a_damaged_checkpoint_costs_its_steps_and_nothing_else(
    bench: Any, finished: Any, tmp_path: Path
) -> None:
    out, observer = tmp_path / "run", RecordingObserver()
    bench.stop_at(out, 20)
    victim = max(
        (out / "checkpoints" / "step_000000020" / "arrays").rglob("*"), key=lambda p: p.stat().st_size
    )
    content = bytearray(victim.read_bytes())
    content[len(content) // 2] ^= 0x10
    victim.write_bytes(content)
    bench.train(out, observer=observer)
    assert observer.plans[0].first_step == 16
    assert len(observer.warnings) == 1 and "step_000000020" in observer.warnings[0]
    assert_same_run(bench, out, finished)


def test_killed_between_the_last_checkpoint_and_the_summary(
    bench: Any, finished: Any, tmp_path: Path
) -> None:
    out, observer = Path(shutil.copytree(finished.folder, tmp_path / "run")), RecordingObserver()
    (out / "summary.json").unlink()
    bench.train(out, observer=observer)
    assert observer.steps == []
    assert_same_run(bench, out, finished)


def test_metrics_that_lack_a_step_are_an_error_and_stay(bench: Any, tmp_path: Path) -> None:
    out = tmp_path / "run"
    bench.stop_at(out, 10)
    lines = (out / "metrics.jsonl").read_text().splitlines(keepends=True)
    (out / "metrics.jsonl").write_text("".join(lines[:4] + lines[5:]))
    with pytest.raises(PippinError, match=r"metrics\.jsonl: does not hold each of the first 10 steps"):
        bench.train(out)
    assert len((out / "metrics.jsonl").read_text().splitlines()) == 9


def test_an_observer_hears_of_every_step_save_and_phase(finished: Any) -> None:
    heard = finished.observer
    assert [report.step for report in heard.steps] == list(range(1, 25))
    assert heard.saves == [8, 16, 24]
    assert heard.warnings == []
    assert (heard.plans[0].total_steps, heard.plans[0].first_step, heard.plans[0].tokens_per_step) == (
        24,
        0,
        64,
    )
    assert heard.steps[-1].validation_bits_per_byte == finished.trained.summary["validation_bits_per_byte"]
    assert isinstance(heard, Observer)
