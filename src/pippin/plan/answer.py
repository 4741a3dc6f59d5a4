"""The planner's answer for one fleet: the search, then what follows from its best step. Parts, assembled."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from pippin.catalog import Fleet
from pippin.errors import PippinError
from pippin.plan.calibration import Calibration
from pippin.plan.compare import Found, Wishes, plan_fleet
from pippin.plan.deadline import Deadline
from pippin.plan.fleets import FleetPlan
from pippin.plan.layout import Layouts
from pippin.plan.peers import PeerFinding, peer_of
from pippin.plan.prospect import Step
from pippin.plan.ranked import RankedLayout, Rated, rank
from pippin.plan.request import Request
from pippin.plan.scaling import Job
from pippin.plan.search import Progress, Ranking, Task, Weigh, search

_MOST_CHIPS_TRIED = 1 << 20


@dataclass(frozen=True)
class Answer:
    """What to do with the fleet, and what comes of it.

    `best` are the layouts of the size that the objective picks, `ranking` the search on the whole fleet.
    `asked` is a layout of the user's, which splits its states among `neighbours` at most; `peer` what another
    planner found; each evaluated by this one.
    """

    request: Request
    fleet: Fleet
    task: Task
    rated: Rated
    ranking: Ranking
    best: list[RankedLayout]
    plan: FleetPlan
    asked: RankedLayout | None
    peer: tuple[PeerFinding, RankedLayout] | None
    neighbours: float = np.inf

    @property
    def first(self) -> RankedLayout:
        """The layout to use."""
        return self.best[0]

    @property
    def explained(self) -> tuple[Task, RankedLayout]:
        """The layout whose memory is taken apart: the one asked for, else the best."""
        if self.asked is None:
            return self.task, self.first
        return replace(self.task, neighbours=self.neighbours), self.asked


def answer(
    request: Request,
    fleet: Fleet,
    chips: int,
    calibration: Calibration,
    *,
    wishes: Wishes | None = None,
    layout: Layouts | None = None,
    neighbours: float = np.inf,
    count: int = 5,
    lean: bool = False,
    progress: Progress | None = None,
) -> Answer:
    """Plans a job on a fleet.

    Args:
        request: the job.
        fleet: of the catalog.
        chips: how many of it.
        calibration: what step times rest on.
        wishes: objective, failures, learners.
        layout: one of the user's, to be evaluated beside the best.
        neighbours: the ranks among which that one splits its states at most.
        count: how many layouts to give.
        lean: search the choices that mostly win only.
        progress: told of the search.

    Raises:
        PippinError: nothing fits: how much is missing, and what would make it fit; see `plan_fleet` too.
    """
    task = request.task(fleet, calibration)
    wishes = wishes or Wishes()
    rated = Rated.of(fleet.chip, request.precision)
    finder = Finder.of(request, fleet, task, rated, chips, wishes, lean=lean, progress=progress)
    job = Job(request.parameters, request.global_batch, request.budget)
    plan = plan_fleet(
        fleet,
        chips,
        job,
        finder,
        wishes,
        rests_on=rests_on(calibration, task),
        search_learner=finder.of_learners(wishes.learner_batch),
    )
    ranking = finder.ranking(plan.chosen.chips, lean=lean)
    whole = finder.ranking(chips, lean=lean)
    found = peer_of(request.model, fleet.chip.chip_id, chips, request.global_batch)
    return Answer(
        request,
        fleet,
        task,
        finder.rated,
        whole,
        rank(task, ranking.layouts.take(np.arange(min(count, len(ranking)))), finder.rated),
        plan,
        _beside(replace(task, neighbours=neighbours), layout, ranking, finder.rated) if layout else None,
        (found, _beside(task, found.layout, ranking, finder.rated)) if found else None,
        neighbours,
    )


def _beside(task: Task, layout: Layouts, ranking: Ranking, rated: Rated) -> RankedLayout:
    """A layout compared with the best one."""
    best = ranking.layouts.take([0])
    columns = {
        name: np.concatenate([np.ravel(getattr(best, name)), np.ravel(getattr(layout, name))])
        for name in Layouts.__dataclass_fields__
    }
    return rank(task, Layouts(**columns), rated)[1]


class Finder:
    """The best layout on at most so many chips: the whole space for the fleet, lean ones for other sizes."""

    def __init__(
        self,
        task: Task,
        rated: Rated,
        chips: int,
        lean: bool = False,
        weigh: Weigh | None = None,
        deadline: Deadline | None = None,
        progress: Progress | None = None,
    ) -> None:
        self.task, self.rated, self.chips, self.lean = task, rated, chips, lean
        self._weigh, self._deadline, self._progress = weigh, deadline, progress
        self._rankings: dict[tuple[int, bool], Ranking] = {}

    @classmethod
    def of(
        cls,
        request: Request,
        fleet: Fleet,
        task: Task,
        rated: Rated,
        chips: int,
        wishes: Wishes,
        *,
        lean: bool = False,
        progress: Progress | None = None,
    ) -> Finder:
        """The finder for a request with these wishes; raises as `Wishes.deadline` does."""
        chip_id, steps = fleet.chip.chip_id, request.budget.tokens / request.batch_tokens
        deadline = wishes.deadline(chip_id, steps)
        return cls(task, rated, chips, lean, wishes.weigh(chip_id), deadline, progress)

    def of_learners(self, batch: int | None) -> Finder | None:
        """The same for learners with a batch of their own; None where they take the job's.

        Raises:
            PippinError: a batch of no sequence.
        """
        if batch is None:
            return None
        if batch < 1:
            raise PippinError(f"a batch of {batch} sequences", where="--learner-batch", fix="give at least 1")
        task = replace(self.task, global_batch=batch)
        return Finder(task, self.rated, 0, lean=True, weigh=self._weigh)

    def ranking(self, chips: int, *, lean: bool) -> Ranking:
        """The search on so many chips, made once."""
        if (chips, lean) not in self._rankings:
            progress = None if lean else self._progress

            def ranked(weigh: Weigh | None) -> Ranking:
                return search(self.task, chips, lean=lean, weigh=weigh, progress=progress)

            met = self._deadline.meet(ranked) if self._deadline else ranked(self._weigh)
            self._rankings[chips, lean] = met
        return self._rankings[chips, lean]

    def __call__(self, chips: int) -> Found | None:
        ranking = self.ranking(chips, lean=self.lean or chips != self.chips)
        if not len(ranking):
            if chips == self.chips:
                raise does_not_fit(self.task, ranking, chips)
            return None
        best = rank(self.task, ranking.layouts.take([0]), self.rated)[0]
        step = Step(best.chips, best.replicas, best.tokens, best.step)
        basis = self.rated.basis if best.mfu is None else f"of {self.rated.basis}; of the chips at work"
        return Found(step, best.words, best.memory_bytes, best.mfu, basis)


def does_not_fit(task: Task, ranking: Ranking, chips: int) -> PippinError:
    """How much memory is missing in the layout that needs least, and what would make the model fit."""
    usable, gib = task.usable_bytes, 2**30
    if not np.isfinite(ranking.smallest_bytes):
        return PippinError(
            "no layout divides this job", where="--chips", fix="choose another batch or length"
        )
    what = (
        f"the model does not fit on {chips:,} {task.system.chip_id}: the layout that needs least takes "
        f"{ranking.smallest_bytes / gib:.1f} GiB a chip of {usable / gib:.1f} usable, "
        f"{(ranking.smallest_bytes - usable) / gib:.1f} too much"
    )
    size = chips * 2
    while size <= _MOST_CHIPS_TRIED:
        if len(search(task, size, lean=True)):
            return PippinError(what, where="--chips", fix=f"{size:,} chips hold it")
        size *= 2
    fix = "no number of these chips was found to hold it: a shorter sequence, or chips with more memory"
    return PippinError(what, where="--chips", fix=fix)


def rests_on(calibration: Calibration, task: Task) -> str:
    """What the step times rest on, in words."""
    said = calibration.said_of(task.system)
    notes = "; ".join(task.system.assumptions)
    return f"{said}; {notes}" if notes else said
