"""Energy to train: what the catalog rates a chip at, times chips and wall time. Watts, joules."""

from __future__ import annotations

from dataclasses import dataclass

from pippin.errors import PippinError
from pippin.plan.estimate import Estimate

NO_OVERHEAD = "cooling, power conversion, hosts and network: no figure given (--facility-overhead)"
RATED = (
    "rated power times wall time: a chip draws less than its rating on average and least in a restart, so "
    "this is an upper estimate of the chips' share"
)


@dataclass(frozen=True)
class Energy:
    """Joules of the chips alone, and of the whole facility where its overhead is given.

    `watts` is one chip's, `term` what its vendor or estimator calls that figure. None has a reason.
    """

    watts: float | None
    term: str
    source: str
    joules: Estimate | None
    joules_per_token: Estimate | None
    facility_overhead: float | None
    facility_joules: Estimate | None
    reasons: dict[str, str]
    basis: str = RATED


def energy(
    watts: float | None,
    term: str,
    source: str,
    *,
    chip_name: str,
    chips: int,
    tokens: float,
    seconds: Estimate,
    facility_overhead: float | None = None,
) -> Energy:
    """The energy of a run.

    Args:
        watts, term, source: of one chip, from the catalog.
        chip_name: for the reason where the power is not known.
        chips: in use, hot spares included.
        tokens: trained on.
        seconds: wall time.
        facility_overhead: energy of the facility over that of its chips, 1 or more.

    Raises:
        PippinError: an overhead below 1.
    """
    if facility_overhead is not None and not 1 <= facility_overhead < float("inf"):
        raise PippinError(
            f"a facility uses at least what its chips do, not {facility_overhead:g} times it",
            where="--facility-overhead",
        )
    reasons: dict[str, str] = {}
    if watts is None:
        reasons["joules"] = f"no power of {chip_name} is published"
    joules = seconds.scaled(watts * chips) if watts is not None else None
    facility = joules.scaled(facility_overhead) if joules and facility_overhead else None
    if facility is None:
        reasons["facility_joules"] = reasons.get("joules", NO_OVERHEAD)
    per_token = joules.scaled(1 / tokens) if joules else None
    return Energy(watts, term, source, joules, per_token, facility_overhead, facility, reasons)
