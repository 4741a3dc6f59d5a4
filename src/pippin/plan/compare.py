"""Puts one job on several fleets: searches each, follows the best step to the end of the run."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import get_args

from pippin.catalog import Fleet
from pippin.errors import PippinError, nearest
from pippin.plan.asynchronous import INNER_STEPS, WIRE_BITS, Exchange
from pippin.plan.deadline import Deadline
from pippin.plan.estimate import Estimate
from pippin.plan.failures import Recovery, failure_rate, recovery
from pippin.plan.fleet import site_of
from pippin.plan.fleets import FleetPlan
from pippin.plan.layout import Floats, Integers
from pippin.plan.objective import check_objective, weights
from pippin.plan.prospect import Mode, Site, Step
from pippin.plan.scaling import Job, ScalePoint, choose, ladder, scale_point

LEARNERS = (8, 64)
# Options that may suit one fleet and not another; a mistake in any other is one for all.
_OF_ONE_FLEET = ("--chips", "--max-days")
# Share of the rated scale-out links that a bulk exchange between learners gets: assumed.
_LINK_SHARE = 0.5
_LEAST_LINK = 25e9 / 8  # bytes/s of a chip whose links nobody has published, as in `system`


@dataclass(frozen=True)
class Found:
    """The best layout on at most so many chips: its step, and it in words."""

    step: Step
    layout: str
    memory_bytes: float
    mfu: Estimate | None
    mfu_basis: str


# The best layout of the job on at most so many chips of a fleet; None where the model does not fit on them.
Searcher = Callable[[int], Found | None]


@dataclass(frozen=True)
class Wishes:
    """What the user may ask of goodput, cost and energy beyond the job and the fleet."""

    objective: str = "time"
    mode: Mode = "synchronous"
    max_days: float | None = None
    mtbf_years: float | None = None
    times: Recovery = field(default_factory=recovery)
    facility_overhead: float | None = None
    learners: tuple[int, ...] = LEARNERS
    learner_batch: int | None = None  # sequences; None: the whole batch of the job
    inner_steps: int = INNER_STEPS
    wire_bits: int = WIRE_BITS
    link_gbit_per_second: float | None = None
    sizes: int = 6  # halvings of the fleet that are tried besides the whole

    def weigh(self, chip_id: str, objective: str | None = None) -> Callable[[Integers, Integers], Floats]:
        """What a second of step costs by these wishes, for chips and data ranks of many layouts.

        Raises:
            PippinError: no such objective.
        """
        known = check_objective(objective or self.objective)
        rate = failure_rate(chip_id, self.mtbf_years)
        tolerant = self.mode == "replicas"

        def weigh(chips: Integers, replicas: Integers) -> Floats:
            return weights(known, chips, replicas, rate, self.times, tolerant=tolerant)

        return weigh

    def deadline(self, chip_id: str, steps: float) -> Deadline | None:
        """The time that a lasting step may take in a run of so many; None where no days are given.

        Raises:
            PippinError: no such objective, or no days.
        """
        if self.max_days is None:
            return None
        if not self.max_days > 0:
            raise PippinError(
                f"{self.max_days:g} days to train in", where="--max-days", fix="give more than 0"
            )
        seconds = self.max_days * 86_400 / steps
        return Deadline(seconds, self.weigh(chip_id, "time"), self.weigh(chip_id))


def check_mode(name: str) -> Mode:
    """How failures are borne, by name.

    Raises:
        PippinError: no such way; the nearest is named.
    """
    for known in get_args(Mode):
        if name == known:
            return known  # type: ignore[no-any-return]
    close = nearest(name, get_args(Mode))
    fix = f"did you mean '{close}'?" if close else "synchronous or replicas"
    raise PippinError(f"no fault tolerance '{name}'", where="--fault-tolerance", fix=fix)


def plan_fleet(
    fleet: Fleet,
    chips: int,
    job: Job,
    search: Searcher,
    wishes: Wishes,
    *,
    rests_on: str,
    search_learner: Searcher | None = None,
) -> FleetPlan:
    """What one fleet makes of the job.

    Args:
        fleet: of the catalog.
        chips: of it, at least 1.
        job: what is trained.
        search: finds the best layout on at most so many chips.
        wishes: objective, failures, learners.
        rests_on: what the step times rest on, in words.
        search_learner: the same for a learner with a batch of its own, where the wishes give one.

    Raises:
        PippinError: no chips, more than the fleet has, or nothing that was tried fits or ends in time.
    """
    _check_chips(fleet, chips)
    rate = failure_rate(fleet.chip.chip_id, wishes.mtbf_years)
    site = site_of(fleet, wishes.times, rate=rate, facility_overhead=wishes.facility_overhead)
    found: dict[int, Found | None] = {}
    step = _remembering(search, found)
    learner = _remembering(search_learner, {}) if search_learner else None
    job = replace(job, mode=wishes.mode, learner_batch=wishes.learner_batch)
    points = _points(step, learner, job, site, fleet, chips, wishes)
    seconds = None if wishes.max_days is None else wishes.max_days * 86_400
    chosen, why = choose(points, wishes.objective, seconds)
    best = found[chosen.chips]
    assert best is not None
    return FleetPlan(
        name=fleet.fleet_id,
        site=site,
        chips=chips,
        layout=best.layout,
        mfu=best.mfu,
        mfu_basis=best.mfu_basis,
        memory_bytes=best.memory_bytes,
        chosen=chosen,
        why=why,
        points=points,
        rests_on=rests_on,
        notes=_notes(fleet),
    )


def _remembering(search: Searcher, found: dict[int, Found | None]) -> Callable[[int], Step | None]:
    """The steps of a search that looks at no size twice; `found` keeps what it gave."""

    def step(size: int) -> Step | None:
        if size not in found:
            found[size] = search(size)
        best = found[size]
        return best.step if best else None

    return step


def _check_chips(fleet: Fleet, chips: int) -> None:
    if chips < 1:
        raise PippinError(f"{chips:,} chips train nothing", where="--chips", fix="give at least 1")
    if fleet.chips_at_most and chips > fleet.chips_at_most:
        raise PippinError(
            f"{fleet.fleet_id} has {fleet.chips_at_most:,} chips, not {chips:,}",
            where="--chips",
            fix=f"plan for {fleet.chips_at_most:,}, or for the chip by --chip {fleet.chip.chip_id}",
        )


def _points(
    step: Callable[[int], Step | None],
    learner: Callable[[int], Step | None] | None,
    job: Job,
    site: Site,
    fleet: Fleet,
    chips: int,
    wishes: Wishes,
) -> tuple[ScalePoint, ...]:
    """Every size that holds the model, largest first; the whole fleet in any case."""
    exchanges = [_exchange(fleet, wishes, count) for count in wishes.learners]
    points: list[ScalePoint] = []
    for size in ladder(chips, wishes.sizes):
        point = scale_point(step, job, site, size, exchanges, learner)
        if point.together is None and points:
            break  # what does not fit on so many does not fit on half of them
        points.append(point)
    return tuple(points)


def _exchange(fleet: Fleet, wishes: Wishes, learners: int) -> Exchange:
    gbits = fleet.chip.scaleout_gbits_per_second
    if wishes.link_gbit_per_second is not None:
        link, basis = wishes.link_gbit_per_second * 1e9 / 8, "given by the user, for each learner"
        return Exchange(learners, link, basis, wishes.inner_steps, wishes.wire_bits, shared=True)
    basis = f"{_LINK_SHARE:.0%} of the rated scale-out links of all chips of a learner (assumed)"
    if not gbits:
        basis = "no scale-out link is published: 25 Gbit/s a chip assumed"
    link = gbits * 1e9 / 8 * _LINK_SHARE if gbits else _LEAST_LINK
    return Exchange(learners, link, basis, wishes.inner_steps, wishes.wire_bits)


def _notes(fleet: Fleet) -> tuple[str, ...]:
    notes = [f"Fleet: {fleet.source}."] if fleet.source else []
    if fleet.note:
        notes.append(f"{fleet.note}.")
    if fleet.users_fields:
        notes.append(f"Changed by the user's file: {', '.join(fleet.users_fields)}.")
    return tuple(notes)


def plan_fleets(
    plans: Sequence[tuple[str, Callable[[], FleetPlan]]],
) -> tuple[tuple[FleetPlan, ...], tuple[tuple[str, str], ...]]:
    """Plans every fleet; those that cannot are listed with the reason.

    Raises:
        PippinError: none of them can, or a wish is nonsense whatever the fleet.
    """
    done: list[FleetPlan] = []
    refused: list[tuple[str, str]] = []
    for name, plan in plans:
        try:
            done.append(plan())
        except PippinError as error:
            if len(plans) == 1 or ((error.where or "").startswith("--") and error.where not in _OF_ONE_FLEET):
                raise
            refused.append((name, str(error)))
    if not done:
        raise PippinError("; ".join(f"{name}: {reason}" for name, reason in refused))
    return tuple(done), tuple(refused)
