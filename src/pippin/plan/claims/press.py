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
    shares = {
        "one synchronous job": (whole, f"{chips:,} chips; {rate.basis}"),
        f"{replicas} replicas that go on": (going_on, "a failure stalls the others for minutes"),
        f"{learners} learners apart": (apart, "a failure stops one learner"),
    }
    numbers = {
        f"goodput, {name}": Number(100 * s.value, "percent", why, (100 * s.low, 100 * s.high))
        for name, (s, why) in shares.items()
    }
    worse = whole.value < 0.9 * min(apart.value, going_on.value)
    return Finding(
        "holds only if" if worse else "does not hold",
        "every failure stops the whole job: by the failure rates known it then loses much of its time at "
        "this size, and learners that train apart lose less. Replicas that go on without the failed one are "
        "another way out, so it need not be asynchronous. What collectives cost at this size: `pippin plan`",
        numbers,
        ("the failure rate of Trainium2, which nobody has published", "restart and checkpoint times"),
        ("a lower failure rate", "replicas that go on when one fails"),
    )
