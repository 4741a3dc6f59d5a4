"""From one layout's step to a whole run: goodput, time, cost and energy, each with its interval."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from pippin.plan import goodput
from pippin.plan.asynchronous import EVIDENCE, STATISTICAL_COST, Asynchronous, effective
from pippin.plan.cost import Cost, PriceBasis, TokenBudget, costs, train_seconds
from pippin.plan.energy import Energy, energy
from pippin.plan.estimate import Estimate
from pippin.plan.failures import (
    NOT_MODELLED,
    FailureRate,
    Recovery,
    replica_goodput,
    shortage,
    spare_nodes,
    synchronous_goodput,
)

Mode = Literal["synchronous", "replicas"]
_FEW_ROUNDS = 100  # a judgement of ours: outer momentum needs some tens of rounds to begin to work


@dataclass(frozen=True)
class Step:
    """One layout's step: chips at work, data-parallel replicas, tokens it trains on, seconds."""

    chips: int
    replicas: int
    tokens: float
    seconds: Estimate

    @property
    def tokens_per_second(self) -> Estimate:
        return self.seconds.inverse(self.tokens)


@dataclass(frozen=True)
class Site:
    """What a run needs to know of the chip and of where it stands, besides its speed."""

    chip_id: str
    chip_name: str
    node_chips: int
    prices: tuple[PriceBasis, ...]
    watts: float | None
    power_term: str
    power_source: str
    rate: FailureRate
    times: Recovery
    facility_overhead: float | None = None


@dataclass(frozen=True)
class Prospect:
    """A whole run of one layout."""

    step: Step
    budget: TokenBudget
    mode: Mode
    synchronous: Estimate
    replicas: Estimate
    spare_nodes: int
    shortage: float
    chips_with_spares: int
    effective_tokens_per_second: Estimate
    seconds: Estimate
    costs: tuple[Cost, ...]
    energy: Energy

    @property
    def goodput(self) -> Estimate:
        """Of the mode that the run is reckoned in."""
        return self.synchronous if self.mode == "synchronous" else self.replicas


def prospect(step: Step, site: Site, budget: TokenBudget, mode: Mode = "synchronous") -> Prospect:
    """Follows a step through failures to the end of the run.

    Hot spares are paid for and powered; the share of time in which they run out is reported, not subtracted.
    """
    together = synchronous_goodput(site.rate, site.times, step.chips)
    tolerant = replica_goodput(site.rate, site.times, step.chips, step.replicas)
    spares = spare_nodes(site.rate, site.times, step.chips)
    chips = step.chips + spares * site.node_chips
    rate = effective(step.tokens_per_second, together if mode == "synchronous" else tolerant)
    seconds = train_seconds(budget.tokens, rate)
    return Prospect(
        step=step,
        budget=budget,
        mode=mode,
        synchronous=together,
        replicas=tolerant,
        spare_nodes=spares,
        shortage=shortage(site.rate, site.times, step.chips),
        chips_with_spares=chips,
        effective_tokens_per_second=rate,
        seconds=seconds,
        costs=tuple(costs(list(site.prices), chips, budget.tokens, seconds)),
        energy=_energy(site, chips, budget.tokens, seconds),
    )


def _energy(site: Site, chips: int, tokens: float, seconds: Estimate) -> Energy:
    return energy(
        site.watts,
        site.power_term,
        site.power_source,
        chip_name=site.chip_name,
        chips=chips,
        tokens=tokens,
        seconds=seconds,
        facility_overhead=site.facility_overhead,
    )


def with_interval(name: str, estimate: Estimate | None) -> dict[str, Any]:
    """`{name: value, name_interval: [low, high]}`, both None where unknown."""
    if estimate is None:
        return {name: None, f"{name}_interval": None}
    value = estimate.value if estimate.value < float("inf") else None
    return {name: value, f"{name}_interval": estimate.as_list()}


