"""Pretraining, as a recipe."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from pathlib import Path
from time import monotonic
from typing import Any

import jax

from pippin.data.dataset import Dataset
from pippin.devices import peak_memory_bytes
from pippin.errors import PippinError
from pippin.job import Job
from pippin.models.counts import num_parameters
from pippin.storage import write_json
from pippin.train.account import account
from pippin.train.checkpoint import Checkpoints, Identity
from pippin.train.digest import parameter_sha256
from pippin.train.evaluate import bits_per_byte
from pippin.train.initial import initial_values
from pippin.train.ledger import read_ledger
from pippin.train.metrics import MetricsLog
from pippin.train.observer import Observer, RunPlan, StepReport
from pippin.train.profile import Marks, ProfileSteps, Tracer
from pippin.train.run import CHECKPOINTS, LEDGER, METRICS, SUMMARY, TOKENIZER, RunFolder
from pippin.train.schedule import learning_rate
from pippin.train.setup import Machine, find_machine, mfu, open_data, training_batches
from pippin.train.signals import Interrupted, StopRequest
from pippin.train.step import Program, State, StepResult


@dataclass(frozen=True)
class Trained:
    """A finished run: its summary as in `summary.json`, and the state on the device (None if it was
    finished before this call)."""

    summary: dict[str, Any]
    state: State | None


def train(
    job: Job,
    out: Path,
    observer: Observer | None = None,
    *,
    begun: float | None = None,
    profile: ProfileSteps | None = None,
) -> Trained:
    """Pretrains a job in a folder; called again on the same folder, goes on where it stopped.

    `profile` names steps of which a trace is left in the folder.

    Raises:
        PippinError: see `RunFolder`, `open_data`, `pretrain`.
        Interrupted: Ctrl-C or SIGTERM; the state was saved.
    """
    observer = observer or Observer()
    with (
        StopRequest() as stop,
        RunFolder(out, job, begun=begun) as run,
        Tracer(profile, run) as tracer,
    ):
        if summary := run.summary():
            if tracer.missed:
                observer.warn("the run was finished already: no step was traced")
            return Trained(summary, None)
        with run.ledger.span("restart", "device and data"):
            machine = find_machine(job)
        with run.ledger.span("data", "corpus"):
            dataset = open_data(job, observer, kept_tokenizer=out / TOKENIZER)
        observer.phase("compiling")
        with run.ledger.span("compile"):
            program = Program(job, machine.choices)
        trained = pretrain(run, machine, dataset, program, observer, stop, tracer)
        if tracer.missed:
            observer.warn("none of the steps to trace was among those that ran: no trace was written")
        return trained


def pretrain(
    run: RunFolder,
    machine: Machine,
    dataset: Dataset,
    program: Program,
    observer: Observer,
    stop: StopRequest,
    tracer: Marks | None = None,
) -> Trained:
    """The loop. Everything it needs is open; it leaves a final checkpoint and `summary.json`.

    Raises:
        PippinError: a non-finite loss (the update dropped, earlier checkpoints kept), a full disk, a
            checkpoint that cannot be used.
        Interrupted: asked to stop; saved first.
    """
    job, ledger, total = run.job, run.ledger, run.job.train.steps
    tracer = tracer or Tracer(None, run)
    run.record(machine, dataset)
    train_table = job.train
    batches = training_batches(job, dataset)
    saver = _Saver(run, dataset, observer)
    with ledger.span("restart", "initial or saved state"):
        step, state = saver.restore(program)
        metrics = MetricsLog(run.path / METRICS, after_step=step)
    saver.attach(metrics, step)
    observer.started(_plan(job, machine, step))

    bits = None
    while step < total:
        with ledger.span("data") as waited:
            batch = batches.at(step)
            rate = learning_rate(train_table, step)
        tracer.begin(step + 1)
        with ledger.span("step") as span:
            state, result = program.step(state, batch.inputs, batch.targets, batch.segments, rate)
            # A dropped step consumed its tokens for nothing: folds over `tokens` pass it by.
            tokens = "tokens" if result.finite else "dropped_tokens"
            span.fields = {
                "step": step + 1,
                tokens: [batch.first_token, batch.stop_token],
                "digest": batch.digest,
            }
        tracer.end(step + 1)
        if not result.finite:
            raise _not_finite(step + 1, result, saver.last_step)
        step += 1
        if bits := _validation(run, program, state, dataset, observer, step):
            observer.phase("training")
        line = _metrics_line(job, machine, step, result, rate, span.seconds, waited.seconds, bits)
        metrics.write(line)
        observer.step(_report(line))
        if step == total or stop.requested or saver.due(step):
            saver.save(step, state)
        if stop.requested and step < total:
            message = f"stopped after step {step} of {total}, saved; the same command goes on from there"
            raise Interrupted(stop.requested, message)
    metrics.close()
    if bits is None:  # killed between the last checkpoint and the summary
        bits = _evaluate(run, program, state, dataset, observer)
    summary = _summary(run, state, bits)
    write_json(run.path / SUMMARY, summary)
    return Trained(summary, state)


class _Saver:
    """When to save, and how: metrics and ledger reach the disk before the checkpoint that implies them."""

    def __init__(self, run: RunFolder, dataset: Dataset, observer: Observer) -> None:
        self._run, self._observer, self._table = run, observer, run.job.run
        identity = Identity(run.job.hash, dataset.sha256)
        self._checkpoints = Checkpoints(run.path / CHECKPOINTS, identity, keep=self._table.keep_checkpoints)
        self.last_step = 0

    def restore(self, program: Program) -> tuple[int, State]:
        """The newest checkpoint's step and state, or step 0 and a new state."""
        saved = self._checkpoints.restore_newest(program.state_shapes, self._observer.warn)
        if saved:
            return saved[0], program.saved_state(saved[1])
        return 0, program.initial_state(initial_values(self._run.job, self._observer.phase))

    def attach(self, metrics: MetricsLog, step: int) -> None:
        self._metrics, self.last_step, self._last_time = metrics, step, monotonic()

    def due(self, step: int) -> bool:
        """Whether the interval by time or by steps is over."""
        seconds, steps = self._table.checkpoint_every_seconds, self._table.checkpoint_every_steps
        return monotonic() - self._last_time >= seconds or (steps is not None and step % steps == 0)

    def save(self, step: int, state: State) -> None:
        with self._run.ledger.span("checkpoint") as span:
            self._metrics.sync()
            self._run.ledger.sync()
            self._checkpoints.save(step, state)
        self.last_step, self._last_time = step, monotonic()
        self._observer.saved(step, span.seconds)


