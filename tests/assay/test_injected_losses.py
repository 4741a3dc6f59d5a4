"""A known loss put into a step or a run moves its own bar, and no other.

In a step the clock is the real one: attention sleeps for a known time whenever it is computed. It runs once,
or twice, or backward computes it again; the three steps take turns, so that what else the machine does meets
all. In a run the ledger's clock counts processor time, so that other programs on the machine take no part,
and a "sleep" puts it forward.

"No other by more than 5 %" is of the time that was put in.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import jax
import numpy as np
import pytest
from jax import Array, lax

from pippin.assay.alone import update
from pippin.assay.bars import BARS
from pippin.assay.losses import Rates, waterfall
from pippin.assay.run_time import RunTime, run_time
from pippin.assay.timeline import NOTHING
from pippin.assay.traced import Group, StepTraces, Traced, group_bounds
from pippin.data.batches import Batch, Batches
from pippin.job import Job, make_job
from pippin.models import scopes
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
# Put in, a tiny step's own time and its noise weigh little beside it.
NAP_SECONDS, LAYERS = 0.12, 2
# So fast that no bar has much of its time taken off as arithmetic.
RATES = Rates(1e12, None, "not rated")
# Of such a length that every group of traced steps is one step.
TRACED_STEPS, STEP_SECONDS = 25, 0.2


def tiny_job(corpus: Path | None = None) -> Job:
    data = {"corpus": str(corpus)} if corpus else {}
    shape = {"d_model": 64, "num_layers": LAYERS, "num_heads": 4, "num_kv_heads": 4, "ffn_dim": 128}
    return make_job(
        {
            "model": shape,
            "data": {"vocab_size": 300, "validation_fraction": 0.15, **data},
            "train": {"steps": STEPS, "batch_size": BATCH, "sequence_length": LENGTH},
            "run": {"checkpoint_every_steps": 5, "evaluate_every_steps": 5},
        }
    )


class Naps:
    """Attention that sleeps whenever it is computed; `slept` has how long, each time."""

    def __init__(self) -> None:
        self.slept: list[float] = []

    def once(self, q: Array, k: Array, v: Array, segments: Array, /) -> Array:
        first = lax.stop_gradient(q[0, 0, 0, 0])
        zero = jax.pure_callback(self._nap, jax.ShapeDtypeStruct((), q.dtype), first)
        return reference_attention(q + zero, k, v, segments)

    def twice(self, q: Array, k: Array, v: Array, segments: Array, /) -> Array:
        """And once more when the first is there."""
        first = self.once(q, k, v, segments)
        return (first + self.once(after(q, first), k, v, segments)) / 2

    def _nap(self, value: Any) -> Any:
        begun = time.perf_counter()
        time.sleep(NAP_SECONDS)
        self.slept.append(time.perf_counter() - begun)
        return np.zeros_like(value)


class Stepping:
    """A job's step that is run and traced, as in a training."""

    def __init__(self, job: Job, choices: Choices, naps: Naps) -> None:
        self.job, self._naps = job, naps
        self._program = Program(job, choices, compiled=False)
        self._program._step = self._program.lower().compile()  # the evaluation is not needed
        self._state = self._program.initial_state()
        ledger: Any = SimpleNamespace(span=lambda *_: nullcontext())
        self._traces = StepTraces(self._program, ledger, TRACED_STEPS, STEP_SECONDS)
        self._took: list[float] = []
        self._slept: list[float] = []

    def step(self, number: int, tokens: np.ndarray) -> None:
        self._naps.slept.clear()
        batch = (tokens[:, :-1], tokens[:, 1:], np.zeros_like(tokens[:, 1:]))
        self._traces.begin(number)
        start = time.perf_counter()
        self._state, _ = self._program.step(self._state, *batch, 0.0)
        self._took.append(time.perf_counter() - start)
        self._traces.end(number)
        self._slept.append(sum(self._naps.slept))

    @property
    def bars(self) -> dict[str, float]:
        traced = self._traces.traced
        assert len(traced.groups) == 12, traced.reason
        return bars_of(traced, self.job, run_of(self.seconds))

    @property
    def seconds(self) -> float:
        """Of a step, the median: a machine that stalls once does not count."""
        return statistics.median(self._took)

    @property
    def slept(self) -> float:
        """Seconds of a step, the median."""
        return statistics.median(self._slept)


def run_of(step_seconds: float) -> RunTime:
    """A run of one such step."""
    return RunTime(1, 1, step_seconds, 0, 0, 0, 0, 0, 0, 0, 0)