def goodput_json(
    found: Prospect, site: Site, learners: Sequence[Asynchronous], fleet_chips: int
) -> dict[str, Any]:
    """The `goodput` part of an answer.

    Args:
        found: the run of the chosen size.
        site: where it is.
        learners: on the whole fleet.
        fleet_chips: chips of the whole fleet.
    """
    everything = synchronous_goodput(site.rate, site.times, fleet_chips)
    mtbf = float(goodput.fleet_mtbf(site.rate.mtbf_years.value, found.step.chips))
    restart, checkpoint = site.times.restart.value, site.times.checkpoint.value
    return {
        **with_interval("value", found.goodput),
        "mode": found.mode,
        "synchronous": with_interval("goodput", found.synchronous),
        "replicas": {"replicas": found.step.replicas, **with_interval("goodput", found.replicas)},
        "synchronous_on_the_whole_fleet": {"chips": fleet_chips, **with_interval("goodput", everything)},
        "asynchronous": [asynchronous_json(each, found.budget) for each in learners],
        "mtbf_chip_years": {
            **with_interval("value", site.rate.mtbf_years),
            "public": site.rate.public,
            "basis": site.rate.basis,
            "sources": list(site.rate.sources),
        },
        "mtbf_fleet_seconds": mtbf,
        "checkpoint_every_seconds": {
            "best": float(goodput.best_interval(mtbf, checkpoint)),
            "young": float(goodput.young_interval(mtbf, checkpoint)),
            "availability": float(goodput.availability_interval(mtbf, restart, checkpoint)) - checkpoint,
        },
        "recovery_seconds": {
            name: {**with_interval("value", getattr(site.times, name)), "why": why}
            for name, why in site.times.why.items()
        },
        "spares": {
            "nodes": found.spare_nodes,
            "node_chips": site.node_chips,
            "share_of_time_short": found.shortage,
        },
        "not_modelled": list(NOT_MODELLED),
    }


def few_rounds(each: Asynchronous, budget: TokenBudget) -> str:
    """A warning where all tokens are gone after few meetings; empty otherwise."""
    rounds = budget.tokens / each.tokens_per_outer_step
    if rounds >= _FEW_ROUNDS:
        return ""
    return (
        f"only {rounds:,.0f} meetings for all the tokens: a batch of {each.total_batch:,} sequences together "
        "is hardly one to learn with; give each learner less (--learner-batch)"
    )


def asynchronous_json(each: Asynchronous, budget: TokenBudget) -> dict[str, Any]:
    """One way to split the fleet among learners."""
    rounds = budget.tokens / each.tokens_per_outer_step
    return {
        "learners": each.exchange.learners,
        "chips_per_learner": each.chips_per_learner,
        "chips_used": each.chips,
        "learner_batch": each.learner_batch,
        "total_batch": each.total_batch,
        "inner_steps": each.exchange.inner_steps,
        "inner_steps_in_all": rounds * each.exchange.inner_steps,
        "outer_steps_in_all": rounds,
        "caution": few_rounds(each, budget) or "none",
        "outer_bytes": each.outer_bytes,
        "wire_bits": each.exchange.wire_bits,
        "link_bytes_per_second": each.link_bytes_per_second,
        "link_basis": each.exchange.link_basis,
        "exchange_seconds": each.exchange_seconds,
        "overlapped": each.exchange.overlapped,
        "outer_step_every_seconds": each.round_seconds,
        "learners_save_for_themselves": each.own_checkpoints,
        **with_interval("learner_step_seconds", each.learner_step_seconds),
        **with_interval("tokens_per_second", each.tokens_per_second),
        **with_interval("goodput", each.goodput),
        **with_interval("effective_tokens_per_second", each.effective_tokens_per_second),
        **with_interval("train_seconds", train_seconds(budget.tokens, each.effective_tokens_per_second)),
        "statistical_cost": None,
        "statistical_cost_reason": STATISTICAL_COST,
        "statistical_cost_evidence": list(EVIDENCE),
    }


def cost_json(found: Prospect) -> list[dict[str, Any]]:
    """The `cost` part of an answer: one entry a price, cheapest first."""
    return [
        {
            "provider": cost.basis.provider,
            "instance": cost.basis.instance,
            "kind": cost.basis.kind,
            "term": cost.basis.term or None,
            "region": cost.basis.region or None,
            "date": cost.basis.date,
            "source": cost.basis.source,
            "trust": cost.basis.trust,
            "usd_per_chip_hour": cost.basis.usd_per_chip_hour,
            "chips_paid": cost.chips_paid,
            **with_interval("usd", cost.usd),
            **with_interval("usd_per_million_tokens", cost.usd_per_million_tokens),
            "reason": cost.reason,
        }
        for cost in found.costs
    ]


def energy_json(found: Energy) -> dict[str, Any]:
    """The `energy` part of an answer."""
    return {
        "watts_per_chip": found.watts,
        "power_term": found.term or None,
        "power_source": found.source or None,
        **with_interval("joules", found.joules),
        **with_interval("joules_per_token", found.joules_per_token),
        "facility_overhead": found.facility_overhead,
        **with_interval("facility_joules", found.facility_joules),
        "basis": found.basis,
        "unknown": dict(found.reasons),
    }
