"""Runs that start from the last parameters of another."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pippin.errors import PippinError
from pippin.job import Job, load_job, make_job
from pippin.train.digest import parameter_sha256
from pippin.train.initial import initial_values
from pippin.train.loop import train
from pippin.train.observer import Observer, RecordingObserver
from pippin.train.setup import open_data

TRAIN = {"steps": 6, "batch_size": 2, "sequence_length": 32, "z_loss": 0.01, "seed": 3}


@pytest.fixture
def other(finished: Any, tmp_path: Path) -> Path:
    """A finished run, to start from and to damage."""
    return Path(shutil.copytree(finished.folder, tmp_path / "other"))


def job_from(folder: Path, bench: Any, **changes: Any) -> Job:
    """As a user writes it: neither shape nor tokenizer nor digest."""
    return make_job(
        {
            "model": {"initial": str(folder)} | changes.pop("model", {}),
            "data": {"corpus": str(bench.corpus), "validation_fraction": 0.15},
            "train": TRAIN | changes,
            "chip": {"compute_dtype": "float32"},
        }
    )


def test_it_starts_where_the_other_ended(bench: Any, finished: Any, other: Path, tmp_path: Path) -> None:
    job, seen = job_from(other, bench), RecordingObserver()
    assert job.shape == bench.job().shape
    bench.train(tmp_path / "run", job, seen)
    # Of a new model the loss is about ln 300 = 5.7; the other run came well below that.
    first, ended = seen.steps[0].loss, finished.observer.steps[-1].loss
    assert abs(first - ended) < 0.5 < finished.observer.steps[0].loss - first
    assert f"reading the initial values from {other}" in seen.phases


def test_the_values_are_the_others(bench: Any, finished: Any, other: Path) -> None:
    values = initial_values(job_from(other, bench), lambda _: None)
    assert parameter_sha256(values) == finished.trained.summary["parameter_sha256"]
    drawn = initial_values(bench.job(), lambda _: None)
    assert not np.array_equal(drawn["embedding"], values["embedding"])


def test_the_hash_has_the_values_and_not_their_place(bench: Any, other: Path, tmp_path: Path) -> None:
    job = job_from(other, bench)
    moved = job_from(Path(shutil.copytree(other, tmp_path / "moved")), bench)
    assert job.hash == moved.hash
    summary = json.loads((other / "summary.json").read_text())
    (other / "summary.json").write_text(json.dumps(summary | {"parameter_sha256": "0" * 64}))
    assert job_from(other, bench).hash != job.hash
    fields = {**job.model_dump(), "model": job.shape.model_dump()}
    assert make_job(fields).hash != job.hash  # the same job from its seed


def test_the_tokenizer_is_the_others(bench: Any, other: Path) -> None:
    assert open_data(job_from(other, bench), Observer()).sha256 == bench.dataset.sha256


def test_a_run_goes_on_when_the_other_is_gone(bench: Any, other: Path, tmp_path: Path) -> None:
    job, out = job_from(other, bench), tmp_path / "run"
    whole = bench.train(tmp_path / "whole", job).summary
    bench.stop_at(out, 2, job)
    shutil.rmtree(other)
    kept = load_job(out / "job.toml")
    assert (kept.hash, kept.initial) == (job.hash, job.initial)
    dataset = open_data(kept, Observer(), kept_tokenizer=out / "tokenizer.json")
    assert bench.train(out, kept, dataset=dataset).summary["parameter_sha256"] == whole["parameter_sha256"]


def assert_refused(job: Job, message: str) -> None:
    with pytest.raises(PippinError, match=message) as caught:
        initial_values(job, lambda _: None)
    assert "\n" not in str(caught.value)


def test_values_that_are_gone_or_others_are_refused(bench: Any, other: Path, tmp_path: Path) -> None:
    job = job_from(other, bench, model={"initial_sha256": "0" * 64})
    assert_refused(job, "not the initial values of the job")
    job = job_from(other, bench)
    (other / "checkpoints").rename(other / "elsewhere")
    assert_refused(job, "nothing saved yet")
    shutil.rmtree(other)
    assert_refused(job, "the initial values are not there any more")
    with pytest.raises(PippinError, match="no such file or folder"):
        train(job, tmp_path / "run")  # the tokenizer is missed first
    assert not (tmp_path / "run" / "job.toml").exists()


def test_another_shape_is_refused(bench: Any, other: Path) -> None:
    shape = bench.job().shape.model_dump(exclude_none=True) | {"ffn_dim": 64}
    with pytest.raises(PippinError, match=r"another shape: parameters\.layers\.down"):
        initial_values(job_from(other, bench, model=shape), lambda _: None)


@pytest.mark.parametrize(
    ("model", "message"),
    [
        ({"initial": "nowhere"}, "model.initial: no finished run and no imported model in nowhere"),
        ({"initial": 3}, "model.initial: should be a string"),
        ({"initial": "x", "initial_sha256": 3}, "model.initial_sha256: should be a string"),
        ({"preset": "pippin-3m", "initial_sha256": "ab"}, "initial_sha256 without model.initial"),
    ],
)
def test_a_job_that_names_no_run(model: dict[str, Any], message: str) -> None:
    with pytest.raises(PippinError, match=message):
        make_job({"model": model, "train": {"steps": 1}})


def test_a_summary_without_a_digest(tmp_path: Path) -> None:
    (tmp_path / "summary.json").write_text("[]")
    with pytest.raises(PippinError, match=r"summary.json: it has no parameter_sha256"):
        make_job({"model": {"initial": str(tmp_path)}, "train": {"steps": 1}})
