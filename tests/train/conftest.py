"""A small corpus, a small model compiled once, and runs of it in this process."""

from __future__ import annotations

import random
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from pippin.data.dataset import Dataset
from pippin.job import Job, make_job
from pippin.train.loop import Trained, pretrain
from pippin.train.metrics import read_metrics
from pippin.train.observer import Observer, RecordingObserver, StepReport
from pippin.train.run import METRICS, RunFolder
from pippin.train.setup import Machine, find_machine, open_data
from pippin.train.signals import Interrupted, StopRequest
from pippin.train.step import Program

WORDS = ["an", "apple", "seed", "grows", "in", "the", "orchard,", "naïve", "café", "pears", "1790", "雨"]
WORDS += ["rain", "of", "plum", "🍎", "trees.", "where\n"]
TIME_FIELDS = {"step_seconds", "input_wait_seconds", "tokens_per_second", "mfu", "peak_memory_bytes"}


@dataclass
class Bench:
    """One compiled program and its data; `train` runs jobs that differ in nothing it was compiled for."""

    corpus: Path
    machine: Machine
    dataset: Dataset
    program: Program

    def job(self, **tables: dict[str, Any]) -> Job:
        return tiny_job(self.corpus, **tables)

    def train(
        self,
        out: Path,
        job: Job | None = None,
        observer: Observer | None = None,
        *,
        program: Any = None,
        dataset: Dataset | None = None,
    ) -> Trained:
        """As `pippin train` does, without finding the machine and compiling again."""
        observer = observer or Observer()
        stop = observer.stop if isinstance(observer, StopAt) else StopRequest()
        with RunFolder(out, job or self.job()) as run:
            return pretrain(
                run, self.machine, dataset or self.dataset, program or self.program, observer, stop
            )

    def stop_at(self, out: Path, step: int, job: Job | None = None) -> None:
        """Trains until a stop is asked for after `step`."""
        with pytest.raises(Interrupted):
            self.train(out, job, StopAt(step))

    def metrics(self, out: Path) -> list[dict[str, Any]]:
        """A run's metrics less what depends on the clock."""
        return [
            {name: value for name, value in line.items() if name not in TIME_FIELDS}
            for line in read_metrics(out / METRICS)
        ]


class StopAt(RecordingObserver):
    """Asks for a stop as a signal does, once a step has ended."""

    def __init__(self, step: int) -> None:
        super().__init__()
        self.stop = StopRequest()
        self._at = step

    def step(self, report: StepReport) -> None:
        super().step(report)
        if report.step == self._at:
            self.stop.requested = 15


@pytest.fixture
def stop_at() -> type[StopAt]:
    """An observer that asks for a stop once the step given to it has ended."""
    return StopAt


def tiny_job(corpus: Path, **tables: dict[str, Any]) -> Job:
    """Two layers, 24 steps of 64 tokens, a checkpoint every 8; `tables` adds to it or replaces."""
    base: dict[str, dict[str, Any]] = {
        "model": {"d_model": 32, "num_layers": 2, "num_heads": 2, "num_kv_heads": 1, "ffn_dim": 48},
        "data": {"corpus": str(corpus), "vocab_size": 300, "validation_fraction": 0.15},
        "train": {"steps": 24, "batch_size": 2, "sequence_length": 32, "z_loss": 0.01},
        "run": {"checkpoint_every_steps": 8},
        "chip": {"compute_dtype": "float32"},
    }
    return make_job({name: table | tables.get(name, {}) for name, table in base.items()})


@pytest.fixture(scope="session")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("text") / "orchard"
    folder.mkdir()
    for number in range(30):
        generator = random.Random(number)
        text = " ".join(generator.choice(WORDS) for _ in range(60 + 5 * number))
        (folder / f"tree{number:02d}.txt").write_text(text)
    return folder


@pytest.fixture(scope="session")
def data_cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(autouse=True)
def _own_cache(data_cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PIPPIN_CACHE_DIR", str(data_cache))


@pytest.fixture(scope="session")
def bench(corpus: Path, data_cache: Path) -> Bench:
    job = tiny_job(corpus)
    machine = find_machine(job)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PIPPIN_CACHE_DIR", str(data_cache))
        dataset = open_data(job, Observer())
    return Bench(corpus, machine, dataset, Program(job, machine.choices))


@dataclass(frozen=True)
class FinishedRun:
    folder: Path
    trained: Trained
    observer: RecordingObserver


@pytest.fixture(scope="session")
def finished(bench: Bench, tmp_path_factory: pytest.TempPathFactory) -> FinishedRun:
    """An undisturbed run of the bench's job. Tests read it and leave it as it is."""
    folder = tmp_path_factory.mktemp("runs") / "undisturbed"
    observer = RecordingObserver()
    return FinishedRun(folder, bench.train(folder, observer=observer), observer)
