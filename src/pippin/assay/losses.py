"""From a step taken apart and a ledger to the waterfall: arithmetic alone, nothing is measured here.

The parts add up to the whole: each is a difference of two measurements or a measurement of its own, and what
they do not cover is a bar too, `unexplained`, whatever its sign. docs/waterfall.md has the method of each.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from pippin.assay import ablations
from pippin.assay.bars import Bar
from pippin.assay.job_products import attention_flops
from pippin.assay.run_time import RunTime
from pippin.assay.taken_apart import LAUNCH, PLACE, STEP, UPDATE, TakenApart
from pippin.assay.timing import median_interval
from pippin.job import Job
from pippin.models.counts import training_flops_per_token

_TURNS = ("rotary embedding, queries", "rotary embedding, keys")


@dataclass(frozen=True)
class Rates:
    """FLOP/s of all devices together: the highest measured, and the rated peak where there is one."""

    measured: float
    rated: float | None
    why_no_rated: str


@dataclass
class _Taken:
    """Per-round seconds of a step, and the bars made of them."""

    parts: TakenApart
    rates: Rates
    steps: int
    bars: list[Bar] = field(default_factory=list)

    def of(self, name: str) -> np.ndarray:
        return np.asarray(self.parts.rounds[name])

    def alone(self, *names: str) -> np.ndarray:
        """Seconds that a step spends in these components; none where the model has none. Each was launched
        alone, which a part of the step is not."""
        total = np.zeros(len(self.of(STEP)))
        for part in self.parts.components:
            if part.name in names:
                total += self.parts.micro_batches * part.calls * self.without_launch(part.name)
        return total

    def without_launch(self, name: str) -> np.ndarray:
        """Seconds of a program less those of launching one."""
        less: np.ndarray = self.of(name) - self.of(LAUNCH)
        return less

    def ideal(self, flops: float) -> float:
        """Seconds of that many FLOPs at the measured rate."""
        return flops / self.rates.measured

    def add(self, key: str, values: np.ndarray) -> None:
        """A bar from seconds of one step, a value a round."""
        self.bars.append(Bar(key, *median_interval((self.steps * values).tolist())))

    def difference(self, key: str, more: str, values: np.ndarray) -> None:
        """A bar from a program that was only compiled where there is something to lose; else nothing was
        lost, or it cannot be had."""
        if more in self.parts.rounds:
            self.add(key, values)
        else:
            reason = self.parts.missing.get(more)
            self.bars.append(Bar(key, None if reason else 0.0, reason=reason))


def waterfall(parts: TakenApart, job: Job, rates: Rates, run: RunTime) -> list[Bar]:
    """All bars: what the arithmetic takes at the peak, then the losses. They add up to `run.whole`."""
    taken = _Taken(parts, rates, run.steps)
    _arithmetic(taken, job)
    _in_the_step(taken, job)
    alone = run.steps * float(np.median(taken.of(STEP)))
    explained = sum(bar.seconds or 0.0 for bar in taken.bars)
    taken.bars += [Bar("unexplained", alone - explained), Bar("pace", run.step_seconds - alone)]
    names = ("input", "compile", "checkpoint", "evaluation", "start", "failures", "idle")
    return taken.bars + [Bar(name, getattr(run, name)) for name in names]


def split_flops(job: Job) -> tuple[float, float, float]:
    """FLOPs of a step, forward and backward: the layers' products, attention, the head."""
    shape, train = job.shape, job.train
    every = training_flops_per_token(shape, train.sequence_length) * job.tokens_per_step
    attention = 3 * attention_flops(shape, train.sequence_length) * shape.num_layers * train.batch_size
    head = 6 * shape.d_model * shape.vocab_size * job.tokens_per_step
    return every - attention - head, float(attention), float(head)


def _arithmetic(taken: _Taken, job: Job) -> None:
    rates, flops = taken.rates, taken.steps * sum(split_flops(job))
    measured = taken.ideal(flops)
    if rates.rated is None:
        taken.bars += [Bar("arithmetic", measured), Bar("matrix_rate", None, reason=rates.why_no_rated)]
    else:
        rated = flops / rates.rated
        taken.bars += [Bar("arithmetic", rated), Bar("matrix_rate", measured - rated)]


def _in_the_step(taken: _Taken, job: Job) -> None:
    layers, attention, head = split_flops(job)
    as_run, kept, alone, mute, bare = _chain(taken)
    names = [part.name for part in taken.parts.components if part.name.startswith("product ")]
    products = taken.alone(*(name for name in names if name != "product head"))
    taken.add("shapes", products - taken.ideal(layers))
    taken.difference("attention", ablations.NO_ATTENTION, alone - mute - taken.ideal(attention))
    taken.add("norms", taken.alone("norm"))
    gate = taken.alone("gate and down") - taken.alone("product down")
    taken.add("elementwise", gate + taken.alone(*_TURNS, "residual sum"))
    taken.add("embedding", taken.alone("embedding"))
    # Without attention's program its time would be in this difference too.
    has_mute = ablations.NO_ATTENTION in taken.parts.rounds
    last = ablations.NO_VOCABULARY if has_mute else ablations.NO_ATTENTION
    taken.difference("vocabulary", last, mute - bare - taken.ideal(head))
    taken.add("optimizer", taken.without_launch(UPDATE))
    taken.difference("recomputation", ablations.KEPT, as_run - kept)
    taken.difference("communication", ablations.ALONE, kept - alone)
    taken.bars.append(_bubble(job))
    taken.add("host", taken.of(PLACE) + taken.of(LAUNCH))


def _chain(taken: _Taken) -> Sequence[np.ndarray]:
    """Seconds of the gradients, each with one part less than before; a missing one is as the one before."""
    found = [taken.of(ablations.AS_RUN)]
    for name in (ablations.KEPT, ablations.ALONE, ablations.NO_ATTENTION, ablations.NO_VOCABULARY):
        found.append(taken.of(name) if name in taken.parts.rounds else found[-1])
    return found


def _bubble(job: Job) -> Bar:
    if job.mesh.stage == 1:
        return Bar("bubble", 0.0)
    return Bar(
        "bubble", None, reason="the waiting of stages is not timed apart: it is in what is unexplained"
    )