def bars_of(traced: Traced, job: Job, run: RunTime) -> dict[str, float]:
    return {bar.key: bar.seconds or 0.0 for bar in waterfall(traced, job, RATES, run)}


def check(before: dict[str, float], now: dict[str, float], key: str, injected: float, whole: float) -> None:
    assert sum(now.values()) == pytest.approx(whole, rel=0.02)
    moved = {name: now[name] - before[name] for name in BARS}
    assert moved[key] == pytest.approx(injected, rel=0.2)
    others = {name: change for name, change in moved.items() if name != key}
    worst = max(others, key=lambda name: abs(others[name]))
    assert abs(others[worst]) <= 0.05 * injected, (worst, moved, injected)


@pytest.fixture(scope="module")
def steppings() -> dict[str, Stepping]:
    """Steps whose attention sleeps once a layer, and those with as much put in; a step of each in turn."""
    job, naps = tiny_job(), Naps()
    find_machine(job)  # sets the generator
    with pytest.MonkeyPatch.context() as patch:
        for name in ("once", "twice"):
            patch.setitem(BACKENDS, name, Backend(getattr(naps, name), lambda use: None))
        choices = {
            "plain": Choices("float32", "once", scan_layers=True),
            "attention": Choices("float32", "twice", scan_layers=True),
            "recomputation": Choices("float32", "once", scan_layers=True, remat="full"),
        }
        found = {key: Stepping(job, choice, naps) for key, choice in choices.items()}
    tokens = np.random.default_rng(0).integers(0, 300, (BATCH, LENGTH + 1), np.int32)
    # The first one warms up; of the others those are run that are traced.
    for number in (1, *(first for first, _ in group_bounds(TRACED_STEPS, STEP_SECONDS))):
        for stepping in found.values():
            stepping.step(number, tokens)
    return found


@pytest.mark.parametrize("key", ["attention", "recomputation"])
def test_a_slower_step_moves_its_own_bar(key: str, steppings: dict[str, Stepping]) -> None:
    plain, slower = steppings["plain"], steppings[key]
    injected = slower.slept - plain.slept
    assert injected == pytest.approx(LAYERS * NAP_SECONDS, rel=0.1)
    check(plain.bars, slower.bars, key, injected, slower.seconds)


def test_the_plain_step_is_explained(steppings: dict[str, Stepping]) -> None:
    bars = steppings["plain"].bars
    assert abs(bars["unexplained"]) <= 0.02 * steppings["plain"].seconds
    assert bars["recomputation"] == bars["communication"] == bars["bubble"] == 0.0
    for key in ("attention", "norms", "elementwise", "embedding", "vocabulary", "optimizer", "host"):
        assert bars[key] > 0


def test_the_update_alone_is_the_steps_and_gives_the_state_back() -> None:
    """A step is its gradients and then the update; the update alone takes its own state on."""
    program = Program(tiny_job(), Choices("float32", "reference", scan_layers=True), compiled=False)
    program._step = program.lower().compile()
    tokens = np.random.default_rng(0).integers(0, 300, (BATCH, LENGTH), np.int32)
    placed = Part(*program.spread.place(tokens, tokens, np.zeros_like(tokens)))
    gradients, sums = jax.jit(program.spread.gradients)(program.initial_state()["parameters"], None, placed)
    apply = program.lower_apply(gradients, sums).compile()
    state, (loss, *_) = apply(program.initial_state(), gradients, sums, np.float32(0.01))
    expected, result = program.step(program.initial_state(), *placed, 0.01)
    assert float(loss) == pytest.approx(result.loss, rel=1e-5)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5), state, expected)
    batch = Batch(tokens, tokens, np.zeros_like(tokens), 0, tokens.size, "")
    update(program, batch)(2)


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
            patch.setattr(Batches, "at", slowed(Batches.at, clock, 4.0, slept))
        elif key == "checkpoint":
            patch.setattr(Checkpoints, "save", slowed(Checkpoints.save, clock, 20.0, slept))
        else:
            observer = SlowValidation(clock, 0.5)
        after = train("after", observer)
    injected = sum(slept) or 0.5 * getattr(observer, "told", 0)
    assert injected >= 40.0
    traced = Traced([Group(2, 3, 1.0, {scopes.PRODUCT: 0.8, NOTHING: 0.2})] * 6)
    first, second = (bars_of(traced, bench.job, run) for run in (before, after))
    check(first, second, key, injected, after.whole)
