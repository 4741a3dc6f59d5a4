"""An answer of the planner as tables for a person."""

from __future__ import annotations

import sys

from rich.console import Console
from rich.table import Table
from rich.text import Text

from pippin.plan.answer import Answer
from pippin.plan.asked import stages_of
from pippin.plan.cost import reference
from pippin.plan.estimate import INTERVAL_BASIS
from pippin.plan.ranked import RankedLayout, choices, degrees, mfu_basis
from pippin.plan.scaling import front
from pippin.plan.wording import days, spread, usd
from pippin.report.units import percent, si

_WIDTH, _GIB = 110, 2**30
_MOST_STAGES = 8


def show(found: Answer, *, explain_memory: bool) -> None:
    """Prints the answer: what to do, the best layouts, what comes of it, what it rests on."""
    console = Console(file=sys.stdout, width=None if sys.stdout.isatty() else _WIDTH, highlight=False)
    for line in [*_headline(found), ""]:
        console.print(line, markup=False)
    console.print(_layouts(found))
    console.print(_outcome(found))
    if explain_memory:
        console.print(_memory(found))
    for line in _footing(found):
        console.print(Text(line, style="dim"))


def _headline(found: Answer) -> list[str]:
    request, plan, ranking = found.request, found.plan, found.ranking
    used = found.first.chips
    batch = (
        f"batch {request.global_batch:,} x {request.sequence_length:,} = "
        f"{request.batch_tokens:,} tokens ({request.batch_basis})"
    )
    return [
        f"{request.model} ({request.parameters / 1e9:,.2f} B parameters, {request.precision}) on "
        f"{plan.chips:,} {found.fleet.fleet_id}: {batch}",
        f"{ranking.evaluated:,} of {ranking.size:,} layouts evaluated in {ranking.seconds:.1f} s, "
        f"{ranking.fitting:,} fit",
        f"this batch can use {ranking.most_chips:,} of the {plan.chips:,} chips; the plan uses {used:,}, "
        f"keeps {plan.run.chips_with_spares - plan.run.step.chips:,} spare and leaves {plan.idle_chips:,} "
        f"idle ({plan.why})",
    ]


def _layouts(found: Answer) -> Table:
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    for name in ("", "layout", "chips", "step", "MFU", "memory"):
        numeric = name in ("chips", "step", "MFU", "memory")
        table.add_column(name, justify="right" if numeric else "left", no_wrap=numeric)
    for place, each in enumerate(found.best, start=1):
        table.add_row(str(place), *_row(each, each.reason))
    if found.asked:
        table.add_row("asked", *_row(found.asked, found.asked.reason))
    if found.peer:
        finding, ours = found.peer
        said = f"{finding.planner}'s best, which predicts {finding.step_seconds:g} s; {ours.reason}"
        table.add_row("peer", *_row(ours, said))
    return table


def _row(each: RankedLayout, why: str) -> list[Text]:
    layout = Text(degrees(each.layout))
    layout.append(f"\n{', '.join(choices(each.layout))}\n{why}", style="dim")
    memory = _gib(each.memory_bytes) if each.fits else f"{_gib(each.memory_bytes)}, does not fit"
    mfu = spread(each.mfu, percent) if each.mfu else "unknown"
    cells = (f"{each.chips:,}", spread(each.step, _seconds), mfu, memory)
    return [layout, *(Text(cell) for cell in cells)]


def _seconds(value: float) -> str:
    return si(value, "s")


def _gib(value: float) -> str:
    return f"{value / _GIB:.1f} GiB"


def _outcome(found: Answer) -> Table:
    run, request = found.plan.run, found.request
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), show_header=False)
    rows = [
        ("tokens", f"{si(request.budget.tokens, 'tokens')} ({request.budget.basis})"),
        ("goodput", f"{spread(run.goodput, percent)} on the {run.step.chips:,} chips of the plan"),
        ("", f"{spread(found.plan.together_on(found.plan.chips), percent)} together on all chips"),
    ]
    for each in found.plan.apart:
        label = f"{each.exchange.learners} learners apart, {each.chips_per_learner:,} chips each"
        rows.append(("", f"{spread(each.goodput, percent)} with {label}"))
    rows.append(("time to train", days(run.seconds)))
    rows += [("cost", line) for line in _costs(found)]
    rows += [("" if i else "or", line) for i, line in enumerate(_others(found))]
    joules = run.energy.joules
    energy = spread(joules, lambda j: f"{j / 3.6e12:.3g} GWh") if joules else None
    reason = "; ".join(run.energy.reasons.values())
    rows.append(("energy", f"{energy} ({run.energy.term})" if energy else f"unknown: {reason}"))
    for name, value in rows:
        table.add_row(name, Text(value))
    return table


def _costs(found: Answer) -> list[str]:
    run = found.plan.run
    best = reference(run.costs, None)
    if best is None or best.usd is None:
        return [f"unknown: {'; '.join(c.reason or '' for c in run.costs) or 'no price in the catalog'}"]
    others = len([c for c in run.costs if c.usd]) - 1
    more = f"; {others} other prices in --json" if others > 0 else ""
    return [f"{spread(best.usd, usd)} ({best.basis.label}{more})"]


def _others(found: Answer) -> list[str]:
    """Other sizes of the fleet that none beats in both time and cost."""
    here = found.plan.run.step.chips
    return [
        f"{point.run.step.chips:,} chips: {days(point.run.seconds)}, {spread(point.cost.usd, usd)}"
        for point in front(found.plan.points)
        if point.run.step.chips != here and point.cost.usd
    ]


def _memory(found: Answer) -> Table:
    """A row a stage; of many in between only some."""
    task, of = found.explained
    stages = stages_of(task, of)
    names = [name for name in stages[0]["parts"] if any(stage["parts"][name] for stage in stages)]
    margin = task.system.memory_bytes * task.framework.margin
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), title_justify="left")
    table.title = f"GiB a chip, {_gib(margin)} margin kept: {degrees(of.layout)}"
    for name in ("stage", *names, "total", "free"):
        table.add_column(name, justify="right", no_wrap=True)
    shown = stages if len(stages) <= _MOST_STAGES else [*stages[:3], *stages[-2:]]
    for stage in shown:
        first, last = stage["stages"]
        values = [*(stage["parts"][name] for name in names), stage["total"]]
        cells = [f"{value / _GIB:.2f}" for value in [*values, task.usable_bytes - stage["total"]]]
        table.add_row(str(first) if first == last else f"{first}-{last}", *cells)
    return table


def _footing(found: Answer) -> list[str]:
    plan, framework = found.plan, found.task.framework
    return [
        f"MFU: {mfu_basis(found.rated)}.",
        f"Steps: {plan.rests_on}. Brackets: {INTERVAL_BASIS}.",
        f"Memory of {framework.name}: {framework.source}; {framework.margin:.0%} left free.",
        *plan.notes,
    ]
