"""The target on this machine and on other fleets, asked of the planner once the assay is folded in."""

from __future__ import annotations

import datetime
import time
from dataclasses import dataclass
from typing import Any

from pippin.assay.findings import Findings, Request, Unknown
from pippin.catalog import Fleet, load_catalog
from pippin.errors import PippinError
from pippin.job import Job
from pippin.plan.assayed import run_of
from pippin.plan.at_hand import AtHand
from pippin.plan.calibration import Calibration
from pippin.plan.estimate import INTERVAL_BASIS, Estimate
from pippin.plan.own import learned
from pippin.plan.projection import (
    DEFAULT_FLEETS,
    DEFAULT_TARGET,
    Measured,
    Projected,
    Projection,
    project,
    read_fleets,
    read_target,
)
from pippin.plan.request import Request as Target

_DAY = 86_400
_NOT_ASKED = "projected only with --full, --target or --fleet"
_KINDS = {"cpu": "a CPU", "gpu": "a GPU", "tpu": "a TPU", "neuron": "a Trainium chip"}


@dataclass(frozen=True)
class Asked:
    """A target and fleets, read and found before the training."""

    target: Target
    fleets: list[tuple[Fleet, int]]


def read(request: Request) -> Asked | None:
    """What is to be projected; None where nothing is.

    Raises:
        PippinError: an unknown target or fleet, or a fleet that has not so many chips.
    """
    if not (request.full or request.target or request.fleets):
        return None
    fleets = read_fleets(request.fleets or DEFAULT_FLEETS, load_catalog())
    return Asked(read_target(request.target or DEFAULT_TARGET), fleets)


def projected(
    asked: Asked | None,
    request: Request,
    job: Job,
    preset: str,
    machine: AtHand,
    calibration: Calibration,
    step_seconds: float,
    watts: tuple[float | None, str],
) -> tuple[Projection, float] | None:
    """The projection, and the seconds it took.

    Args:
        asked: what `read` found.
        request: of the assay, for its price.
        job: that was trained.
        preset: its model by name.
        machine: where.
        calibration: that the prediction rested on.
        step_seconds: measured.
        watts: of the whole machine in the training, and the meter.
    """
    if asked is None:
        return None
    begun = time.perf_counter()
    train = job.train
    measured = Measured(
        machine, request.price_per_hour, datetime.date.today().isoformat(), watts[0], watts[1]
    )
    try:
        run = run_of(machine, preset, job.shape, train.batch_size, train.sequence_length, step_seconds)
        calibration = learned(calibration, run)
    except PippinError:
        pass  # neither rated nor measured: `project` gives the reason
    found = project(asked.target, asked.fleets, calibration, measured)
    return found, time.perf_counter() - begun


def projection_section(found: Findings, unknown: Unknown) -> dict[str, Any] | None:
    """The report's section; None where nothing was asked for."""
    if found.projected is None:
        section: dict[str, Any] | None = unknown.known("projection", None, _NOT_ASKED)
        return section
    projection, seconds = found.projected
    request = projection.request
    every = [*([projection.machine] if projection.machine else []), *projection.fleets]
    refused = [*projection.refused]
    if projection.machine is None:
        refused.insert(0, ("this machine", projection.machine_reason))
    return {
        "target": request.model,
        "target_parameters": request.parameters,
        "target_tokens": request.budget.tokens,
        "target_tokens_basis": request.budget.basis,
        "global_batch": request.global_batch,
        "target_sequence_length": request.sequence_length,
        "batch_basis": request.batch_basis,
        "precision": request.precision,
        "meaning": meaning(found.machine.chip.name, found.machine.chip.platform),
        "interval": INTERVAL_BASIS,
        "seconds_to_project": seconds,
        "fleets": [_fleet(each, index, unknown) for index, each in enumerate(every)],
        "costs": _costs(every, unknown),
        "runs": [
            {"fleet": each.name, "source": source, "runs": runs}
            for each in every
            for source, runs in each.runs.items()
        ],
        "refused": [{"fleet": name, "reason": reason} for name, reason in refused],
    }


def meaning(chip: str, platform: str) -> str:
    """What an assay of one chip says of others, in so many words."""
    kind = _KINDS.get({"cuda": "gpu", "rocm": "gpu"}.get(platform, platform), "one chip")
    others = [name for name in ("Trainium", "a GPU", "a TPU") if name.removeprefix("a ") not in kind]
    return (
        f"This assay measured {chip}. An assay of {kind} says nothing about the price or the speed of "
        f"{' or '.join((', '.join(others[:-1]), others[-1]))}: figures of chips that were not measured here "
        "are the planner's, from published runs, and prices are the catalog's. What was measured here "
        "narrows the interval of this machine and of no other."
    )


def _fleet(each: Projected, index: int, unknown: Unknown) -> dict[str, Any]:
    joules = each.energy.joules
    section = {
        "fleet": each.name,
        "chip": each.chip,
        "measured": each.measured,
        "evidence": each.evidence,
        "runs_of_chip": sum(each.runs.values()),
        "chips": each.chips,
        "layout": each.layout,
        "memory_bytes": round(each.memory_bytes),
        **each.memory_interval.fields,
        "fits": each.fits,
        **Estimate.fields("days", each.seconds.scaled(1 / _DAY)),
        **Estimate.fields("tokens_per_second", each.tokens_per_second),
        **Estimate.fields("goodput", each.goodput),
        **Estimate.fields("mfu", each.mfu),
        **Estimate.fields("joules", joules),
        "power_basis": f"{each.energy.term}; {each.energy.basis}" if joules else "unknown",
        "rests_on": each.rests_on,
    }
    reasons = {
        "goodput": "failures of a single machine are not counted",
        "mfu": each.mfu_basis,
        "joules": each.energy.reasons.get("joules", "no power is known"),
        "days": "no upper bound: failures may take all the time",
        "memory": each.memory_interval.basis,
    }
    for name, value in section.items():
        unknown.known(f"projection.fleets.{index}.{name}", value, reasons.get(name.partition("_")[0], ""))
    return section


def _costs(every: list[Projected], unknown: Unknown) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = []
    for each in every:
        for cost in each.costs:
            basis = cost.basis
            names = ("provider", "instance", "kind", "term", "region", "date", "source", "usd_per_chip_hour")
            row = {"fleet": each.name, **{name: getattr(basis, name) for name in names}}
            row |= Estimate.fields("usd", cost.usd)
            row |= Estimate.fields("usd_per_million_tokens", cost.usd_per_million_tokens)
            for name, value in row.items():
                unknown.known(f"projection.costs.{len(rows)}.{name}", value, cost.reason or "no bound")
            rows.append(row)
    return rows
