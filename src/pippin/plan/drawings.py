"""Draws the plots of a plan's page. What they say in words is in `figures`."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from pippin.plan.asynchronous import Asynchronous
from pippin.plan.cost import Cost
from pippin.plan.estimate import Estimate
from pippin.plan.fleets import Comparison, FleetPlan
from pippin.plan.scaling import FrontPoint
from pippin.plan.wording import DAY_SECONDS, usd
from pippin.report.drawing import Box, bar, panel, tick
from pippin.report.svg import SMALL_PX, Canvas, colour
from pippin.report.units import dollars

if TYPE_CHECKING:
    from matplotlib.axes import Axes

FLEET_COLOURS = ("model", "second", "data", "evaluation", "checkpoint", "idle")
_BAND = 0.16


def fleet_colour(index: int) -> str:
    """The name of a fleet's colour; after the sixth they begin again."""
    return FLEET_COLOURS[index % len(FLEET_COLOURS)]


def log_panel(canvas: Canvas, box: Box, title: str, x_label: str) -> Axes:
    """A panel with both axes logarithmic; `finish` sets its ticks once something is drawn."""
    axes = panel(canvas, box, title, x_label, room=56)
    axes.set_xscale("log")
    axes.set_yscale("log")
    return axes


def finish(axes: Axes, y_text: Callable[[float], str] = tick) -> None:
    """Ticks at 1, 2 and 5 times a power of ten, at most about six of them, and room around the data."""
    from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

    left, right = axes.get_xlim()
    right /= (right / left) ** 0.04  # the last label is centred on its tick and must stay inside
    sides = ((axes.xaxis, (left, right), tick), (axes.yaxis, axes.get_ylim(), y_text))
    for axis, (low, high), text in sides:
        axis.set_major_locator(FixedLocator(log_ticks(low, high)))
        axis.set_minor_locator(NullLocator())
        axis.set_major_formatter(FuncFormatter(lambda value, _, text=text: text(value)))


