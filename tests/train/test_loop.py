"""What a run leaves behind, checked against its ledger alone; and a loss that is not finite."""

from __future__ import annotations

import itertools
import json
import math
import re
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest

import pippin.train.loop
from pippin.errors import PippinError
from pippin.train.checkpoint import steps_in
from pippin.train.digest import flatten, parameter_sha256
from pippin.train.ledger import CATEGORIES
from pippin.train.loop import train
from pippin.train.observer import RecordingObserver

FIELDS = {
    "step",
    "tokens",
    "loss",
    "gradient_norm",
    "learning_rate",
    "step_seconds",
    "input_wait_seconds",
    "peak_memory_bytes",
    "tokens_per_second",
    "mfu",
}


def lines_of(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_both_rates_follow_from_the_ledger_alone(finished: Any) -> None:
    spans = lines_of(finished.folder / "ledger.jsonl")
    summary = json.loads((finished.folder / "summary.json").read_text())
    steps = [span for span in spans if span["category"] == "step"]
    tokens = [span["tokens"][1] - span["tokens"][0] for span in steps]
    in_steps = sum(tokens[1:]) / sum(span["end"] - span["start"] for span in steps[1:])
    # The summary is made just before the ledger is closed. This run lasts a second only, so that span is
    # left out here; `pippin train` is held to the whole ledger in tests/cli.
    assert spans[-1]["name"] == "stopped"
    end_to_end = sum(tokens) / (spans[-2]["end"] - spans[0]["start"])
    assert summary["tokens_per_second"] == pytest.approx(in_steps, rel=0.001)
    assert summary["tokens_per_second_end_to_end"] == pytest.approx(end_to_end, rel=0.001)
    assert end_to_end < in_steps


def test_the_ledger_has_every_second_in_one_category(finished: Any) -> None:
    spans = lines_of(finished.folder / "ledger.jsonl")
    for earlier, later in itertools.pairwise(spans):
        assert 0 <= later["start"] - earlier["end"] <= 0.1
    assert {span["category"] for span in spans} <= set(CATEGORIES)
    names = {span["category"] for span in spans}
    assert {"restart", "data", "step", "evaluation", "checkpoint"} <= names


def test_every_step_has_its_tokens_and_the_digest_of_its_batch(finished: Any) -> None:
    steps = [span for span in lines_of(finished.folder / "ledger.jsonl") if span["category"] == "step"]
    assert [span["step"] for span in steps] == list(range(1, 25))
    assert [span["tokens"] for span in steps] == [[64 * n, 64 * (n + 1)] for n in range(24)]
    assert len({span["digest"] for span in steps}) == 24


def test_metrics_have_each_step_once_and_the_last_one_a_validation(finished: Any) -> None:
    lines = lines_of(finished.folder / "metrics.jsonl")
    assert [line["step"] for line in lines] == list(range(1, 25))
    assert all(line.keys() == FIELDS for line in lines[:-1])
    assert lines[-1].keys() == FIELDS | {"validation_bits_per_byte"}
    assert [line["tokens"] for line in lines] == [64 * n for n in range(1, 25)]
    for line in lines:
        assert line["tokens_per_second"] == pytest.approx(64 / line["step_seconds"])
        assert math.isfinite(line["loss"]) and line["gradient_norm"] > 0
    # It learns: from chance, ln 300, to well below.
    assert lines[0]["loss"] == pytest.approx(math.log(300), abs=0.3)
    assert np.mean([line["loss"] for line in lines[-4:]]) < lines[0]["loss"] - 0.5


def test_the_summary_says_what_was_trained(bench: Any, finished: Any) -> None:
    summary = json.loads((finished.folder / "summary.json").read_text())
    last = lines_of(finished.folder / "metrics.jsonl")[-1]
    assert (summary["steps"], summary["tokens"]) == (24, 24 * 64)
    assert summary["validation_bits_per_byte"] == last["validation_bits_per_byte"]
    assert summary["parameter_sha256"] == parameter_sha256(finished.trained.state["parameters"])
    assert summary["job_hash"] == bench.job().hash


def test_validations_in_between_stand_in_the_metrics(bench: Any, finished: Any, tmp_path: Path) -> None:
    observer = RecordingObserver()
    trained = bench.train(tmp_path / "run", bench.job(run={"evaluate_every_steps": 10}), observer)
    lines = lines_of(tmp_path / "run" / "metrics.jsonl")
    assert [line["step"] for line in lines if "validation_bits_per_byte" in line] == [10, 20, 24]
    evaluations = [s for s in lines_of(tmp_path / "run" / "ledger.jsonl") if s["category"] == "evaluation"]
    assert len(evaluations) == 3
    assert trained.summary["parameter_sha256"] == finished.trained.summary["parameter_sha256"]


def test_train_does_all_of_it_and_a_finished_run_is_left_as_it_is(
    bench: Any, finished: Any, tmp_path: Path
) -> None:
    """`train` with everything of its own: machine, data, compilation."""
    out, observer = tmp_path / "run", RecordingObserver()
    trained = train(bench.job(), out, observer)
    assert trained.summary["parameter_sha256"] == finished.trained.summary["parameter_sha256"]
    assert bench.metrics(out) == bench.metrics(finished.folder)
    categories = [span["category"] for span in lines_of(out / "ledger.jsonl")]
    assert categories.count("compile") == 1
    assert "compiling" in observer.phases
    before = {path: path.read_bytes() for path in out.rglob("*") if path.is_file()}
    again = train(bench.job(), out, observer)
    assert again.state is None
    assert again.summary == trained.summary
    assert {path: path.read_bytes() for path in out.rglob("*") if path.is_file()} == before


def test_a_bad_update_is_dropped_inside_the_compiled_step(bench: Any) -> None:
    """The old buffers are donated: if the select were missing, the old values would be gone."""
    state = bench.program.initial_state()
    rows = np.zeros((2, 32), np.int32)
    state, result = bench.program.step(state, rows, rows, rows, 1e-3)
    assert result.finite
    poisoned = np.array(state["parameters"]["final_norm"])
    poisoned[5] = np.nan
    state["parameters"]["final_norm"] = jax.device_put(poisoned)
    before = {name: np.array(leaf).tobytes() for name, leaf in flatten(state).items()}
    after, result = bench.program.step(state, rows, rows, rows, 1e-3)
    assert not result.finite and math.isnan(result.loss)
    assert {name: np.array(leaf).tobytes() for name, leaf in flatten(after).items()} == before


def test_a_good_update_changes_every_array(bench: Any) -> None:
    state = bench.program.initial_state()
    before = {name: np.array(leaf) for name, leaf in flatten(state).items()}
    rows = np.arange(64, dtype=np.int32).reshape(2, 32)
    after, _ = bench.program.step(state, rows, rows + 1, np.zeros_like(rows), 1e-3)
    assert all((np.array(leaf) != before[name]).any() for name, leaf in flatten(after).items())


def test_a_loss_that_is_not_finite_stops_the_run_and_keeps_the_last_checkpoint(
    bench: Any, finished: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out, usual = tmp_path / "run", pippin.train.loop.learning_rate

    def explodes(table: Any, step: int) -> float:
        return 1e38 if step == 10 else usual(table, step)

    monkeypatch.setattr(pippin.train.loop, "learning_rate", explodes)
    with pytest.raises(PippinError) as caught:
        bench.train(out)
    message = str(caught.value)
    # Step 11 throws the parameters far off; the loss or the gradient of step 12 is the first to see them.
    assert re.search(r"the loss of step 12 is .*(nan|inf)", message)
    assert "the update was dropped" in message and "step 8 is the last good one" in message
    assert "\n" not in message
    assert steps_in(out / "checkpoints") == [8]
    assert not (out / "summary.json").exists()
    assert [line["step"] for line in lines_of(out / "metrics.jsonl")] == list(range(1, 12))
    steps = [span for span in lines_of(out / "ledger.jsonl") if span["category"] == "step"]
    assert len(steps) == 12 and "tokens" not in steps[-1]
    # With the cause gone the same folder goes on, and no trace of it is left.
    monkeypatch.setattr(pippin.train.loop, "learning_rate", usual)
    bench.train(out)
    assert bench.metrics(out) == bench.metrics(finished.folder)


def test_a_loss_that_is_not_finite_before_the_first_checkpoint(
    bench: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pippin.train.loop, "learning_rate", lambda table, step: 1e38)
    with pytest.raises(PippinError, match=r"the loss of step 2 is .* nothing was saved yet"):
        bench.train(tmp_path / "run")


def test_the_same_job_gives_the_same_bits_in_another_folder(
    bench: Any, finished: Any, tmp_path: Path
) -> None:
    trained = bench.train(tmp_path / "elsewhere")
    assert trained.summary["parameter_sha256"] == finished.trained.summary["parameter_sha256"]


def test_a_validation_that_is_not_finite_stops_the_run(
    bench: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A run may diverge in its last step: that step's own loss came before the update."""
    monkeypatch.setattr(pippin.train.loop, "bits_per_byte", lambda *_, **__: math.nan)
    with pytest.raises(PippinError, match="nan bits per byte: the run has diverged"):
        bench.train(tmp_path / "run")
    assert not (tmp_path / "run" / "summary.json").exists()
