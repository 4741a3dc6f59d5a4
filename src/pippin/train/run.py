"""A run's folder: one job, one writer, and the files that say what happened."""

from __future__ import annotations

import fcntl
import os
import time
from contextlib import ExitStack, suppress
from dataclasses import asdict
from functools import cached_property
from pathlib import Path
from typing import Any, Self

from pippin.data.dataset import Dataset
from pippin.errors import PippinError, explained
from pippin.job import Job, load_job
from pippin.parallel.degrees import describe, resolve
from pippin.storage import read_json, write_atomic, write_json
from pippin.train.ledger import Ledger
from pippin.train.setup import Machine, versions

JOB, RECORD, SUMMARY = "job.toml", "run.json", "summary.json"
LEDGER, METRICS, CHECKPOINTS, TOKENIZER = "ledger.jsonl", "metrics.jsonl", "checkpoints", "tokenizer.json"
IMPORTED = "import.json"
PREDICTION = "prediction.json"  # what the planner said before the first step
_LOCK = ".lock"


class RunFolder:
    """An output folder, locked while it is open.

    Args:
        path: created where it is missing.
        job: what runs in it. A folder with another job in it is refused and left as it is. None asks
            for a new or empty folder; the job is then given to `begin` later.
        begun: Unix time from which the ledger counts; a command gives its process's start.

    Raises:
        PippinError: it holds another job or other files, another process runs in it, or it cannot be
            written.
    """

    def __init__(self, path: Path, job: Job | None, *, begun: float | None = None) -> None:
        self.path = path
        self._job = job
        self._begun = time.time() if begun is None else begun
        self._closing = ExitStack()

    def __enter__(self) -> Self:
        with ExitStack() as opening:
            _refuse_other(self.path, self._job)
            with explained(self.path):
                self.path.mkdir(parents=True, exist_ok=True)
            self._lock(opening)
            if not (self.path / JOB).exists():
                (self.path / LEDGER).unlink(missing_ok=True)  # of an assay that was killed before it trained
                opening.push(self._forget_failed_start)
            if self._job:
                self.begin(self._job)
            self._closing = opening.pop_all()
        return self

    def __exit__(self, *details: Any) -> None:
        self._closing.__exit__(*details)

    @cached_property
    def ledger(self) -> Ledger:
        """Opened at its first use: to look at a finished run adds nothing to its account."""
        ledger = Ledger(self.path / LEDGER, begin=self._begun)
        self._closing.callback(ledger.close)
        return ledger

    @property
    def job(self) -> Job:
        if self._job is None:
            raise RuntimeError("the folder was opened without a job, and none has begun")
        return self._job

    def begin(self, job: Job) -> None:
        """Writes the job into the folder, unless it is there."""
        self._job = job
        if not (self.path / JOB).exists():
            write_atomic(self.path / JOB, job.to_toml())

    def record(self, machine: Machine, dataset: Dataset) -> None:
        """Writes down what this attempt runs on, beside the attempts before it.

        Raises:
            PippinError: the data are no longer those that the run began with.
        """
        path = self.path / RECORD
        record = read_json(path) if path.exists() else {"data_sha256": dataset.sha256, "attempts": []}
        if record["data_sha256"] != dataset.sha256:
            raise PippinError(
                f"the corpus '{self.job.data.corpus}' has changed since this run began",
                where=self.path,
                fix="restore the corpus, or choose another folder",
            )
        attempt = {
            "started": self.ledger.now(),
            "chip": asdict(machine.chip),
            "rules": machine.rules.rule_name,
            "choices": asdict(machine.choices),
            "compiler_options": machine.compiler_options,
            "layout": describe(resolve(self.job.mesh, machine.chip.num_devices), self.job.mesh),
            "run": self.job.run.model_dump(),
            "versions": versions(),
        }
        about = {"data": _about(dataset), **_about_initial(self.job)}
        record = {"job_hash": self.job.hash, **about, **record, "attempts": [*record["attempts"], attempt]}
        write_json(path, record)
        if not (self.path / TOKENIZER).exists():
            write_atomic(self.path / TOKENIZER, dataset.tokenizer_json)

    def summary(self) -> dict[str, Any] | None:
        """What the finished run says of itself; None before that."""
        path = self.path / SUMMARY
        return read_json(path) if path.exists() else None

    def _forget_failed_start(self, kind: type[BaseException] | None, *_: object) -> None:
        """Leaves the folder free for the corrected job where the first attempt never came to train."""
        if kind and not (self.path / RECORD).exists():
            with suppress(OSError):
                for name in (JOB, LEDGER, PREDICTION):
                    (self.path / name).unlink(missing_ok=True)

    def _lock(self, opening: ExitStack) -> None:
        with explained(self.path):
            descriptor = os.open(self.path / _LOCK, os.O_RDWR | os.O_CREAT, 0o644)
        opening.callback(os.close, descriptor)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise PippinError(
                "another process is running in this folder",
                where=self.path,
                fix="wait for it, or choose another",
            ) from error


def _about(dataset: Dataset) -> dict[str, str]:
    """What must be said of the data wherever the model goes."""
    manifest = dataset.manifest
    return {"corpus": manifest.name, "licence": manifest.licence, "source": manifest.source}


def _about_initial(job: Job) -> dict[str, Any]:
    """The other run that this one starts from, with what its folder says of itself."""
    if job.initial is None:
        return {}
    folder = job.initial.folder
    held = {name: folder / name for name in (IMPORTED, RECORD)}
    found = {name: read_json(path) for name, path in held.items() if path.exists()}
    found.get(RECORD, {}).pop("attempts", None)
    return {"initial": {"folder": str(folder), "parameter_sha256": job.initial.sha256, **found}}


def _is_leftover(name: str) -> bool:
    """Whether a process killed before it wrote its job may have left this."""
    return name == _LOCK or name.startswith(f".{JOB}.")


def _refuse_other(path: Path, job: Job | None) -> None:
    with explained(path):
        if not path.exists():
            return
        names = {entry.name for entry in path.iterdir()}
    # An assay that was killed before it trained leaves its lock and its ledger.
    if names == {_LOCK, LEDGER} or all(_is_leftover(name) for name in names):
        return
    if IMPORTED in names:
        raise PippinError(
            "the folder holds an imported model",
            where=path,
            fix="choose another folder; the job's model.initial names this one",
        )
    if job is None or not (path / JOB).exists():
        what = "the folder holds a run already" if (path / JOB).exists() else "the folder holds other files"
        raise PippinError(what, where=path, fix="choose a new or empty folder")
    existing = load_job(path / JOB)
    if existing.hash != job.hash:
        raise PippinError(
            f"the folder holds another job ({existing.hash[:12]}, this is {job.hash[:12]})",
            where=path,
            fix="choose another folder",
        )
