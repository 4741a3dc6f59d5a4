"""A known loss put into a step or a run moves its own bar, and no other.

Clocks here obey. A step's programs are those that are timed, traced and not compiled, and take the time that
a machine of fixed rates would: what was put in is known from the steps alone. In a run the ledger's clock
counts processor time, so that other programs on the machine take no part, and a "sleep" puts it forward.

The allowance of 5 % for every other bar is of the training's time with the loss in it, as the shares are.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import Array

from pippin.assay.bars import BARS
from pippin.assay.interleaved import Runs
from pippin.assay.losses import Rates, waterfall
from pippin.assay.run_time import RunTime, run_time
from pippin.assay.taken_apart import LAUNCH, PLACE, STEP, UPDATE, TakenApart, take_apart
from pippin.data.batches import Batch, Batches
from pippin.job import Job, make_job
from pippin.models.attention import BACKENDS, reference_attention
from pippin.models.attention.backends import Backend
from pippin.models.recompute import after
from pippin.parallel.objective import Part
from pippin.train import ledger
from pippin.train.checkpoint import Checkpoints
from pippin.train.ledger import read_ledger
from pippin.train.loop import pretrain
from pippin.train.observer import Observer
from pippin.train.run import LEDGER, RunFolder
from pippin.train.setup import find_machine, open_data
from pippin.train.signals import StopRequest
from pippin.train.step import Choices, Program

STEPS, BATCH, LENGTH = 10, 2, 64
# The machine of fixed rates: FLOP/s of products, bytes/s of everything else.
FLOPS_PER_SECOND, BYTES_PER_SECOND = 1e9, 4e9
RATES = Rates(FLOPS_PER_SECOND, None, "not rated")


def tiny_job(corpus: Path | None = None) -> Job:
    data = {"corpus": str(corpus)} if corpus else {}
    return make_job(
        {
            "model": {"d_model": 64, "num_layers": 2, "num_heads": 4, "num_kv_heads": 4, "ffn_dim": 128},
            "data": {"vocab_size": 300, "validation_fraction": 0.15, **data},
            "train": {"steps": STEPS, "batch_size": BATCH, "sequence_length": LENGTH},
            "run": {"checkpoint_every_steps": 5, "evaluate_every_steps": 5},
        }
    )


def twice(q: Array, k: Array, v: Array, segments: Array) -> Array:
    """Attention, and once more when that is there."""
    first = reference_attention(q, k, v, segments)
    return (first + reference_attention(after(q, first), k, v, segments)) / 2


class Machine:
    """Takes a function's time from what it does, by operation; nothing is compiled."""

    def __init__(self) -> None:
        self.now = 0.0

    def compiled(self, function: Callable[..., Any], *arguments: Any) -> Runs:
        seconds = work(jax.make_jaxpr(function)(*arguments).jaxpr)

        def run(calls: int) -> None:
            self.now += calls * seconds

        return run

    def seconds(self, run: Runs) -> float:
        start = self.now
        run(1)
        return self.now - start


def work(jaxpr: Any) -> float:
    """Seconds of all operations, of a loop times its turns."""
    return sum(_seconds(operation) for operation in jaxpr.eqns)


def _seconds(operation: Any) -> float:
    within = [work(inner) for inner in _inner(operation.params)]
    if within:
        return operation.params.get("length", 1) * sum(within)
    sizes = [math.prod(value.aval.shape) for value in operation.outvars]
    if operation.primitive.name == "dot_general":
        (summed, _), _ = operation.params["dimension_numbers"]
        depth = math.prod(operation.invars[0].aval.shape[axis] for axis in summed)
        return 2 * sizes[0] * depth / FLOPS_PER_SECOND
    sizes += [math.prod(getattr(value.aval, "shape", ())) for value in operation.invars]
    return 4 * sum(sizes) / BYTES_PER_SECOND


