"""`pippin plan`."""

from __future__ import annotations

import math
import sys
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path

import typer

from pippin.catalog import Fleet, load_catalog
from pippin.cli.catalog import print_json
from pippin.cli.planning import SearchDisplay
from pippin.errors import PippinError
from pippin.job import load_job
from pippin.parallel.degrees import check, resolve
from pippin.plan.answer import Answer, Finder, answer, rests_on
from pippin.plan.asked import check_layout, read_layout
from pippin.plan.calibration import Calibration, read_calibration, shipped_calibration
from pippin.plan.compare import Wishes, plan_fleet, plan_fleets
from pippin.plan.fleets import Comparison, FleetPlan
from pippin.plan.layout import Layouts
from pippin.plan.mesh import mesh_layout, state_neighbours
from pippin.plan.ranked import Rated
from pippin.plan.request import Request, find_fleet, make_request
from pippin.plan.scaling import Job


@dataclass(frozen=True)
class Asked:
    """The options of the command line."""

    job: Path | None = None
    model: str | None = None
    chip_ids: list[str] = field(default_factory=list)
    fleets: list[str] = field(default_factory=list)
    chips: int | None = None
    tokens: float | None = None
    global_batch: int | None = None
    sequence_length: int | None = None
    precision: str = "bf16"
    calibration: Path | None = None
    catalog: Path | None = None
    layout: str | None = None
    framework: str | None = None
    flash: bool | None = None
    count: int = 5
    explain_memory: bool = False
    html: Path | None = None
    as_json: bool = False
    wishes: Wishes = field(default_factory=Wishes)


def run(asked: Asked) -> None:
    """Plans and prints: one fleet in full, several side by side. Ctrl-C ends it in one line."""
    try:
        _run(asked)
    except KeyboardInterrupt as stop:
        raise typer.Abort from stop


def _run(asked: Asked) -> None:
    request = make_request(
        asked.job,
        asked.model,
        global_batch=asked.global_batch,
        sequence_length=asked.sequence_length,
        tokens=asked.tokens,
        precision=asked.precision,
        framework=asked.framework,
        flash=asked.flash,
    )
    calibration = read_calibration(asked.calibration) if asked.calibration else shipped_calibration()
    catalog = load_catalog(asked.catalog)
    names = [*((chip, None) for chip in asked.chip_ids), *((None, name) for name in asked.fleets)]
    found = [find_fleet(catalog, chip, name, asked.chips) for chip, name in names or [(None, None)]]
    if len(found) > 1 or asked.html:
        _side_by_side(asked, request, found, calibration)
        return
    _one(asked, request, *found[0], calibration)


def _one(asked: Asked, request: Request, fleet: Fleet, chips: int, calibration: Calibration) -> None:
    layout, neighbours = _layout(asked, request, chips)
    # One layout is answered at once: what it is compared with need not be the last word.
    wishes = replace(asked.wishes, sizes=0, learners=()) if layout else asked.wishes
    with SearchDisplay(sys.stderr) as display:
        found = answer(
            request,
            fleet,
            chips,
            calibration,
            wishes=wishes,
            layout=layout,
            neighbours=neighbours,
            count=asked.count,
            lean=layout is not None,
            progress=display.progress,
        )
    _print(found, asked)


def _layout(asked: Asked, request: Request, chips: int) -> tuple[Layouts | None, float]:
    """The layout to look at beside the best, and among how many ranks it splits states."""
    if asked.layout == "job":
        return _of_the_job(asked.job, request, chips)
    return read_layout(asked.layout, request, chips) if asked.layout else None, math.inf


def _of_the_job(path: Path | None, request: Request, chips: int) -> tuple[Layouts, float]:
    """The mesh of the job file, with a chip for each of its devices."""
    if path is None:
        raise PippinError("a model by name has no mesh", where="--layout", fix="give a job file")
    job = load_job(path)
    degrees = resolve(job.mesh, chips)
    check(job, degrees)
    layout = mesh_layout(
        job.mesh,
        degrees.sizes,
        global_batch=request.global_batch,
        sequence_length=request.sequence_length,
        remat=job.mesh.remat or "none",
        flash=request.flash,
    )
    return check_layout(layout, request, chips), state_neighbours(degrees.sizes)


def _print(found: Answer, asked: Asked) -> None:
    if asked.as_json:
        from pippin.plan.answer_json import answer_json

        print_json(answer_json(found, explain_memory=asked.explain_memory))
        return
    from pippin.cli.planned import show

    show(found, explain_memory=asked.explain_memory)


def _side_by_side(
    asked: Asked, request: Request, fleets: list[tuple[Fleet, int]], calibration: Calibration
) -> None:
    from pippin.cli.fleets import show

    if asked.layout or asked.explain_memory:
        raise PippinError(
            "one fleet at a time",
            where="--layout" if asked.layout else "--explain-memory",
            fix="leave --html out",
        )
    with SearchDisplay(sys.stderr) as display:

        def plan(fleet: Fleet, chips: int) -> FleetPlan:
            task = request.task(fleet, calibration)
            rated = Rated.of(fleet.chip, request.precision)
            finder = Finder.of(request, fleet, task, rated, chips, asked.wishes, progress=display.progress)
            job = Job(request.parameters, request.global_batch, request.budget)
            basis = rests_on(calibration, task)
            learner = finder.of_learners(asked.wishes.learner_batch)
            return plan_fleet(fleet, chips, job, finder, asked.wishes, rests_on=basis, search_learner=learner)

        plans, refused = plan_fleets(
            [(fleet.fleet_id, partial(plan, fleet, chips)) for fleet, chips in fleets]
        )
    comparison = Comparison(
        model=request.model,
        parameters=request.parameters,
        precision=request.precision,
        global_batch=request.global_batch,
        sequence_length=request.sequence_length,
        batch_basis=request.batch_basis,
        budget=request.budget,
        objective=asked.wishes.objective,
        fleets=plans,
        refused=refused,
    )
    command = " ".join(["pippin", *sys.argv[1:]])
    show(comparison, as_json=asked.as_json, html=asked.html, command=command)