def _validation(
    run: RunFolder, program: Program, state: State, dataset: Dataset, observer: Observer, step: int
) -> float | None:
    """Bits per byte where a validation is due after this step."""
    every = run.job.run.evaluate_every_steps
    if step != run.job.train.steps and not (every and step % every == 0):
        return None
    return _evaluate(run, program, state, dataset, observer)


def _evaluate(run: RunFolder, program: Program, state: State, dataset: Dataset, observer: Observer) -> float:
    observer.phase("validating")
    with run.ledger.span("evaluation", "validation"):
        bits = bits_per_byte(program, state["parameters"], dataset, progress=observer.progress)
    if not math.isfinite(bits):
        raise PippinError(
            f"the validation gives {bits} bits per byte: the run has diverged and stopped",
            where="train",
            fix="lower train.learning_rate; an earlier checkpoint, if any, was kept",
        )
    return bits


def _not_finite(step: int, result: StepResult, saved_step: int) -> PippinError:
    kept = (
        f"the checkpoint of step {saved_step} is the last good one" if saved_step else "nothing was saved yet"
    )
    return PippinError(
        f"the loss of step {step} is {result.loss}, its gradient norm {result.gradient_norm}: "
        f"the update was dropped and the run stopped; {kept}",
        where="train",
        fix="lower train.learning_rate, or look at the data: ledger.jsonl has this step's tokens and digest",
    )


def _metrics_line(
    job: Job,
    machine: Machine,
    step: int,
    result: StepResult,
    rate: float,
    seconds: float,
    waited: float,
    bits: float | None,
) -> dict[str, Any]:
    speed = job.tokens_per_step / seconds
    line = {
        "step": step,
        "tokens": step * job.tokens_per_step,
        "loss": result.loss,
        "gradient_norm": result.gradient_norm,
        "learning_rate": rate,
        "step_seconds": seconds,
        "input_wait_seconds": waited,
        "tokens_per_second": speed,
        "mfu": mfu(job, machine, speed),
        "peak_memory_bytes": peak_memory_bytes(jax.local_devices()),
        **result.router,
    }
    return line if bits is None else line | {"validation_bits_per_byte": bits}


def _report(line: dict[str, Any]) -> StepReport:
    return StepReport(
        line["step"],
        line["tokens"],
        line["loss"],
        line["tokens_per_second"],
        line.get("validation_bits_per_byte"),
    )


def _plan(job: Job, machine: Machine, step: int) -> RunPlan:
    chosen = asdict(machine.choices)
    del chosen["attention_reason"]  # in run.json and the report
    choices = ", ".join(f"{name} {value}" for name, value in chosen.items())
    return RunPlan(job.train.steps, step, job.tokens_per_step, num_parameters(job.shape), choices)


def _summary(run: RunFolder, state: State, bits: float) -> dict[str, Any]:
    totals = account(read_ledger(run.path / LEDGER))
    return {
        "steps": run.job.train.steps,
        "tokens": run.job.train.steps * run.job.tokens_per_step,
        "parameter_sha256": parameter_sha256(state["parameters"]),
        "validation_bits_per_byte": bits,
        "job_hash": run.job.hash,
        "repeated_tokens": totals.repeated_tokens,
        "tokens_per_second": totals.tokens_per_second,
        "tokens_per_second_end_to_end": totals.tokens_per_second_end_to_end,
        "wall_seconds": totals.wall_seconds,
    }