def _inner(parameters: dict[str, Any]) -> Iterator[Any]:
    """The functions that an operation calls; of one with a gradient rule of its own the function alone."""
    for name in ("jaxpr", "call_jaxpr", "fun_jaxpr"):
        if (found := parameters.get(name)) is not None:
            yield getattr(found, "jaxpr", found)
            return


def counted(choices: Choices) -> tuple[TakenApart, float]:
    """The job's step under these choices, taken apart on the machine of fixed rates, and its seconds."""
    job, machine = tiny_job(), Machine()
    program = Program(job, choices, compiled=False)
    tokens = np.random.default_rng(0).integers(0, 300, (BATCH, LENGTH + 1), np.int32)
    segments = np.zeros((BATCH, LENGTH), np.int32)
    batch = Batch(tokens[:, :-1], tokens[:, 1:], segments, 0, tokens.size, "")
    apart = take_apart(program, batch, machine.compiled)
    arrays = [jnp.asarray(array) for array in (batch.inputs, batch.targets, segments)]
    step = machine.compiled(program._update, program.initial_state(), *arrays, np.float32(0))
    gradients = program.spread.gradients
    gradients, sums = jax.eval_shape(gradients, program.initial_state()["parameters"], None, Part(*arrays))
    update = machine.compiled(program.apply_gradients, program.state_shapes, gradients, sums, np.float32(0))
    own = (STEP, PLACE, LAUNCH, UPDATE)
    seconds = {name: machine.seconds(run) for name, run in apart.programs.items() if name not in own}
    seconds |= {STEP: machine.seconds(step), UPDATE: machine.seconds(update), PLACE: 0.0, LAUNCH: 0.0}
    return apart.timed({name: [value] * 6 for name, value in seconds.items()}), seconds[STEP]


def run_of(step_seconds: float) -> RunTime:
    return RunTime(STEPS, 1, STEPS * step_seconds, 0, 0, 0, 0, 0, 0, 0, 0)


def bars_of(parts: TakenApart, job: Job, run: RunTime) -> dict[str, float]:
    return {bar.key: bar.seconds or 0.0 for bar in waterfall(parts, job, RATES, run)}


def check(before: dict[str, float], now: dict[str, float], key: str, injected: float, whole: float) -> None:
    assert sum(now.values()) == pytest.approx(whole, rel=0.02)
    moved = {name: now[name] - before[name] for name in BARS}
    assert moved[key] == pytest.approx(injected, rel=0.2)
    others = {name: change for name, change in moved.items() if name != key}
    worst = max(others, key=lambda name: abs(others[name]))
    assert abs(others[worst]) <= 0.05 * whole, (worst, moved, whole)


@pytest.fixture(scope="module")
def plain() -> tuple[TakenApart, float]:
    find_machine(tiny_job())  # sets the generator
    return counted(Choices("float32", "reference", scan_layers=True))


def test_the_plain_step_is_explained(plain: tuple[TakenApart, float]) -> None:
    parts, step = plain
    bars = {bar.key: bar for bar in waterfall(parts, tiny_job(), RATES, run_of(step))}
    assert abs(bars["unexplained"].seconds or 0.0) <= 0.1 * STEPS * step
    for key in ("recomputation", "communication", "bubble"):
        assert bars[key].seconds == 0.0 and bars[key].reason is None
    for key in ("attention", "norms", "elementwise", "embedding", "vocabulary", "optimizer"):
        assert (bars[key].seconds or 0.0) > 0


