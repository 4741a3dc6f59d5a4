"""What a search makes smallest: wall time or chip time of a step, with what failures cost in it."""

from __future__ import annotations

from typing import Any, Literal, get_args

import numpy as np

from pippin.errors import PippinError, nearest
from pippin.plan import goodput
from pippin.plan.failures import FailureRate, Recovery
from pippin.plan.layout import Floats

Objective = Literal["time", "cost", "energy"]


def check_objective(name: str) -> Objective:
    """The objective of this name.

    Raises:
        PippinError: there is none; the nearest is named.
    """
    for known in get_args(Objective):
        if name == known:
            return known  # type: ignore[no-any-return]
    close = nearest(name, get_args(Objective))
    raise PippinError(
        f"no objective '{name}'",
        where="--objective",
        fix=f"did you mean '{close}'?" if close else "time, cost or energy",
    )


def weights(
    objective: Objective,
    chips: Any,
    replicas: Any,
    rate: FailureRate,
    times: Recovery,
    *,
    tolerant: bool = False,
) -> Floats:
    """What a second of step costs, for N layouts of one batch: a search makes `step_seconds * weights` least.

    Seconds of wall time with failures counted (time), or those of all chips together (cost, energy: on one
    kind of chip dollars and joules are both proportional to chip-seconds, spares aside). Infinite where
    nothing gets through.

    Args:
        objective: what counts.
        chips: that each uses.
        replicas: data-parallel replicas of each; they matter if `tolerant`.
        rate: failures of the chip, at its middle value.
        times: what a failure costs, at the middle values.
        tolerant: replicas go on when one fails.
    """
    sizes, places = np.unique(np.asarray(chips), return_inverse=True)
    mtbf = goodput.fleet_mtbf(rate.mtbf_years.value, sizes)
    if tolerant:
        stall, down = times.stall.value, times.down.value
        share = goodput.replica_efficiency(mtbf[places], stall, down, np.asarray(replicas))
    else:
        whole = goodput.synchronous_efficiency(mtbf, times.restart.value, times.checkpoint.value)
        share = whole[places]
    with np.errstate(divide="ignore"):
        seconds = 1 / share
    return np.asarray(seconds if objective == "time" else seconds * chips)
