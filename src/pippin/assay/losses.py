"""From traced steps and a ledger to the waterfall: arithmetic alone, nothing is measured here.

The bars add up to the whole: every second of a traced step is a part's, or nothing ran in it; all seconds of
the steps, and all others, are in the ledger. docs/waterfall.md has the method of each.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from pippin.assay.bars import Bar
from pippin.assay.hlo import COMMUNICATION, RECOMPUTATION
from pippin.assay.job_products import attention_flops
from pippin.assay.run_time import RunTime
from pippin.assay.timeline import NOTHING
from pippin.assay.timing import median_interval
from pippin.assay.traced import Traced
from pippin.job import Job
from pippin.models import scopes
from pippin.models.counts import training_flops_per_token

_ELEMENTWISE = (
    scopes.ROTARY, scopes.GATE, scopes.RESIDUAL, scopes.LAYERS, scopes.ACCUMULATION,
)  # fmt: skip


@dataclass(frozen=True)
class Rates:
    """FLOP/s of all devices together: the highest measured, and the rated peak where there is one."""

    measured: float
    rated: float | None
    why_no_rated: str


@dataclass
class _Taken:
    """The steps of a run, and the bars made of them."""

    traced: Traced
    rates: Rates
    run: RunTime
    bars: list[Bar] = field(default_factory=list)

    def ideal(self, flops: float) -> float:
        """Seconds that as many FLOPs in each step take at the measured rate."""
        return self.run.steps * flops / self.rates.measured

    def add(self, key: str, *parts: str, less: float = 0.0) -> None:
        """A bar of the share that these parts had of each group of traced steps. That of the run's steps is
        taken to be the same: what slows the machine slows a step as a whole."""
        if not self.traced.groups:
            self.bars.append(Bar(key, None, reason=self.traced.reason))
            return
        seconds = [self.run.step_seconds * group.share(*parts) - less for group in self.traced.groups]
        self.bars.append(Bar(key, *median_interval(seconds)))

    def add_where(self, there: Any, key: str, *parts: str, less: float = 0.0) -> None:
        """A bar of what a job may not have; without it nothing was lost."""
        if there:
            self.add(key, *parts, less=less)
        else:
            self.bars.append(Bar(key, 0.0))


def waterfall(traced: Traced, job: Job, rates: Rates, run: RunTime) -> list[Bar]:
    """All bars: what the arithmetic takes at the peak, then the losses. They add up to `run.whole`."""
    taken = _Taken(traced, rates, run)
    _arithmetic(taken, job)
    _in_the_step(taken, job)
    explained = sum(bar.seconds or 0.0 for bar in taken.bars)
    taken.bars.append(Bar("unexplained", run.step_seconds - explained))
    names = ("input", "compile", "checkpoint", "evaluation", "start", "failures", "idle")
    return taken.bars + [Bar(name, getattr(run, name)) for name in names]


def split_flops(job: Job) -> tuple[float, float, float]:
    """FLOPs of a step, forward and backward: the layers' products, attention, the head."""
    shape, train = job.shape, job.train
    every = training_flops_per_token(shape, train.sequence_length) * job.tokens_per_step
    attention = 3 * attention_flops(shape, train.sequence_length) * shape.num_layers * train.batch_size
    head = 6 * shape.d_model * shape.vocab_size * job.tokens_per_step
    return every - attention - head, float(attention), float(head)


def expert_flops(job: Job) -> tuple[float, float]:
    """FLOPs of a step, forward and backward, in the experts that tokens are sent to, and in the routers; they
    are among the layers' products."""
    shape, moe = job.shape, job.shape.moe
    if moe is None:
        return 0.0, 0.0
    met = 6.0 * shape.num_layers * shape.d_model * job.tokens_per_step
    return met * 3 * moe.top_k * moe.ffn_dim, met * moe.num_experts


def _arithmetic(taken: _Taken, job: Job) -> None:
    rates, flops = taken.rates, sum(split_flops(job))
    measured = taken.ideal(flops)
    if rates.rated is None:
        taken.bars += [Bar("arithmetic", measured), Bar("matrix_rate", None, reason=rates.why_no_rated)]
    else:
        rated = taken.run.steps * flops / rates.rated
        taken.bars += [Bar("arithmetic", rated), Bar("matrix_rate", measured - rated)]


def _in_the_step(taken: _Taken, job: Job) -> None:
    layers, attention, head = split_flops(job)
    experts, router = expert_flops(job)
    taken.add("shapes", scopes.PRODUCT, less=taken.ideal(layers - experts - router))
    taken.add_where(job.shape.moe, "experts", scopes.EXPERT_PRODUCT, less=taken.ideal(experts))
    taken.add_where(job.shape.moe, "routing", scopes.EXPERTS, less=taken.ideal(router))
    taken.add("attention", scopes.ATTENTION, less=taken.ideal(attention))
    taken.add("norms", scopes.NORM)
    taken.add("elementwise", *_ELEMENTWISE)
    taken.add("embedding", scopes.EMBEDDING)
    taken.add("vocabulary", scopes.VOCABULARY, less=taken.ideal(head))
    taken.add("optimizer", scopes.OPTIMIZER)
    taken.add("recomputation", RECOMPUTATION)
    taken.add("communication", COMMUNICATION)
    taken.add_where(job.mesh.stage != 1, "bubble", scopes.BUBBLE)
    taken.add("host", NOTHING)
