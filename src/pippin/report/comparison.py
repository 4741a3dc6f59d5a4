"""Is B better than A, by how much, on which basis: the ratios of two sides with their intervals.

Every ratio is B over A. A number that is not known is null, and `unknown` has the reason, as in a report.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from pydantic import Field

from pippin.report.comparable import differences, why_not
from pippin.report.pricing import CatalogPrice
from pippin.report.quantities import Section
from pippin.report.ratio import Ratio, ends_of, ratio_of, without_interval
from pippin.report.schema import SchemaVersionError
from pippin.report.sides import Side, read_side
from pippin.report.verdict import named, verdict

FEWEST_RUNS = 2
USERS_PRICE = "as given by the user"
ONE_RUN = (
    "one run a side: what differs from run to run was not measured, and the intervals hold little of it; "
    "`pippin assay --repeat` measures it"
)


class HeldOutScores(Section):
    """Bits per byte of the trained models on the same held-out text; B's less A's is the difference."""

    a: float
    b: float
    difference: float
    basis: str


class Difference(Section):
    """Something that differs between the sides, and does not forbid to compare them."""

    what: str
    a: str
    b: str


class Summary(Section):
    """What one side is made of."""

    paths: tuple[str, ...]
    chip: str
    runs: int = Field(ge=1)
    windows: int = Field(ge=1)


class Comparison(Section):
    """The answer. Where the sides are not comparable there are reasons, and no ratios."""

    comparable: bool
    reasons: tuple[str, ...]
    ratios: dict[str, Ratio]
    verdict: str
    a: Summary | None
    b: Summary | None
    held_out: HeldOutScores | None
    differences: tuple[Difference, ...]
    notes: tuple[str, ...]
    unknown: dict[str, str]


def compare_paths(a: str, b: str) -> tuple[Comparison, Side | None, Side | None]:
    """Reads both sides and compares them; the sides are None where one is of another schema version.

    Raises:
        PippinError: see `read_side`.
    """
    try:
        left, right = read_side("A", a), read_side("B", b)
    except SchemaVersionError as error:
        return _refused([str(error)]), None, None
    return compare(left, right), left, right


def compare(a: Side, b: Side) -> Comparison:
    """The ratios of B over A, or the reasons why there are none."""
    if reasons := why_not(a, b):
        return _refused(reasons, a, b)
    unknown: dict[str, str] = {}
    ratios = {"tokens_per_second": _in_the_steps(a, b, unknown)}
    _end_to_end(a, b, ratios, unknown)
    _per_dollar(a, b, ratios, unknown)
    _per_joule(a, b, ratios, unknown)
    return Comparison(
        comparable=True,
        reasons=(),
        ratios=ratios,
        verdict=verdict(ratios, unknown),
        a=_summary(a),
        b=_summary(b),
        held_out=_held_out(a, b, unknown),
        differences=tuple(Difference(what=what, a=x, b=y) for what, x, y in differences(a, b)),
        notes=tuple(_notes(a, b)),
        unknown=unknown,
    )


def _refused(reasons: Sequence[str], a: Side | None = None, b: Side | None = None) -> Comparison:
    words = "; ".join(reasons)
    sides = {"a": _summary(a) if a else None, "b": _summary(b) if b else None}
    missing = ["held_out", *(name for name, side in sides.items() if side is None)]
    return Comparison(
        comparable=False,
        reasons=tuple(reasons),
        ratios={},
        verdict=f"Not comparable: {words}.",
        held_out=None,
        differences=(),
        notes=(),
        unknown=dict.fromkeys(missing, words),
        **sides,
    )


def _summary(side: Side) -> Summary:
    return Summary(
        paths=side.paths,
        chip=side.first.chip.name,
        runs=len(side.reports),
        windows=side.num_windows,
    )


def _in_the_steps(a: Side, b: Side, unknown: dict[str, str]) -> Ratio:
    return ratio_of(
        "tokens_per_second",
        (a.tokens_per_second, a.log_speeds()),
        (b.tokens_per_second, b.log_speeds()),
        "tokens/s",
        "in the training steps, all devices of each side together",
        unknown,
    )


def _end_to_end(a: Side, b: Side, ratios: dict[str, Ratio], unknown: dict[str, str]) -> None:
    """Whole runs have one value each, so that their interval needs several runs."""
    name = "tokens_per_second_end_to_end"
    reports = (*a.reports, *b.reports)
    if len({(report.minutes_requested, report.full) for report in reports}) > 1:
        unknown[f"ratios.{name}"] = (
            "not all runs had as many minutes and measured as much (--minutes, --full)"
        )
        return
    low = high = None
    if min(len(a.reports), len(b.reports)) < FEWEST_RUNS:
        without_interval(name, f"a run has one value, so each side needs {FEWEST_RUNS} runs", unknown)
    else:
        low, high = ends_of(a.log_end_to_end(), b.log_end_to_end())
    x, y = a.tokens_per_second_end_to_end, b.tokens_per_second_end_to_end
    minutes = a.first.minutes_requested
    basis = f"from the start of the command to its end, with {minutes:g} min of training asked for"
    ratios[name] = Ratio(ratio=y / x, low=low, high=high, unit="tokens/s", basis=basis, a=x, b=y)


def _per_dollar(a: Side, b: Side, ratios: dict[str, Ratio], unknown: dict[str, str]) -> None:
    """On each kind of price that both sides have; the price is taken as exact."""
    prices_a, prices_b = _prices(a), _prices(b)
    speed = ratios["tokens_per_second"]
    given = [USERS_PRICE] if _given(a) | _given(b) != {None} else []
    for kind in dict.fromkeys([*given, *prices_a, *prices_b]):
        name = f"tokens_per_dollar, {kind}"
        lacking = [side for side, prices in ((a, prices_a), (b, prices_b)) if kind not in prices]
        if lacking:
            whys = "; ".join(_why_no_price(side, kind) for side in lacking)
            unknown[f"ratios.{name}"] = f"{named(name)}: {whys}"
            continue
        (usd_a, words_a), (usd_b, words_b) = prices_a[kind], prices_b[kind]
        basis = f"{kind}; A: {words_a}; B: {words_b}; in the training steps"
        ratios[name] = speed.scaled(usd_a / 3600, usd_b / 3600, "tokens/USD", basis)
        if reason := unknown.get("ratios.tokens_per_second.low"):
            without_interval(name, reason, unknown)
    if not any(name.startswith("tokens_per_dollar") for name in ratios):
        unknown["ratios.tokens_per_dollar"] = (
            f"no kind of price is known of both: A has {_listed(prices_a)}, B has {_listed(prices_b)}"
        )


def _prices(side: Side) -> dict[str, tuple[float, str]]:
    """Of each kind, what the measured chips cost an hour and where from: the cheapest that the report has."""
    found: dict[str, tuple[float, str]] = {}
    given = _given(side)
    if len(given) == 1 and (usd := given.pop()):
        found[USERS_PRICE] = (usd, f"${usd:g} an hour, {side.first.price.date}")
    rows: Sequence[CatalogPrice] = side.first.price.catalog or ()
    for row in sorted(rows, key=lambda row: row.usd_per_hour):
        words = f"${row.usd_per_hour:.4g} an hour of {row.instance}, {row.region}, {row.date}"
        found.setdefault(row.basis, (row.usd_per_hour, words))
    return found


def _given(side: Side) -> set[float | None]:
    return {report.price.usd_per_hour for report in side.reports}


def _why_no_price(side: Side, kind: str) -> str:
    if kind == USERS_PRICE and len(_given(side)) > 1:
        return f"not all runs of {side.label} were given the same price"
    return f"{side.label} has no such price"


def _listed(prices: dict[str, Any]) -> str:
    return ", ".join(prices) or "none"


def _per_joule(a: Side, b: Side, ratios: dict[str, Ratio], unknown: dict[str, str]) -> None:
    name, x, y = "tokens_per_joule", a.tokens_per_joule, b.tokens_per_joule
    if x is None or y is None:
        lacking = [(side, side.first.unknown.get("energy.joules", "not all runs have it")) for side in (a, b)]
        whys = [f"{s.label}: {why}" for (s, why), value in zip(lacking, (x, y), strict=True) if value is None]
        unknown[f"ratios.{name}"] = "; ".join(whys)
        return
    meters = [f"{s.label}: {s.first.energy.meter}, {s.first.energy.scope}" for s in (a, b)]
    basis = "; ".join(meters)
    if a.window_joules_known and b.window_joules_known:
        runs_a, runs_b = a.log_tokens_per_joule(), b.log_tokens_per_joule()
        ratios[name] = ratio_of(name, (x, runs_a), (y, runs_b), "tokens/J", basis, unknown)
        return
    without_interval(name, "the energy of the windows is not known", unknown)
    ratios[name] = Ratio(ratio=y / x, low=None, high=None, unit="tokens/J", basis=basis, a=x, b=y)


def _held_out(a: Side, b: Side, unknown: dict[str, str]) -> HeldOutScores | None:
    if len({report.data_sha256 for side in (a, b) for report in side.reports}) > 1:
        unknown["held_out"] = "the sides were not trained and scored on the same text"
        return None
    means = [float(np.mean([r.held_out.bits_per_byte for r in side.reports])) for side in (a, b)]
    tokens = [float(np.mean([r.tokens for r in side.reports])) for side in (a, b)]
    basis = f"bits per byte after {tokens[0]:,.0f} tokens on A and {tokens[1]:,.0f} on B; fewer is better"
    return HeldOutScores(a=means[0], b=means[1], difference=means[1] - means[0], basis=basis)


def _notes(a: Side, b: Side) -> list[str]:
    notes = [ONE_RUN] if len(a.reports) == len(b.reports) == 1 else []
    if any(report in b.reports for report in a.reports):
        notes.append("a report stands on both sides, so that they are not independent")
    return notes
