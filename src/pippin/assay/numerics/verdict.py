"""What failed, in words, the likeliest cause first."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import groupby
from typing import Any

from pippin.assay.numerics.check import Numerics
from pippin.assay.numerics.layers import SPREAD
from pippin.assay.numerics.operations import PRODUCT
from pippin.assay.numerics.trajectories import MARGIN

_LAYER_KINDS = ("output", "gradient", f"{SPREAD}gradient")


def failures(found: Numerics) -> list[str]:
    """One line for each operation, kind of layer figure, run or repeat that was beyond its tolerance."""
    single = [*_products(found), *_operations(found)]
    return [*single, *_layers(found, alone=not single), *_runs(found), *found.repeats.wrong[:3]]


def _products(found: Numerics) -> Iterable[str]:
    """Products of whole numbers, and products beyond their tolerance, by product."""
    for name, rows in groupby(found.whole, key=lambda row: row.operation):
        wrong = [row for row in rows if row.wrong]
        far = [row for row in found.deviations if row.operation == name and not row.within]
        if wrong:
            parts = "; ".join(f"{row.part}: {row.wrong:,} of {row.elements:,}" for row in wrong)
            yield f"{name}: whole numbers come out wrong ({parts})"
        elif far:
            yield _beyond(name, far)


def _operations(found: Numerics) -> Iterable[str]:
    for name, rows in groupby(found.deviations, key=lambda row: row.operation):
        far = [row for row in rows if not row.within]
        if far and far[0].kind != PRODUCT:
            yield _beyond(name, far)


def _beyond(name: str, rows: Sequence[Any]) -> str:
    by_part = [
        f"{row.part} off by {row.error:.1e} of its norm ({row.tolerance:.1e} allowed)"
        if row.error > row.tolerance
        else f"{row.part}: one element off by {row.worst:.1e} ({row.worst_tolerance:.1e} allowed)"
        for row in rows
    ]
    return f"{name}: {'; '.join(by_part)}"


def _layers(found: Numerics, *, alone: bool) -> Iterable[str]:
    """The first output and the first gradient on their way through the model that depart."""
    for kind in _LAYER_KINDS:
        rows = [row for row in found.layers if row.quantity.startswith(kind)]
        far = [row for row in rows if not row.within]
        if not far:
            continue
        first = far[0]
        line = f"whole model, {kind}s: {first.layer} is the first to depart"
        line += f" ({first.quantity} off by {first.error:.1e}, {first.tolerance:.1e} allowed)"
        line += f", {len(far)} of {len(rows)} in all"
        yield line + _whose(found, kind, alone=alone)


def _whose(found: Numerics, kind: str, *, alone: bool) -> str:
    """What a departure of the whole model says where what it is made of agrees."""
    if not alone:
        return ""
    if kind.startswith(SPREAD) and all(
        row.within for row in found.layers if not row.quantity.startswith(SPREAD)
    ):
        return "; one device alone agrees, so the fault is in what devices exchange"
    return "; every single operation agrees, so the fault is in how the compiler joins them"


def _runs(found: Numerics) -> Iterable[str]:
    outcome, repeated = found.runs.equivalence, found.runs.repeated
    if outcome and outcome.verdict == "different":
        yield (
            f"short runs: the loss on the chip differs by {outcome.mean:+.4f} nats a token "
            f"({outcome.low:+.4f} to {outcome.high:+.4f}), more than {MARGIN}"
        )
    if repeated.loss_difference > MARGIN:
        yield (
            f"the same run twice: losses up to {repeated.loss_difference:.2g} nats a token apart, "
            f"more than {MARGIN}"
        )


def passed(found: Numerics) -> bool | None:
    """False with a failure, None where nothing failed and the runs could not tell."""
    if failures(found):
        return False
    outcome = found.runs.equivalence
    return True if outcome and outcome.verdict == "equivalent" and not found.unchecked else None


def verdict(found: Numerics) -> str:
    """One sentence; of a failure it names the kind of operation that is the likeliest cause."""
    if not failures(found):
        return _sound(found)
    return f"The chip does not compute what it should: {_cause(found)}."


def _cause(found: Numerics) -> str:
    products = list(_products(found))
    if products:
        names = [line.partition(":")[0] for line in products]
        more = f", and {len(names) - 1} more" if len(names) > 1 else ""
        return f"matrix products are wrong, first the {names[0]}{more}"
    operations = [line.partition(":")[0] for line in _operations(found)]
    if operations:
        return f"{', '.join(operations)} {'is' if len(operations) == 1 else 'are'} wrong, products are right"
    if any(not row.within for row in found.layers):
        return "single operations are right, the whole program is not"
    if found.repeats.wrong:
        return "the same computation does not always give the same"
    return "short runs do not come to the same loss"


def _sound(found: Numerics) -> str:
    outcome, count = found.runs.equivalence, found.repeats.count
    sentence = "Every operation, layer and gradient is within its tolerance"
    if outcome and outcome.verdict == "equivalent":
        seeds = len(found.runs.pairs)
        sentence += f"; short runs from {seeds} seeds come to the same loss within {MARGIN} nats a token"
    else:
        why = found.runs.reason or "its interval reaches beyond the margin"
        sentence += f"; whether short runs come to the same loss cannot be told: {why}"
    if found.unchecked:
        sentence += f"; not checked: {'; '.join(found.unchecked)}"
    same = "the same bits" if found.runs.repeated.identical else "not the same bits"
    agree = (
        f"{count:,} repeats of a fixed computation agree" if count else "no fixed computation was repeated"
    )
    return f"{sentence}; a run repeated gives {same}; {agree}."
