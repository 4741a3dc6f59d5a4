"""What a target model would take on each of several fleets, and on the machine that an assay measured.

A fleet's figures are those of `pippin plan` with the choices that mostly win (a lean search). Of the machine
that was measured the assay is folded in (`own`), which narrows its own interval and no other.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from pippin.catalog import Fleet
from pippin.catalog.catalog import Catalog
from pippin.errors import PippinError
from pippin.plan.answer import Finder, rests_on
from pippin.plan.at_hand import AtHand
from pippin.plan.calibration import Calibration
from pippin.plan.compare import Wishes, plan_fleet, plan_fleets
from pippin.plan.cost import Cost, PriceBasis, costs, train_seconds
from pippin.plan.energy import Energy, energy
from pippin.plan.estimate import Estimate
from pippin.plan.fleets import FleetPlan
from pippin.plan.foresight import Foresight, foresee
from pippin.plan.framework import PIPPIN
from pippin.plan.memory_steps import MemoryInterval
from pippin.plan.ranked import Rated
from pippin.plan.reading import published_runs
from pippin.plan.request import Request, make_request
from pippin.plan.scaling import Job
from pippin.plan.search import Task
from pippin.plan.validation import headline_runs

DEFAULT_TARGET = "apple-on-device-3b"
# As many chips of each, so that the chips are compared and not the sizes of fleets.
DEFAULT_CHIPS = 64
DEFAULT_FLEETS = ("trn2:64", "p5:64", "p6-b200:64", "v5p:64", "v6e:64")
# What docs/plan.md says of the memory model's runs.
_UNTRIED = MemoryInterval(
    None,
    None,
    "the runs that the memory model was tried on are of one node without ZeRO 3 or recomputation: none is of "
    "a fleet",
)
# One size of fleet, together: what else could be done is `pippin plan`'s to answer.
_WISHES = Wishes(sizes=0, learners=())


@dataclass(frozen=True)
class Measured:
    """The machine that was assayed; what all of it costs an hour and drew, where that is known."""

    machine: AtHand
    usd_per_hour: float | None = None
    price_date: str = ""
    watts: float | None = None
    meter: str = ""


@dataclass(frozen=True)
class Projected:
    """The target on one fleet, or on the measured machine.

    `seconds`, `tokens_per_second` and what follows from them count failures where `goodput` is not None.
    `runs` are the published runs of this chip that the calibration saw, by source.
    """

    name: str
    chip: str
    measured: bool
    chips: int
    layout: str
    memory_bytes: float
    memory_interval: MemoryInterval
    fits: bool
    seconds: Estimate
    tokens_per_second: Estimate
    goodput: Estimate | None
    mfu: Estimate | None
    mfu_basis: str
    energy: Energy
    costs: tuple[Cost, ...]
    rests_on: str
    runs: dict[str, int]

    @property
    def evidence(self) -> str:
        """What the figure rests on, in a sentence."""
        seen = sum(self.runs.values())
        if self.measured:
            return "the planner's, with this assay folded in: measured on a small model, not on the target"
        if not seen:
            return "the planner's; no published run of this chip ships with it, so this is an extrapolation"
        return f"the planner's, which has {seen} published runs of this chip from {len(self.runs)} sources"


@dataclass(frozen=True)
class Projection:
    """The target on every fleet asked for; `refused` has those that cannot hold it, with the reason."""

    request: Request
    machine: Projected | None
    machine_reason: str
    fleets: tuple[Projected, ...]
    refused: tuple[tuple[str, str], ...]


def read_fleets(texts: Sequence[str], catalog: Catalog) -> list[tuple[Fleet, int]]:
    """Fleets as the command line gives them: NAME or NAME:CHIPS, a fleet, cluster, instance or chip.

    Raises:
        PippinError: no such name, no number of chips, or more than the fleet has.
    """
    return [_read(text, catalog) for text in texts]


def _read(text: str, catalog: Catalog) -> tuple[Fleet, int]:
    name, colon, number = text.partition(":")
    if colon and not (number.isdecimal() and int(number) > 0):
        raise PippinError(f"'{text}' is not NAME:CHIPS", where="--fleet", fix="as in trn2:64")
    try:
        fleet = catalog.fleet(name)
    except PippinError as error:
        if name not in catalog.chips:
            raise PippinError(error.what, where="--fleet", fix=error.fix) from error
        fleet = catalog.fleet_of_chip(name)
    chips = int(number) if colon else min(DEFAULT_CHIPS, fleet.chips_at_most or DEFAULT_CHIPS)
    if fleet.chips_at_most and chips > fleet.chips_at_most:
        raise PippinError(f"{name} has {fleet.chips_at_most:,} chips, not {chips:,}", where="--fleet")
    return fleet, chips


def read_target(name: str) -> Request:
    """The target with its published recipe.

    Raises:
        PippinError: no such model; the nearest is named.
    """
    try:
        return make_request(None, name)
    except PippinError as error:
        raise PippinError(error.what, where="--target", fix=error.fix) from error


def project(
    request: Request,
    fleets: Sequence[tuple[Fleet, int]],
    calibration: Calibration,
    measured: Measured | None = None,
) -> Projection:
    """The target on every fleet, and on the measured machine where there is one.

    Args:
        request: the target.
        fleets: and how many chips of each.
        calibration: what step times rest on, with the assay folded in.
        measured: the machine that was assayed.
    """
    done: list[Projected] = []
    refused: list[tuple[str, str]] = []
    for fleet, chips in fleets:
        try:
            done.append(_on_fleet(request, fleet, chips, calibration, measured))
        except PippinError as error:
            refused.append((f"{fleet.fleet_id}, {chips:,} chips", str(error)))
    machine, reason = None, "no machine was measured"
    if measured:
        try:
            machine, reason = _here(request, calibration, measured), ""
        except PippinError as error:
            reason = error.what
    return Projection(request, machine, reason, tuple(done), tuple(refused))


def _on_fleet(
    request: Request, fleet: Fleet, chips: int, calibration: Calibration, measured: Measured | None
) -> Projected:
    task = request.task(fleet, calibration)
    own = measured is not None and measured.machine.catalog_id == fleet.chip.chip_id
    plan = _plan(request, fleet, chips, task)
    run = plan.run
    return Projected(
        name=fleet.name,
        chip=fleet.chip.name,
        measured=own,
        chips=run.chips_with_spares,
        layout=plan.layout,
        memory_bytes=plan.memory_bytes,
        memory_interval=_UNTRIED,
        fits=True,
        seconds=run.seconds,
        tokens_per_second=run.effective_tokens_per_second,
        goodput=run.goodput,
        mfu=plan.mfu,
        mfu_basis=plan.mfu_basis,
        energy=run.energy,
        costs=run.costs,
        rests_on=plan.rests_on,
        runs=_runs_of(fleet.chip.chip_id, calibration),
    )


def _plan(request: Request, fleet: Fleet, chips: int, task: Task) -> FleetPlan:
    rated = Rated.of(fleet.chip, request.precision)
    finder = Finder.of(request, fleet, task, rated, chips, _WISHES, lean=True)
    job = Job(request.parameters, request.global_batch, request.budget)
    basis = rests_on(task.calibration, task)
    (plan,), _ = plan_fleets(
        [(fleet.fleet_id, lambda: plan_fleet(fleet, chips, job, finder, _WISHES, rests_on=basis))]
    )
    return plan


def _runs_of(chip_id: str, calibration: Calibration) -> dict[str, int]:
    """Published runs of a chip that the calibration was fitted to, by source."""
    runs = (run for run in headline_runs(published_runs()) if run.chip_id == chip_id)
    return dict(Counter(run.source for run in runs if run.id in calibration.row_ids).most_common())


def _here(request: Request, calibration: Calibration, measured: Measured) -> Projected:
    """The target on the measured machine alone; failures of one machine are not counted."""
    machine = measured.machine
    found, fits, layout = _that_fits(request, machine, calibration)
    seconds = train_seconds(request.budget.tokens, found.tokens_per_second)
    tokens = request.budget.tokens
    return Projected(
        name="this machine",
        chip=machine.name,
        measured=True,
        chips=machine.chips,
        layout=layout,
        memory_bytes=found.memory_bytes,
        memory_interval=found.memory_interval,
        fits=fits,
        seconds=seconds,
        tokens_per_second=found.tokens_per_second,
        goodput=None,
        mfu=found.mfu,
        mfu_basis=found.mfu_basis,
        energy=energy(
            measured.watts / machine.chips if measured.watts else None,
            f"drawn in this assay's training ({measured.meter})" if measured.watts else "",
            measured.meter,
            chip_name=machine.name,
            chips=machine.chips,
            tokens=tokens,
            seconds=seconds,
        ),
        costs=tuple(costs([_price(measured)], machine.chips, tokens, seconds)),
        rests_on=f"{found.basis}; {found.calibration}; interval: {found.interval}",
        runs=_runs_of(machine.catalog_id or "", calibration),
    )


def _that_fits(request: Request, machine: AtHand, calibration: Calibration) -> tuple[Foresight, bool, str]:
    """The step with the least recomputation that fits, else that with full recomputation."""
    usable = (machine.memory_bytes or 0.0) * (1.0 - PIPPIN.margin)

    def tried(again: float) -> Foresight:
        return foresee(
            request.config,
            request.global_batch,
            request.sequence_length,
            machine,
            calibration,
            micro_batch=1,
            recompute_layers=again,
            recompute_attention=False,
        )

    whole = tried(0.0)
    if whole.memory_bytes <= usable:
        return whole, True, "micro-batch 1, no recomputation"
    again = tried(1.0)
    return again, again.memory_bytes <= usable, "micro-batch 1, full recomputation"


def _price(measured: Measured) -> PriceBasis:
    usd = measured.usd_per_hour
    return PriceBasis(
        provider="the user",
        instance="this machine",
        chips_per_instance=measured.machine.chips,
        kind="none found" if usd is None else "as given by the user",
        term="",
        region="region not stated",
        date=measured.price_date,
        source="--price-per-hour",
        trust="",
        usd_per_chip_hour=None if usd is None else usd / measured.machine.chips,
        why_unknown="no price of this machine was given: see --price-per-hour",
    )
