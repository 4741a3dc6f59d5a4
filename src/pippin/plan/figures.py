"""The figures of a plan's page: what each shows in words, and its numbers as a table."""

from __future__ import annotations

from pippin.plan import drawings
from pippin.plan.estimate import Estimate
from pippin.plan.fleets import Comparison, FleetPlan
from pippin.plan.scaling import FrontPoint
from pippin.plan.wording import DAY_SECONDS, days, spread, usd
from pippin.report.figure import Figure, Words, make_figure
from pippin.report.units import SPACE, dollars, percent, si, significant


def make_figures(plan: Comparison) -> list[Figure]:
    """The figures of which the plan has the numbers, in the order of the page."""
    figures = []
    if any(plan.front(fleet) for fleet in plan.fleets):
        figures.append(
            make_figure(
                "front",
                _front(plan),
                lambda canvas: drawings.draw_front(plan, canvas),
                lambda narrow: drawings.front_height(plan, narrow),
            )
        )
    if any(drawings.known_costs(fleet) for fleet in plan.fleets):
        figures.append(
            make_figure(
                "prices",
                _prices(plan),
                lambda canvas: drawings.draw_prices(plan, canvas),
                lambda narrow: drawings.price_height(plan, narrow),
            )
        )
    if drawings.scaling_fleets(plan):
        figures.append(
            make_figure(
                "scaling",
                _scaling(plan),
                lambda canvas: drawings.draw_scaling(plan, canvas),
                lambda narrow: drawings.scaling_height(plan, narrow),
            )
        )
    return figures


def _front(plan: Comparison) -> Words:
    points = [(fleet, point) for fleet in plan.fleets for point in plan.front(fleet)]
    fastest = min(points, key=lambda p: p[1].run.seconds.value)
    cheapest = min(points, key=lambda p: p[1].cost.usd.value if p[1].cost.usd else 0.0)
    finding = f"Fastest is {_named(fastest)}. "
    finding += "Nothing is cheaper." if cheapest[1] is fastest[1] else f"Cheapest is {_named(cheapest)}."
    rows = [
        (
            fleet.name,
            f"{point.run.step.chips:,}",
            days(point.run.seconds),
            spread(point.cost.usd, usd) if point.cost.usd else "",
            point.cost.basis.label,
        )
        for fleet, point in points
    ]
    unpriced = [fleet.name for fleet in plan.fleets if not plan.front(fleet)]
    note = "" if plan.price_kind else "The fleets have no kind of price in common: compare with care. "
    note += "Beside each dot: chips at work. Faint lines: 80 % intervals; dollars and days err together."
    if unpriced:
        note += f" Without a known price, so not drawn: {', '.join(unpriced)}."
    columns = ("Fleet", "Chips", "Time to train", "Dollars", "Price")
    return Words("Time against cost", finding, note, columns, rows)


def _named(point: tuple[FleetPlan, FrontPoint]) -> str:
    fleet, found = point
    length = significant(found.run.seconds.value / DAY_SECONDS)
    price = usd(found.cost.usd.value) if found.cost.usd else "an unknown price"
    return f"{found.run.step.chips:,} chips of {fleet.name}, {length} days for {price}"


def _prices(plan: Comparison) -> Words:
    known = [(fleet, cost) for fleet in plan.fleets for cost in drawings.known_costs(fleet)]
    rows = [
        (
            fleet.name,
            cost.basis.label,
            cost.basis.region or "region not stated",
            f"{cost.basis.usd_per_chip_hour:,.3f}" if cost.basis.usd_per_chip_hour else "",
            spread(cost.usd_per_million_tokens, dollars) if cost.usd_per_million_tokens else "",
            cost.basis.trust,
        )
        for fleet, cost in known
    ]
    missing = [
        f"{fleet.name}: {cost.reason}" for fleet in plan.fleets for cost in fleet.run.costs if cost.reason
    ]
    note = "Thin lines: 80 % intervals of speed and failures; the price itself is taken as it is. "
    note += "Chips at work and hot spares are paid for, in whole instances. "
    note += f"Not known: {'; '.join(dict.fromkeys(missing))}." if missing else ""
    columns = ("Fleet", "Price", "Region", "USD/chip-hour", "USD per M tokens", "Trust")
    return Words("Cost on every price", _price_finding(plan), note, columns, rows)


def _price_finding(plan: Comparison) -> str:
    parts = []
    for fleet in plan.fleets:
        found = [
            c.usd_per_million_tokens.value for c in drawings.known_costs(fleet) if c.usd_per_million_tokens
        ]
        if not found:
            parts.append(f"{fleet.name} has no known price")
        elif len(found) == 1:
            parts.append(f"{fleet.name} costs {dollars(found[0])} per M tokens on its one known price")
        else:
            parts.append(
                f"{fleet.name} costs {dollars(found[0])} to {dollars(found[-1])} per M tokens, a factor of "
                f"{significant(found[-1] / found[0], 2)} by the price alone"
            )
    return "; ".join(parts) + "."


def _scaling(plan: Comparison) -> Words:
    rows: list[tuple[str, ...]] = []
    for fleet in drawings.scaling_fleets(plan):
        for point in fleet.points:
            if run := point.together:
                rows.append(
                    _row(fleet, run.step.chips, "together", run.goodput, run.effective_tokens_per_second)
                )
            for a in point.apart:
                how = f"{a.exchange.learners} learners"
                rows.append(_row(fleet, a.chips, how, a.goodput, a.effective_tokens_per_second))
    rows = list(dict.fromkeys(rows))  # the best of two sizes may be one layout
    note = (
        "Goodput: as if all chips worked. Tokens/s: the layout that is best with failures counted, which may "
        "leave chips idle. Bands: 80 % intervals of step time, failure rate and recovery. Each learner takes "
        "the batch of one job, so together they take more tokens an update; what that and meeting rarely "
        "cost in loss is not known and not in these curves."
    )
    columns = ("Fleet", "Chips at work", "How", "Goodput", "Tokens/s that last")
    return Words("More chips, together and apart", _scaling_finding(plan), note, columns, rows)


def _row(fleet: FleetPlan, chips: int, how: str, goodput: Estimate, rate: Estimate) -> tuple[str, ...]:
    lasting = spread(rate, lambda value: si(value, "").replace(SPACE, " "))
    return (fleet.name, f"{chips:,}", how, spread(goodput, percent), lasting)


def _scaling_finding(plan: Comparison) -> str:
    fleet = max(drawings.scaling_fleets(plan), key=lambda f: f.chips)
    kept = spread(fleet.together_on(fleet.chips), percent)
    finding = f"A synchronous job on all {fleet.chips:,} chips of {fleet.name} would keep {kept} of its time"
    if fleet.apart:
        best = max(fleet.apart, key=lambda a: a.goodput.value)
        finding += f", {best.exchange.learners} learners apart {percent(best.goodput.value)}"
    return finding + "."
