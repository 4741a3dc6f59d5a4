"""What is held out together, so that no figure rests on rows that the calibration saw."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

from pippin.plan.calibrate import is_composed
from pippin.plan.runs import Run

Holdout = Literal["family", "source", "chip"]


@dataclass(frozen=True)
class Fold:
    """Rows that are predicted (`held`), and rows that may be calibrated on (`rest`)."""

    name: str
    held: list[Run]
    rest: list[Run]


def model_key(run: Run) -> tuple[str, str]:
    """What rows of the same model on the same chip share, whoever wrote its name."""
    name = re.sub(r"\(.*?\)", "", run.model.lower())
    name = re.sub(r"[^a-z0-9.]", "", name).replace("llama3.1", "llama3").replace(".", "")
    return name, run.chip_id


def _group(run: Run) -> str:
    """One source and model family; one width of the sweep that is composed from per-layer timings."""
    if is_composed(run):
        return f"{run.source} | width {run.cells['hidden']}"
    return f"{run.source} | {run.family}"


_GROUPS: dict[Holdout, Callable[[Run], str]] = {
    "family": _group,
    "source": lambda run: run.source,
    "chip": lambda run: run.chip_id,
}


def group_of(run: Run, holdout: Holdout) -> str:
    """The fold that a row belongs to."""
    return _GROUPS[holdout](run)


def folds(runs: Sequence[Run], holdout: Holdout, others: Sequence[Run] = ()) -> Iterator[Fold]:
    """Every fold of the rows.

    A fold's calibration rows are those of `runs` and `others` outside it, less every row of a model that it
    holds on the same chip, from any source.

    Args:
        runs: scorable rows to predict, each in one fold.
        holdout: what a fold is: a source and model family, a source, or a chip.
        others: rows that may be calibrated on and are not predicted.
    """
    group = _GROUPS[holdout]
    for name in dict.fromkeys(group(run) for run in runs):
        held = [run for run in runs if group(run) == name]
        twins = {model_key(run) for run in held}
        rest = [run for run in (*runs, *others) if group(run) != name and model_key(run) not in twins]
        yield Fold(name, held, rest)
