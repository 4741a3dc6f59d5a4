"""What the press said beside figures of merit: dates, counts, money. Most needs more than a catalog."""

from __future__ import annotations

from pippin.catalog.claims import ClaimRow
from pippin.plan.claims.evidence import Evidence
from pippin.plan.claims.finding import Finding, Number, check
from pippin.plan.failures import (
    asynchronous_goodput,
    failure_rate,
    recovery,
    replica_goodput,
    synchronous_goodput,
)

# Work that goes with a failed learner: half of the way between two exchanges some ten minutes apart.
_LOST_SECONDS = 300.0
_OUTSIDE = {
    "F11": ("how much of it was the new part: other sources say 8 billion dollars in all", "a filing"),
    "F14": ("the maker's process, which the catalog does not carry", "the maker's statement"),
    "F17": (
        "Apple's own statement; it is of AWS as a whole: Graviton dates from 2018",
        "an earlier or later date",
    ),
    "F18": ("a count of users, which no chip decides", "Apple's own count"),
}


@check(*_OUTSIDE)
def outside(e: Evidence, row: ClaimRow) -> Finding:
    rests_on, flip = _OUTSIDE[row.claim_id]
    return Finding("cannot be checked", "nothing in a catalog of chips bears on it", {}, (rests_on,), (flip,))


@check("F15")
def trn3_date(e: Evidence, row: ClaimRow) -> Finding:
    chip = e.chip("trn3")
    number = Number(chip.year, "", chip.year_source)
    return Finding(
        "holds" if chip.year == row.claimed[0] else "does not hold",
        f"general availability came in {chip.year} ({chip.year_source})",
        {"general availability": number},
        ("what counts as coming: announced, previewed or generally available",),
        ("counting from when any customer can rent it",),
    )


@check("F10")
def asynchronous_training(e: Evidence, row: ClaimRow) -> Finding:
    """Goodput of one synchronous job against learners apart, from the failure rates alone."""
    chips, learners, replicas = int(row.claimed[0]), 16, 100
    rate, times = failure_rate("trn2"), recovery()
    whole = synchronous_goodput(rate, times, chips)
    apart = asynchronous_goodput(rate, times, chips, learners, _LOST_SECONDS)
    going_on = replica_goodput(rate, times, chips, replicas)
    numbers = {
        "goodput, one synchronous job": Number(
            100 * whole.value, "percent", f"{chips:,} chips; {rate.basis}"
        ),
        "the same, low": Number(100 * whole.low, "percent", "80 % interval"),
        "the same, high": Number(100 * whole.high, "percent", "80 % interval"),
        f"goodput, {learners} learners apart": Number(
            100 * apart.value, "percent", "a failure stops one learner"
        ),
        f"goodput, {replicas} replicas that go on": Number(
            100 * going_on.value, "percent", "a failure stalls the others for minutes"
        ),
    }
    return Finding(
        "holds only if",
        f"every failure stops the whole job: then {whole.value:.0%} of the time is useful at {chips:,} "
        f"chips, against {apart.value:.0%} with {learners} learners that train apart. Replicas that go on "
        "without the failed one, more spares and faster restarts are other ways out. What collectives "
        "themselves cost at this size: pippin plan",
        numbers,
        ("the failure rate of Trainium2, which nobody has published", "restart and checkpoint times"),
        ("a lower failure rate", "replicas that go on when one fails"),
    )