@pytest.mark.parametrize(
    ("key", "choices"),
    [
        ("attention", Choices("float32", "twice", scan_layers=True)),
        ("recomputation", Choices("float32", "reference", scan_layers=True, remat="full")),
    ],
)
def test_a_slower_step_moves_its_own_bar(
    key: str, choices: Choices, plain: tuple[TakenApart, float], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(BACKENDS, "twice", Backend(twice, lambda use: None))
    (parts, before), (slower, after) = plain, counted(choices)
    injected = STEPS * (after - before)
    assert injected > 0.1 * STEPS * before
    job = tiny_job()
    check(
        bars_of(parts, job, run_of(before)), bars_of(slower, job, run_of(after)), key, injected, STEPS * after
    )


def test_the_update_alone_is_the_steps_and_gives_the_state_back() -> None:
    """A step is its gradients and then the update; two rounds of it work on the same state."""
    program = Program(tiny_job(), Choices("float32", "reference", scan_layers=True))
    tokens = np.random.default_rng(0).integers(0, 300, (BATCH, LENGTH), np.int32)
    placed = Part(*program.spread.place(tokens, tokens, np.zeros_like(tokens)))
    gradients, sums = jax.jit(program.spread.gradients)(program.initial_state()["parameters"], None, placed)
    apply = program.lower_apply(gradients, sums).compile()
    state, (loss, *_) = apply(program.initial_state(), gradients, sums, np.float32(0.01))
    expected, result = program.step(program.initial_state(), *placed, 0.01)
    assert float(loss) == pytest.approx(result.loss, rel=1e-5)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5), state, expected)
    batch = Batch(tokens, tokens, np.zeros_like(tokens), 0, tokens.size, "")
    programs = take_apart(program, batch).programs
    for name in (UPDATE, STEP, UPDATE, STEP):
        programs[name](2)


class Sleeps:
    """A clock of processor time that can be put forward."""

    def __init__(self) -> None:
        self.slept = 0.0

    def perf_counter(self) -> float:
        return self.slept + time.process_time()

    def sleep(self, seconds: float) -> None:
        self.slept += seconds


class SlowValidation(Observer):
    """Takes its time whenever a validation tells how far it is."""

    def __init__(self, clock: Sleeps, seconds: float) -> None:
        self.clock, self.seconds, self.told = clock, seconds, 0

    def progress(self, done: int, total: int) -> None:
        self.clock.sleep(self.seconds)
        self.told += 1


def slowed(
    function: Callable[..., Any], clock: Sleeps, seconds: float, calls: list[float]
) -> Callable[..., Any]:
    def slow(*arguments: Any, **more: Any) -> Any:
        clock.sleep(seconds)
        calls.append(seconds)
        return function(*arguments, **more)

    return slow


@pytest.fixture(scope="module")
def bench(corpus: Path, home: Path) -> SimpleNamespace:
    job = tiny_job(corpus)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PIPPIN_CACHE_DIR", str(home / "cache"))
        dataset = open_data(job, Observer())
    machine = find_machine(job)
    return SimpleNamespace(job=job, dataset=dataset, machine=machine, program=Program(job, machine.choices))


@pytest.mark.parametrize("key", ["input", "evaluation", "checkpoint"])
def test_a_sleep_in_the_run_moves_its_own_bar(
    key: str,
    bench: SimpleNamespace,
    plain: tuple[TakenApart, float],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    clock = Sleeps()
    monkeypatch.setattr(ledger, "time", SimpleNamespace(time=time.time, perf_counter=clock.perf_counter))

    def train(name: str, observer: Observer) -> RunTime:
        with RunFolder(tmp_path / name, bench.job) as run:
            pretrain(run, bench.machine, bench.dataset, bench.program, observer, StopRequest())
        return run_time(read_ledger(tmp_path / name / LEDGER))

    before = train("before", Observer())
    slept: list[float] = []
    observer = Observer()
    with monkeypatch.context() as patch:
        if key == "input":
            patch.setattr(Batches, "at", slowed(Batches.at, clock, 0.4, slept))
        elif key == "checkpoint":
            patch.setattr(Checkpoints, "save", slowed(Checkpoints.save, clock, 2.0, slept))
        else:
            observer = SlowValidation(clock, 0.5)
        after = train("after", observer)
    injected = sum(slept) or 0.5 * getattr(observer, "told", 0)
    assert injected >= 2.0
    first, second = (bars_of(plain[0], bench.job, run) for run in (before, after))
    check(first, second, key, injected, after.whole)
