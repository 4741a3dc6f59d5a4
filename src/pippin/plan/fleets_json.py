"""A comparison as JSON: every number with its interval, every null with its reason."""

from __future__ import annotations

from typing import Any

from pippin.plan.fleets import Comparison, FleetPlan
from pippin.plan.prospect import cost_json, energy_json, goodput_json, with_interval
from pippin.plan.scaling import ScalePoint


def comparison_json(plan: Comparison) -> dict[str, Any]:
    """The whole comparison; `unknown` of a fleet maps dotted paths to reasons."""
    return {
        "model": plan.model,
        "parameters": plan.parameters,
        "precision": plan.precision,
        "global_batch": {
            "sequences": plan.global_batch,
            "sequence_length": plan.sequence_length,
            "tokens": plan.batch_tokens,
            "basis": plan.batch_basis,
        },
        "tokens": {"value": plan.budget.tokens, "basis": plan.budget.basis},
        "objective": plan.objective,
        "price_kind": plan.price_kind,
        "fleets": [_fleet(plan, fleet) for fleet in plan.fleets],
        "refused": dict(plan.refused),
    }


def _fleet(plan: Comparison, fleet: FleetPlan) -> dict[str, Any]:
    run = fleet.run
    cost = plan.cost(fleet)
    unknown = dict(run.energy.reasons)
    if fleet.mfu is None:
        unknown["mfu"] = fleet.mfu_basis
    if cost is None:
        unknown["usd"] = "; ".join(c.reason or "" for c in run.costs) or "no price in the catalog"
    return {
        "fleet": fleet.name,
        "chip": fleet.site.chip_id,
        "chips": chips_json(fleet),
        "layout": fleet.layout,
        "why": fleet.why,
        "memory_bytes": fleet.memory_bytes,
        **with_interval("step_seconds", run.step.seconds),
        **with_interval("tokens_per_second", run.step.tokens_per_second),
        **with_interval("effective_tokens_per_second", run.effective_tokens_per_second),
        **with_interval("mfu", fleet.mfu),
        "mfu_basis": fleet.mfu_basis,
        **with_interval("train_seconds", run.seconds),
        **with_interval("usd", cost.usd if cost else None),
        **with_interval("usd_per_million_tokens", cost.usd_per_million_tokens if cost else None),
        "usd_basis": cost.basis.label if cost else None,
        "goodput": goodput_json(run, fleet.site, fleet.apart, fleet.chips),
        "cost": cost_json(run),
        "energy": energy_json(run.energy),
        "scaling": [point_json(point) for point in fleet.points],
        "front": [
            {
                "chips": point.run.step.chips,
                **with_interval("train_seconds", point.run.seconds),
                **with_interval("usd", point.cost.usd),
                "usd_basis": point.cost.basis.label,
            }
            for point in plan.front(fleet)
        ],
        "rests_on": fleet.rests_on,
        "notes": list(fleet.notes),
        "unknown": unknown,
    }


def chips_json(fleet: FleetPlan) -> dict[str, int]:
    """Where the fleet's chips are."""
    return {
        "given": fleet.chips,
        "used": fleet.run.step.chips,
        "spare": fleet.run.chips_with_spares - fleet.run.step.chips,
        "idle": fleet.idle_chips,
    }


def point_json(point: ScalePoint) -> dict[str, Any]:
    """One fleet size: together, and apart by number of learners."""
    run = point.together
    return {
        "chips": point.chips,
        "synchronous": None
        if run is None
        else {
            "chips_used": run.step.chips,
            **with_interval("step_seconds", run.step.seconds),
            **with_interval("tokens_per_second", run.step.tokens_per_second),
            **with_interval("goodput", run.goodput),
            **with_interval("effective_tokens_per_second", run.effective_tokens_per_second),
            **with_interval("train_seconds", run.seconds),
        },
        "asynchronous": [
            {
                "learners": each.exchange.learners,
                "chips_used": each.chips,
                **with_interval("goodput", each.goodput),
                **with_interval("effective_tokens_per_second", each.effective_tokens_per_second),
            }
            for each in point.apart
        ],
        "reason": None if run else "the model does not fit",
    }