def log_ticks(low: float, high: float, most: int = 6) -> list[float]:
    """Round numbers between two bounds, evenly on a logarithmic axis."""
    for steps in ((1, 2, 5), (1, 3), (1,)):
        decades = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
        ticks = [s * 10.0**d for d in decades for s in steps if low <= s * 10.0**d <= high]
        if len(ticks) <= most:
            return ticks
    return ticks[:: -(-len(ticks) // most)]


def boxes(canvas: Canvas, count: int, height: float) -> list[Box]:
    """Places for `count` panels: one below another on a narrow canvas, else two in a row."""
    if canvas.narrow or count == 1:
        return [(0, index * height, canvas.width, height) for index in range(count)]
    half = (canvas.width - 36) / 2
    return [((index % 2) * (half + 36), (index // 2) * height, half, height) for index in range(count)]


def front_height(plan: Comparison, narrow: bool) -> float:
    return (330 if narrow else 380) + 22 * len(_priced(plan))


def _priced(plan: Comparison) -> list[tuple[int, FleetPlan]]:
    return [(i, fleet) for i, fleet in enumerate(plan.fleets) if plan.front(fleet)]


def draw_front(plan: Comparison, canvas: Canvas) -> None:
    """Days against dollars for every fleet and size, the front of each fleet joined by a line."""
    priced = _priced(plan)
    axes = log_panel(
        canvas,
        (0, 0, canvas.width, canvas.height - 22 * len(priced)),
        f"Dollars to train ({plan.price_kind or 'prices of different kinds'})",
        "days to train",
    )
    for index, fleet in priced:
        _draw_fleet_front(axes, plan.front(fleet), fleet_colour(index))
    _widen(axes, [p for _, fleet in priced for p in plan.front(fleet)])
    finish(axes, usd)
    taken: list[Box] = []
    for index, fleet in priced:
        _label_points(axes, plan.front(fleet), taken, below=bool(index % 2))
    _key(canvas, [(fleet_colour(i), _front_label(plan, fleet, canvas.narrow)) for i, fleet in priced])


def _front_label(plan: Comparison, fleet: FleetPlan, narrow: bool) -> str:
    cost = plan.cost(fleet)
    assert cost is not None
    return fleet.name if narrow else f"{fleet.name}: {cost.basis.label}"


def _draw_fleet_front(axes: Axes, points: Sequence[FrontPoint], name: str) -> None:
    days = [p.run.seconds.value / DAY_SECONDS for p in points]
    usd = [p.cost.usd.value for p in points if p.cost.usd]
    axes.plot(days, usd, color=colour(name), linewidth=1.5, marker="o", markersize=5)
    for point in points:
        spread, cost = point.run.seconds, point.cost.usd
        if cost and math.isfinite(spread.high):
            # Dollars are days times a constant: the interval is a line along the diagonal.
            axes.plot(
                [spread.low / DAY_SECONDS, spread.high / DAY_SECONDS],
                [cost.low, cost.high],
                color=colour(name),
                linewidth=4,
                alpha=_BAND,
                solid_capstyle="butt",
            )


def _label_points(axes: Axes, points: Sequence[FrontPoint], taken: list[Box], *, below: bool) -> None:
    """The chips beside each dot; a label that would lie on another is left to the table."""
    for point in points:
        assert point.cost.usd is not None
        place = (point.run.seconds.value / DAY_SECONDS, point.cost.usd.value)
        text = f"{point.run.step.chips:,}"
        x, y = axes.transData.transform(place)
        width, height = 7.5 * len(text), 14.0
        own = (x - 5 - width, y - 13, width, height) if below else (x + 6, y + 5, width, height)
        if any(_overlap(own, other) for other in taken):
            continue
        taken.append(own)
        axes.annotate(
            text,
            place,
            (-5, -13) if below else (6, 5),
            ha="right" if below else "left",
            textcoords="offset points",
            fontsize=SMALL_PX,
            color=colour("ink"),
        )


def _overlap(one: Box, other: Box) -> bool:
    return all(one[i] < other[i] + other[i + 2] and other[i] < one[i] + one[i + 2] for i in (0, 1))


def _widen(axes: Axes, points: Sequence[FrontPoint]) -> None:
    """Room around the dots; an interval that goes much farther is cut off at the edge."""
    days = [p.run.seconds.value / DAY_SECONDS for p in points]
    costs = [p.cost.usd.value for p in points if p.cost.usd]
    axes.set_xlim(min(days) / 1.7, max(days) * 1.7)
    axes.set_ylim(min(costs) / 1.5, max(costs) * 2.2)


def _key(canvas: Canvas, entries: Sequence[tuple[str, str]]) -> None:
    for row, (name, text) in enumerate(entries):
        y = canvas.height - 22 * (len(entries) - row) + 10
        bar(canvas, 0, y - 6, 12, 12, name)
        canvas.text(22, y, text, fontsize=SMALL_PX)


_ROW, _HEAD = 24, 34


def known_costs(fleet: FleetPlan) -> list[Cost]:
    """The fleet's costs on prices that are known, cheapest first."""
    return [cost for cost in fleet.run.costs if cost.usd_per_million_tokens]


def price_height(plan: Comparison, narrow: bool) -> float:
    row = _ROW * (2 if narrow else 1)
    return sum(_HEAD + row * max(1, len(known_costs(fleet))) for fleet in plan.fleets) + 8


def draw_prices(plan: Comparison, canvas: Canvas) -> None:
    """A bar for each price of each fleet, with the interval as a thin line."""
    highs = [_bound(c.usd_per_million_tokens) for f in plan.fleets for c in known_costs(f)]
    left = 0 if canvas.narrow else _label_px(plan)
    scale = (canvas.width - left - 96) / (max(highs, default=0) or 1)
    y = -8.0
    for index, fleet in enumerate(plan.fleets):
        canvas.text(0, y + 20, fleet.name, fontweight="bold", fontsize=SMALL_PX)
        y += _HEAD
        if not known_costs(fleet):
            canvas.text(0, y + 12, "no known price", color=colour("muted"), fontsize=SMALL_PX)
            y += _ROW * (2 if canvas.narrow else 1)
        for cost in known_costs(fleet):
            y = _price_row(canvas, cost, left, y, scale, fleet_colour(index))


def _label_px(plan: Comparison) -> float:
    """Room for the longest label; a letter of the small size is 7 pixels wide at most on average."""
    longest = max((len(c.basis.label) for f in plan.fleets for c in known_costs(f)), default=0)
    return min(7.0 * longest + 16, 420)


def _bound(estimate: Estimate | None) -> float:
    assert estimate is not None
    return estimate.high if math.isfinite(estimate.high) else estimate.value


def _price_row(canvas: Canvas, cost: Cost, left: float, y: float, scale: float, name: str) -> float:
    estimate = cost.usd_per_million_tokens
    assert estimate is not None
    if canvas.narrow:
        canvas.text(0, y + 10, cost.basis.label, fontsize=SMALL_PX)
        y += _ROW - 4
    else:
        label = cost.basis.label if len(cost.basis.label) <= 58 else cost.basis.label[:57] + "…"
        canvas.text(left - 12, y + 12, label, ha="right", fontsize=SMALL_PX)
    end = _bound(estimate) * scale
    bar(canvas, left, y + 4, estimate.value * scale, 15, name)
    bar(canvas, left + estimate.low * scale, y + 10.75, end - estimate.low * scale, 1.5, "ink")
    canvas.text(left + end + 8, y + 12, dollars(estimate.value), fontsize=SMALL_PX)
    return y + (_ROW + 4 if canvas.narrow else _ROW)


_SCALING_PX = 290
_LEARNER_COLOURS = ("data", "model", "checkpoint", "evaluation")
Curve = list[tuple[int, Estimate]]


def scaling_fleets(plan: Comparison) -> list[FleetPlan]:
    """Fleets of which more than one size was tried."""
    return [fleet for fleet in plan.fleets if sum(p.together is not None for p in fleet.points) > 1]


def scaling_height(plan: Comparison, narrow: bool) -> float:
    rows = len(scaling_fleets(plan)) * (2 if narrow else 1)
    return _SCALING_PX * rows + 22 * (len(_curve_names(plan)) + 1)


def draw_scaling(plan: Comparison, canvas: Canvas) -> None:
    """For each fleet the goodput on so many chips, and the tokens of lasting work a second."""
    fleets = scaling_fleets(plan)
    places = boxes(canvas, 2 * len(fleets), _SCALING_PX)
    for index, fleet in enumerate(fleets):
        _draw_goodput(canvas, places[2 * index], fleet)
        axes = log_panel(canvas, places[2 * index + 1], f"{fleet.name}, tokens/s that last", "chips at work")
        top = _draw_rates(axes, fleet)
        axes.set_ylim(max(axes.get_ylim()[0], top / 300), top * 1.6)
        finish(axes)
    _key(canvas, [("idle", "one job without failures, tokens/s"), *_curve_names(plan)])


def _draw_goodput(canvas: Canvas, box: Box, fleet: FleetPlan) -> None:
    from matplotlib.ticker import FixedLocator

    axes = log_panel(canvas, box, f"{fleet.name}, goodput", "chips at work")
    axes.set_yscale("linear")
    together = [(size, fleet.together_on(size)) for size in (p.chips for p in fleet.points)]
    for name, curve in [("second", together), *_learner_curves(fleet, lambda a: a.goodput)]:
        _draw_band(axes, curve, name)
    axes.set_ylim(0.01, 1.04)
    finish(axes)
    axes.set_ylim(0, 1.04)  # this axis alone is not logarithmic
    axes.yaxis.set_major_locator(FixedLocator([0, 0.25, 0.5, 0.75, 1]))
    axes.yaxis.set_major_formatter(lambda value, _: f"{100 * value:.0f} %")


def _curve_names(plan: Comparison) -> list[tuple[str, str]]:
    counts = sorted({a.exchange.learners for f in plan.fleets for p in f.points for a in p.apart})
    names = [f"{count} learners apart" for count in counts]
    return [("second", "one synchronous job"), *zip(_LEARNER_COLOURS, names, strict=False)]


def _draw_rates(axes: Axes, fleet: FleetPlan) -> float:
    runs = {p.together.step.chips: p.together for p in reversed(fleet.points) if p.together}
    sizes = sorted(runs)
    perfect: Curve = [(size, runs[size].step.tokens_per_second) for size in sizes]
    axes.plot(sizes, [e.value for _, e in perfect], color=colour("idle"), linewidth=1, linestyle=(0, (4, 3)))
    together: Curve = [(size, runs[size].effective_tokens_per_second) for size in sizes]
    curves = [("second", together), *_learner_curves(fleet, lambda a: a.effective_tokens_per_second)]
    for name, curve in curves:
        _draw_band(axes, curve, name)
    return max(e.high for _, curve in [*curves, ("", perfect)] for _, e in curve)


def _learner_curves(fleet: FleetPlan, of: Callable[[Asynchronous], Estimate]) -> list[tuple[str, Curve]]:
    """A curve for each number of learners, over the chips at work."""
    by_count: dict[int, dict[int, Estimate]] = {}
    for point in reversed(fleet.points):
        for each in point.apart:
            by_count.setdefault(each.exchange.learners, {})[each.chips] = of(each)
    return [
        (name, sorted(by_count[count].items(), key=lambda item: item[0]))
        for name, count in zip(_LEARNER_COLOURS, sorted(by_count), strict=False)
    ]


def _draw_band(axes: Axes, curve: Curve, name: str) -> None:
    sizes: Any = [chips for chips, _ in curve]
    floor = max(e.value for _, e in curve) * 1e-6  # zero has no place on a logarithmic axis
    low: Any = [max(e.low, floor) for _, e in curve]
    axes.fill_between(sizes, low, [e.high for _, e in curve], color=colour(name), alpha=_BAND, linewidth=0)
    values = [max(e.value, floor) for _, e in curve]
    axes.plot(sizes, values, color=colour(name), linewidth=2, marker="o", markersize=4)
