"""Learners that train apart and meet rarely (DiLoCo and what came of it), against one synchronous job.

M learners each run a synchronous layout of their own on their share of the chips. After every H inner steps
a learner sends what its parameters have moved by and takes the merged ones, over the link between learners.
In the asynchronous form it waits for nobody. Seconds, bytes, tokens; arrays or floats.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from pippin.errors import PippinError
from pippin.plan.estimate import Estimate, propagate
from pippin.plan.failures import FailureRate, Recovery, asynchronous_goodput, own_checkpoints_pay
from pippin.plan.layout import Floats

INNER_STEPS = 100  # INTELLECT-1 (arXiv 2412.01152), 10 B parameters; DiLoCo (arXiv 2311.08105): 500
WIRE_BITS = 8  # INTELLECT-1's int8; Streaming DiLoCo (arXiv 2501.18512) goes to 4

STATISTICAL_COST = (
    "what meeting rarely costs in loss is not known at this scale: published trials end at 12 B parameters "
    "and tens of learners"
)
EVIDENCE = (
    "DiLoCo, 8 workers, H 500: as good as fully synchronous on C4, small models (arXiv 2311.08105)",
    "Scaling laws of DiLoCo, 35 M to 10 B: the gap shrinks with size; the best batch grows with learners "
    "(arXiv 2503.09799)",
    "Decoupled DiLoCo, 12 B over four regions: 64.1 against 64.4 average accuracy (arXiv 2604.21428, the two "
    "figures read second hand)",
)


@dataclass(frozen=True)
class Exchange:
    """How learners meet: their number, inner steps between meetings, bits a parameter on the wire, whether
    the exchange runs beside training, and the link in bytes/s with where that is from. The link is one
    chip's, and a learner has as many as it has chips, or it is `shared` by the whole learner."""

    learners: int
    link_bytes_per_second: float
    link_basis: str
    inner_steps: int = INNER_STEPS
    wire_bits: int = WIRE_BITS
    overlapped: bool = True
    shared: bool = False

    def __post_init__(self) -> None:
        for name, value, where in (
            ("learners", self.learners, "--learners"),
            ("inner steps", self.inner_steps, "--inner-steps"),
            ("bits on the wire", self.wire_bits, "--wire-bits"),
            ("bytes a second", self.link_bytes_per_second, "--link-gbit-per-second"),
        ):
            if not 0 < value < float("inf"):
                raise PippinError(f"{value:g} {name} is none", where=where, fix="give a positive number")


def outer_bytes(parameters: Any, learners: Any, wire_bits: Any) -> Floats:
    """Bytes that a learner sends (and gets) in an outer step: `2 (M - 1)/M` times its parameters, as in a
    ring all-reduce; a syncer between the learners moves `2` times them."""
    m = np.asarray(learners, float)
    return np.asarray(2 * (m - 1) / m * np.asarray(parameters, float) * wire_bits / 8)


def inner_step_seconds(compute: Any, exchange: Any, inner_steps: Any, overlapped: bool) -> Floats:
    """An inner step with its share of the exchange, Amdahl's law for a slow link: `max(t, x/H)` where the
    exchange runs beside training, else `t + x/H`."""
    share = np.asarray(exchange, float) / inner_steps
    return np.asarray(np.maximum(compute, share) if overlapped else np.asarray(compute, float) + share)


@dataclass(frozen=True)
class Asynchronous:
    """What M learners do together. The batch is in sequences; `own_checkpoints` says whether a learner loses
    less to a failure by saving for itself than by relying on the outer step, every `round_seconds`."""

    exchange: Exchange
    chips_per_learner: int
    learner_batch: int
    tokens_per_learner_step: float
    learner_step_seconds: Estimate
    link_bytes_per_second: float  # of a whole learner
    outer_bytes: float
    exchange_seconds: float
    round_seconds: float
    own_checkpoints: bool
    tokens_per_second: Estimate
    goodput: Estimate
    effective_tokens_per_second: Estimate

    @property
    def chips(self) -> int:
        return self.chips_per_learner * self.exchange.learners

    @property
    def total_batch(self) -> int:
        """Sequences that all learners together take in an inner step."""
        return self.learner_batch * self.exchange.learners

    @property
    def tokens_per_outer_step(self) -> float:
        """Tokens that all learners together train on between two meetings."""
        return self.tokens_per_learner_step * self.exchange.learners * self.exchange.inner_steps


def asynchronous(
    exchange: Exchange,
    *,
    parameters: float,
    chips_per_learner: int,
    learner_batch: int,
    tokens_per_learner_step: float,
    learner_step_seconds: Estimate,
    rate: FailureRate,
    times: Recovery,
) -> Asynchronous:
    """The learners' joint rate, given the synchronous step of one of them."""
    sent = float(outer_bytes(parameters, exchange.learners, exchange.wire_bits))
    link = exchange.link_bytes_per_second * (1 if exchange.shared else chips_per_learner)
    exchange_seconds = sent / link

    def rate_of(step: Any) -> Any:
        whole = inner_step_seconds(step, exchange_seconds, exchange.inner_steps, exchange.overlapped)
        return exchange.learners * tokens_per_learner_step / whole

    tokens_per_second = propagate(rate_of, learner_step_seconds)
    whole = exchange.learners * tokens_per_learner_step / tokens_per_second.value
    round_seconds = exchange.inner_steps * whole
    chips = chips_per_learner * exchange.learners
    goodput = asynchronous_goodput(rate, times, chips, exchange.learners, round_seconds)
    return Asynchronous(
        exchange=exchange,
        chips_per_learner=chips_per_learner,
        learner_batch=learner_batch,
        tokens_per_learner_step=tokens_per_learner_step,
        learner_step_seconds=learner_step_seconds,
        link_bytes_per_second=link,
        outer_bytes=sent,
        exchange_seconds=exchange_seconds,
        round_seconds=round_seconds,
        own_checkpoints=own_checkpoints_pay(rate, times, chips, exchange.learners, round_seconds),
        tokens_per_second=tokens_per_second,
        goodput=goodput,
        effective_tokens_per_second=effective(tokens_per_second, goodput),
    )


def effective(tokens_per_second: Estimate, goodput: Estimate) -> Estimate:
    """Tokens of lasting work a second of wall time."""
    return propagate(lambda rate, share: rate * np.minimum(share, 1), tokens_per_second, goodput)
