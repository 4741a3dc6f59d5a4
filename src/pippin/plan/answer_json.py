"""An answer as JSON: every number with its basis, every null with its reason in `unknown`."""

from __future__ import annotations

from typing import Any

from pippin.models.counts import FLOP_DEFINITION
from pippin.plan.answer import Answer
from pippin.plan.asked import stages_of
from pippin.plan.energy import NO_OVERHEAD
from pippin.plan.estimate import INTERVAL_BASIS
from pippin.plan.fleets_json import chips_json, point_json
from pippin.plan.peers import PeerFinding
from pippin.plan.prospect import cost_json, energy_json, goodput_json, with_interval
from pippin.plan.ranked import RankedLayout, mfu_basis
from pippin.plan.scaling import ScalePoint, front


def answer_json(found: Answer, *, explain_memory: bool = False) -> dict[str, Any]:
    """The whole answer; docs/plan.md has the meaning of every key."""
    plan, request, ranking = found.plan, found.request, found.ranking
    run = plan.run
    unknown = {f"energy.{key}": reason for key, reason in run.energy.reasons.items()}
    if run.energy.facility_overhead is None:
        unknown["energy.facility_overhead"] = NO_OVERHEAD
    if found.rated.flops_per_second is None:
        unknown |= {f"best.{i}.mfu": found.rated.basis for i in range(len(found.best))}
    unknown |= {f"cost.{i}.usd": c.reason for i, c in enumerate(run.costs) if c.reason}
    answer = {
        "model": request.model,
        "parameters": request.parameters,
        "precision": request.precision,
        "framework": found.task.framework.name,
        "fleet": found.fleet.fleet_id,
        "chip": found.fleet.chip.chip_id,
        "global_batch": {
            "sequences": request.global_batch,
            "sequence_length": request.sequence_length,
            "tokens": request.batch_tokens,
            "basis": request.batch_basis,
        },
        "tokens": {"value": request.budget.tokens, "basis": request.budget.basis},
        "chips": chips_json(plan) | {"batch_can_use": ranking.most_chips},
        "objective": plan.why,
        "layouts_in_space": ranking.size,
        "layouts_evaluated": ranking.evaluated,
        "layouts_fitting": ranking.fitting,
        "search_seconds": ranking.seconds,
        "best": [layout_json(each) for each in found.best],
        "asked": layout_json(found.asked) if found.asked else None,
        "peer": _peer(*found.peer) if found.peer else None,
        **with_interval("tokens_per_second", run.step.tokens_per_second),
        **with_interval("effective_tokens_per_second", run.effective_tokens_per_second),
        **with_interval("train_seconds", run.seconds),
        "goodput": goodput_json(run, plan.site, plan.apart, plan.chips),
        "cost": cost_json(run),
        "energy": energy_json(run.energy),
        "scaling": [point_json(point) for point in plan.points],
        "pareto": pareto_json(plan.points),
        "basis": {
            "flops": FLOP_DEFINITION,
            "mfu": mfu_basis(found.rated),
            "dtype": request.precision,
            "peak": found.rated.basis,
            "calibration": plan.rests_on,
            "memory": _memory_basis(found),
            "interval": INTERVAL_BASIS,
        },
        "notes": list(plan.notes),
        "unknown": unknown,
    }
    if found.asked is None:
        unknown["asked"] = "no --layout was given"
    if found.peer is None:
        unknown["peer"] = "no other planner's finding is known for this job"
    if explain_memory:
        answer["memory"] = memory_json(found)
    return answer


def _memory_basis(found: Answer) -> str:
    framework = found.task.framework
    return (
        f"{framework.name}: {framework.source}; {framework.margin:.0%} of the "
        f"{found.task.system.memory_bytes / 2**30:.1f} GiB left free"
    )


def layout_json(each: RankedLayout) -> dict[str, Any]:
    """One layout."""
    return {
        "layout": each.layout,
        "words": each.words,
        "chips_used": each.chips,
        **with_interval("step_seconds", each.step),
        **with_interval("mfu", each.mfu),
        "memory_bytes": each.memory_bytes,
        "fits": each.fits,
        **with_interval("tokens_per_second", each.step.inverse(each.tokens)),
        "components_seconds": each.components,
        "loses_by_seconds": each.loses_by,
        "reason": each.reason,
    }


def _peer(finding: PeerFinding, ours: RankedLayout) -> dict[str, Any]:
    return {
        "planner": finding.planner,
        "its_step_seconds": finding.step_seconds,
        "its_memory_bytes": finding.memory_bytes,
        "its_layouts_per_second": finding.layouts_per_second,
        "source": finding.source,
        "here": layout_json(ours),
    }


def pareto_json(points: tuple[ScalePoint, ...]) -> list[dict[str, Any]]:
    """Fleet sizes none of which is beaten in both time and cost; in chip-hours where no price is known."""
    priced = front(points, None)
    if priced:
        return [
            {
                "chips": point.run.step.chips,
                **with_interval("train_seconds", point.run.seconds),
                **with_interval("usd", point.cost.usd),
                "usd_basis": point.cost.basis.label,
            }
            for point in priced
        ]
    kept: list[dict[str, Any]] = []
    runs = sorted((p.together for p in points if p.together), key=lambda run: run.seconds.value)
    for run in runs:
        hours = run.chips_with_spares * run.seconds.value / 3600
        if not kept or hours < kept[-1]["chip_hours"]:
            kept.append(
                {
                    "chips": run.step.chips,
                    **with_interval("train_seconds", run.seconds),
                    "chip_hours": hours,
                }
            )
    return kept


def memory_json(found: Answer) -> dict[str, Any]:
    """The parts of every stage's memory, of the layout asked for or the best one."""
    task, of = found.explained
    return {
        "layout": of.words,
        "fullest": of.memory_parts,
        "total_bytes": of.memory_bytes,
        "margin_bytes": task.system.memory_bytes * task.framework.margin,
        "device_bytes": task.system.memory_bytes,
        "fits": of.fits,
        "stages": stages_of(task, of),
        "basis": _memory_basis(found),
    }
