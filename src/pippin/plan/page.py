"""The page of a plan: fleets side by side in a single HTML file that loads nothing."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from pippin.plan.asynchronous import EVIDENCE, STATISTICAL_COST, Asynchronous
from pippin.plan.cost import Cost
from pippin.plan.drawings import fleet_colour
from pippin.plan.energy import RATED
from pippin.plan.estimate import Estimate
from pippin.plan.failures import NOT_MODELLED
from pippin.plan.figures import make_figures
from pippin.plan.fleets import Comparison, FleetPlan
from pippin.plan.prospect import few_rounds
from pippin.plan.wording import days, spread, usd
from pippin.report.html import render_template
from pippin.report.units import SPACE, byte_size, count, dollars, percent, si, significant
from pippin.storage import write_atomic


@dataclass(frozen=True)
class Cell:
    """A value as text, None where unknown, and what it rests on or why it is not known."""

    value: str | None
    note: str = ""


@dataclass(frozen=True)
class Row:
    """One quantity across the fleets."""

    label: str
    cells: tuple[Cell, ...]
    big: bool = False


@dataclass(frozen=True)
class Group:
    """Statements under one title."""

    title: str
    lines: tuple[str, ...]


def render_page(plan: Comparison, *, version: str, command: str) -> str:
    """The HTML page. All text is escaped; the same plan gives the same page."""
    return render_template(
        "pippin.plan",
        "plan.html.j2",
        version=version,
        command=command,
        title=_title(plan),
        facts=_facts(plan),
        headline=headline(plan),
        basis=_basis(plan),
        fleets=[{"name": f.name, "colour": fleet_colour(i)} for i, f in enumerate(plan.fleets)],
        rows=side_by_side(plan),
        refused=plan.refused,
        figures=make_figures(plan),
        groups=_groups(plan),
    )


def write_page(plan: Comparison, path: Path, *, version: str, command: str) -> None:
    """Writes the page, whole or not at all.

    Raises:
        PippinError: the file system refused.
    """
    write_atomic(path, render_page(plan, version=version, command=command))


def _title(plan: Comparison) -> str:
    # A name is not broken at its hyphen.
    names = [fleet.name.replace("-", "\u2011") for fleet in plan.fleets]
    listed = names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"
    return f"{plan.model} on {listed}"


def _facts(plan: Comparison) -> list[str]:
    return [
        f"{count(plan.parameters)} parameters",
        f"{count(plan.budget.tokens)} tokens to train on",
        f"{plan.global_batch:,} sequences of {plan.sequence_length:,} an update",
        plan.precision,
    ]


def headline(plan: Comparison) -> str:
    """The fastest and the cheapest fleet in a sentence or two."""
    fastest = min(plan.fleets, key=lambda f: f.run.seconds.value)
    text = f"{fastest.name} trains it in {days(fastest.run.seconds)}"
    priced = [(fleet, cost) for fleet in plan.fleets if (cost := plan.cost(fleet))]
    if not priced:
        return text + "; the catalog has no price for any of them."
    fleet, cost = min(priced, key=lambda pair: _usd(pair[1]))
    price = f"{usd(_usd(cost))}, on {cost.basis.label}"
    if len(plan.fleets) == 1:
        return f"{text} for {price}."
    subject = "It" if fleet is fastest else fleet.name
    kinds = "" if plan.price_kind else " (prices of different kinds)"
    close = [each.name for each, other in priced if each is not fleet and _overlap(cost, other)]
    doubt = f" On this footing it cannot be told apart from {' and '.join(close)}." if close else ""
    return f"{text}, the fastest. {subject} is the cheapest{kinds} at {price}.{doubt}"


def _overlap(least: Cost, other: Cost) -> bool:
    """Whether two costs have values in common within their intervals."""
    return bool(least.usd and other.usd and least.usd.high >= other.usd.low)


def _usd(cost: Cost) -> float:
    return cost.usd.value if cost.usd else float("inf")


def _basis(plan: Comparison) -> str:
    return (
        f"In brackets: 80{SPACE}% intervals of step time, failure rate and recovery, by a model; nothing "
        f"here was measured on these fleets. Picked for {plan.objective}. Tokens: {plan.budget.basis}. "
        f"Batch: {plan.batch_basis}."
    )


def side_by_side(plan: Comparison) -> list[Row]:
    """The table of the page and of the terminal."""
    kind = f"Dollars, {plan.price_kind}" if plan.price_kind else "Dollars"
    makers: list[tuple[str, Callable[[FleetPlan], Cell], bool]] = [
        ("Time to train", lambda f: Cell(days(f.run.seconds), f.why), True),
        (kind, lambda f: _dollars(plan, f), True),
        ("Dollars per M tokens", lambda f: _per_million(plan, f), False),
        ("Tokens/s, failures counted", lambda f: Cell(_rate(f.run.effective_tokens_per_second)), False),
        ("Tokens/s, without failures", lambda f: Cell(_rate(f.run.step.tokens_per_second)), False),
        ("MFU", _mfu, False),
        ("Goodput, one synchronous job", _goodput, False),
        ("Goodput, replicas that go on", _replicas, False),
        ("Goodput, learners apart", _apart, False),
        ("Tokens/s of learners apart", _apart_rate, False),
        ("Energy of the chips", _energy, False),
        ("Chips", _chips, False),
        ("Layout", lambda f: Cell(f.layout, f"{byte_size(f.memory_bytes)} a chip"), False),
    ]
    return [Row(label, tuple(map(make, plan.fleets)), big) for label, make, big in makers]


def _rate(estimate: Estimate) -> str:
    return spread(estimate, lambda value: si(value, "").strip())


def _dollars(plan: Comparison, fleet: FleetPlan) -> Cell:
    cost = plan.cost(fleet)
    if cost is None or cost.usd is None:
        return Cell(None, _no_price(fleet))
    return Cell(spread(cost.usd, usd), f"{cost.basis.label}; {cost.chips_paid:,} chips paid for")


def _no_price(fleet: FleetPlan) -> str:
    reasons = dict.fromkeys(cost.reason for cost in fleet.run.costs if cost.reason)
    return "; ".join(reasons) or "the catalog has no price of this chip"


def _per_million(plan: Comparison, fleet: FleetPlan) -> Cell:
    cost = plan.cost(fleet)
    known = [c.usd_per_million_tokens for c in fleet.run.costs if c.usd_per_million_tokens]
    if cost is None or cost.usd_per_million_tokens is None:
        return Cell(None, _no_price(fleet))
    note = f"{dollars(known[0].value)} to {dollars(known[-1].value)} over {len(known)} known prices"
    return Cell(spread(cost.usd_per_million_tokens, dollars), note if len(known) > 1 else "")


def _mfu(fleet: FleetPlan) -> Cell:
    if fleet.mfu is None:
        return Cell(None, fleet.mfu_basis)
    return Cell(spread(fleet.mfu, percent), fleet.mfu_basis)


def _goodput(fleet: FleetPlan) -> Cell:
    rate = fleet.site.rate.mtbf_years
    note = f"a chip fails every {significant(rate.value, 2)} years "
    note += f"({significant(rate.low, 2)} to {significant(rate.high, 2)})"
    note += "" if fleet.site.rate.public else ", not published for this chip"
    if fleet.chips > fleet.run.step.chips:
        note += f"; on all {fleet.chips:,} chips {spread(fleet.together_on(fleet.chips), percent)}"
    return Cell(spread(fleet.run.synchronous, percent), note)


def _replicas(fleet: FleetPlan) -> Cell:
    return Cell(spread(fleet.run.replicas, percent), f"{fleet.run.step.replicas:,} replicas")


def _apart(fleet: FleetPlan) -> Cell:
    if not fleet.apart:
        return Cell(None, "a learner's share of the chips does not hold the model")
    best = _best_apart(fleet)
    what = f"{best.exchange.learners} learners on {best.chips:,} chips"
    return Cell(spread(best.goodput, percent), f"{what}; the cost in loss is not known")


def _apart_rate(fleet: FleetPlan) -> Cell:
    if not fleet.apart:
        return Cell(None, "a learner's share of the chips does not hold the model")
    best = _best_apart(fleet)
    note = f"{best.total_batch:,} sequences an update in all, {best.learner_batch:,} a learner"
    caution = few_rounds(best, fleet.run.budget)
    note += f"; {caution}" if caution else ""
    return Cell(_rate(best.effective_tokens_per_second), note)


def _best_apart(fleet: FleetPlan) -> Asynchronous:
    return max(fleet.apart, key=lambda a: a.effective_tokens_per_second.value)


def _energy(fleet: FleetPlan) -> Cell:
    energy = fleet.run.energy
    if energy.joules is None:
        return Cell(None, energy.reasons["joules"])
    megawatt_hours = spread(energy.joules.scaled(1 / 3.6e9), lambda value: f"{significant(value)}")
    note = f"{energy.watts:g} W a chip ({energy.term}) times wall time"
    if energy.facility_joules:
        note += f"; whole facility {significant(energy.facility_joules.value / 3.6e9)} MWh"
    return Cell(f"{megawatt_hours} MWh", note)


def _chips(fleet: FleetPlan) -> Cell:
    run = fleet.run
    spares = run.spare_nodes * fleet.site.node_chips
    return Cell(
        f"{run.step.chips:,} at work", f"{spares:,} spare, {fleet.idle_chips:,} idle of {fleet.chips:,}"
    )


def _groups(plan: Comparison) -> list[Group]:
    groups = [Group(fleet.name, _rests(fleet)) for fleet in plan.fleets]
    why = plan.fleets[0].site.times.why  # one set of times for all
    groups.append(Group("Recovery", tuple(f"{name.capitalize()}: {text}." for name, text in why.items())))
    left_out = (
        f"Not modelled: {'; '.join(NOT_MODELLED)}.",
        f"Learners apart: {STATISTICAL_COST}.",
        *EVIDENCE,
    )
    return [*groups, Group("What is left out", left_out)]


def _rests(fleet: FleetPlan) -> tuple[str, ...]:
    site = fleet.site
    lines = [f"Step time: {fleet.rests_on}."]
    lines.append(f"Failures: {site.rate.basis}.")
    if site.watts:
        lines.append(
            f"Power: {site.watts:g} W, {site.power_term} ({site.power_source}). {RATED.capitalize()}."
        )
    prices = dict.fromkeys(f"{p.label}: {p.source}" for p in site.prices if p.usd_per_chip_hour)
    lines += [f"Price, {price}." for price in prices]
    return (*lines, *fleet.notes)
