"""One job on more and fewer chips: together and apart, what is fastest, cheapest, least energy."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from pippin.errors import PippinError
from pippin.plan.asynchronous import Asynchronous, Exchange, asynchronous
from pippin.plan.cost import Cost, TokenBudget, reference
from pippin.plan.objective import check_objective
from pippin.plan.prospect import Mode, Prospect, Site, Step, prospect

# The best step on at most so many chips, or None where the model does not fit on them.
Finder = Callable[[int], Step | None]


@dataclass(frozen=True)
class Job:
    """What is trained: parameters in all, sequences an update, tokens in all.

    `learner_batch` is what each of several learners takes; None: as many as one job alone.
    """

    parameters: float
    global_batch: int
    budget: TokenBudget
    mode: Mode = "synchronous"
    learner_batch: int | None = None


@dataclass(frozen=True)
class ScalePoint:
    """At most so many chips: the run of one job over them, and of learners apart; None where none fits."""

    chips: int
    together: Prospect | None
    apart: tuple[Asynchronous, ...]


def ladder(chips: int, steps: int = 6) -> list[int]:
    """The fleet halved again and again, largest first: 400,000, 200,000, 100,000 and so on, at least 1."""
    return [chips >> k for k in range(steps + 1) if chips >> k]


def scale_point(
    find: Finder,
    job: Job,
    site: Site,
    chips: int,
    exchanges: Sequence[Exchange],
    find_learner: Finder | None = None,
) -> ScalePoint:
    """What at most `chips` chips can do.

    Args:
        find: gives the best step; asked for the whole fleet, and for a learner's share of it unless
            `find_learner` is given, which knows the learner's own batch.
        exchanges: how learners meet, one for each number of learners to try.
    """
    step = find(chips)
    together = prospect(step, site, job.budget, job.mode) if step else None
    finder = find_learner or find
    learners = [_learners(finder, job, site, chips, exchange) for exchange in exchanges]
    return ScalePoint(chips, together, tuple(each for each in learners if each))


def _learners(find: Finder, job: Job, site: Site, chips: int, exchange: Exchange) -> Asynchronous | None:
    share = chips // exchange.learners
    step = find(share) if share else None
    if step is None:
        return None
    return asynchronous(
        exchange,
        parameters=job.parameters,
        chips_per_learner=step.chips,
        learner_batch=job.learner_batch or job.global_batch,
        tokens_per_learner_step=step.tokens,
        learner_step_seconds=step.seconds,
        rate=site.rate,
        times=site.times,
    )


def choose(
    points: Sequence[ScalePoint], objective: str, max_seconds: float | None = None
) -> tuple[ScalePoint, str]:
    """The best point and why, among those that end in time.

    Cost and energy are both proportional to chip-seconds where only one kind of chip is compared.

    Raises:
        PippinError: an objective that does not exist, no point fits, or none ends in time.
    """
    check_objective(objective)
    fitting = [point for point in points if point.together]
    if not fitting:
        raise PippinError("the model fits on none of the fleet sizes that were tried")
    in_time = [p for p in fitting if max_seconds is None or _seconds(p) <= max_seconds]
    if not in_time:
        fastest = min(map(_seconds, fitting)) / 86_400
        raise PippinError(
            f"no layout trains in {(max_seconds or 0) / 86_400:g} days, the fastest takes {fastest:.3g}",
            where="--max-days",
            fix="allow more time, or plan for more chips",
        )
    best = min(in_time, key=_seconds if objective == "time" else _chip_seconds)
    return best, _reason(best, fitting, objective)


def _reason(best: ScalePoint, fitting: list[ScalePoint], objective: str) -> str:
    largest = max(fitting, key=lambda p: p.chips)
    if best is largest:
        return f"of the fleet sizes tried the whole fleet is best for {objective}"
    if objective == "time":
        return f"{best.chips:,} chips train sooner than {largest.chips:,}"
    saved = 1 - _chip_seconds(best) / _chip_seconds(largest)
    return f"{best.chips:,} chips take {saved:.0%} fewer chip-hours than {largest.chips:,}"


def _seconds(point: ScalePoint) -> float:
    return point.together.seconds.value if point.together else float("inf")


def _chip_seconds(point: ScalePoint) -> float:
    return _seconds(point) * (point.together.chips_with_spares if point.together else 1)


@dataclass(frozen=True)
class FrontPoint:
    """A run that no other beats in both time and cost."""

    chips: int
    run: Prospect
    cost: Cost


def front(points: Sequence[ScalePoint], kind: str | None = None) -> list[FrontPoint]:
    """The Pareto front of time and cost, fastest first, on the price that `reference` picks."""
    runs = [(point.chips, point.together) for point in points if point.together]
    costs = [(chips, run, reference(run.costs, kind)) for chips, run in runs]
    priced = [FrontPoint(chips, run, cost) for chips, run, cost in costs if cost]
    priced.sort(key=lambda p: (p.run.seconds.value, _usd(p)))
    best: list[FrontPoint] = []
    for each in priced:
        if not best or _usd(each) < _usd(best[-1]):
            best.append(each)
    return best


def _usd(point: FrontPoint) -> float:
    return point.cost.usd.value if point.cost.usd else float("inf")
