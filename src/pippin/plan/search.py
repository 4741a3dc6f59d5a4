"""The best layouts of a job on one kind of chip: every layout of the space, in chunks that stay in cache."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable
from dataclasses import dataclass, fields
from typing import Any

import numpy as np

from pippin.models.config import ModelConfig
from pippin.plan.calibration import Calibration
from pippin.plan.framework import Framework
from pippin.plan.layout import Flags, Floats, Integers, Layouts
from pippin.plan.memory import memory
from pippin.plan.shape import Shapes
from pippin.plan.space import Choice, Space, enumerate_space
from pippin.plan.steptime import evaluate
from pippin.plan.system import System, Systems

_CHUNK = 4096  # degrees at a time: arrays of 32 KiB, so that the dozens of them in use stay in cache
# Above this many layouts, degrees that cannot be among the best are looked at once and left.
_WHOLE = 2_500_000

Progress = Callable[[int, int], None]  # layouts done, layouts in all
# From chips and data ranks to what a second of step costs (see `objective`).
Weigh = Callable[[Integers, Integers], Floats]


@dataclass(frozen=True)
class Task:
    """What is to be laid out, on which chip, and with what its step is predicted.

    `memory_bytes` is what a device offers; a layout fits that leaves the framework's margin free.
    `neighbours` are the ranks among which ZeRO 3 splits states, where a mesh keeps them from going further.
    """

    config: ModelConfig
    global_batch: int
    sequence_length: int
    system: System
    calibration: Calibration
    framework: Framework
    flash: bool = True
    neighbours: float = np.inf

    @property
    def slice_chips(self) -> float:
        """Chips over which ZeRO 3 splits states: a torus' slice, else any number (see `steptime`)."""
        one = float(self.system.domain_chips) if self.system.ring_axes > 1 else np.inf
        return min(one, self.neighbours)

    @property
    def usable_bytes(self) -> float:
        return self.system.memory_bytes * (1.0 - self.framework.margin)


@dataclass(frozen=True)
class Ranking:
    """What a search found: for each degrees that fit, the fastest choice; the best first.

    Of a space of `size` layouts, `evaluated` had step time and memory computed, those that do not fit too;
    the others cannot be among the best (see `search`). `smallest_bytes` is the least memory that any of them
    needs, `smallest` that layout.
    """

    layouts: Layouts
    step_seconds: Floats
    memory_bytes: Floats
    size: int
    evaluated: int
    fitting: int
    seconds: float
    most_chips: int  # that any fitting layout uses
    smallest_bytes: float
    smallest: Layouts

    def __len__(self) -> int:
        return len(self.step_seconds)


def search(
    task: Task,
    chips: int,
    *,
    lean: bool = False,
    keep: int = 64,
    weigh: Weigh | None = None,
    progress: Progress | None = None,
) -> Ranking:
    """Evaluates every layout on at most `chips` chips and ranks the degrees by their fastest choice.

    Args:
        task: the job and the chip.
        chips: of the fleet.
        lean: leave out choices that seldom win.
        keep: how many of the ranked are kept.
        weigh: what a second of step costs; by default all seconds are alike and the fastest step is best.
        progress: told after each chunk.
    """
    begun = time.perf_counter()
    space = enumerate_space(
        task.config, chips, task.global_batch, task.sequence_length, flash=task.flash, lean=lean
    )
    size, looked_at = space.size(), 0
    if size > _WHOLE:
        whole, kept = space, _promising(task, space, keep, weigh)
        space = whole.take(kept)
        looked_at = whole.bounded() - space.bounded()
    total = space.size() + looked_at
    best = _Best(space, size, weigh)
    best.evaluated = looked_at
    sweep = _Sweep(task, space, best)
    for rows, choices, zero in space.groups():
        for start in range(0, len(rows), _CHUNK):
            sweep.chunk(rows[start : start + _CHUNK], choices, zero)
            if progress:
                progress(best.evaluated, total)
    return best.ranking(keep, begun)


def _promising(task: Task, space: Space, keep: int, weigh: Weigh | None) -> Integers:
    """Degrees that can be among the `keep` best, in order, with none left out that can.

    A step is no faster under any choice than under `Space.bound`, and weighs the same, so degrees whose bound
    is above what `keep` others that fit come to are out. Degrees that cannot be bounded from above for want
    of memory stay.
    """
    best = _Best(space, 0, weigh)
    sweep = _Sweep(task, space, best)
    bound = np.full(len(space), np.inf)
    for start in range(0, len(space), _CHUNK):
        rows = np.arange(start, min(start + _CHUNK, len(space)))
        sweep.chunk(rows, [space.bound()], (0, 1, 2, 3), bound)
    fitting = np.sort((best.seconds * best.weight)[np.isfinite(best.seconds)])
    if len(fitting) < keep:
        return np.arange(len(space))
    return np.flatnonzero(bound * best.weight <= fitting[keep - 1])


class _Best:
    """The fastest fitting choice of every degrees so far."""

    def __init__(self, space: Space, size: int, weigh: Weigh | None) -> None:
        self.space, self.size = space, size
        self.weight = weigh(space.chips, space.degrees["data"]) if weigh else np.ones(len(space))
        self.seconds = np.full(len(space), np.inf)
        self.bytes = np.full(len(space), np.inf)
        self.choice = np.zeros(len(space), np.int64)
        self.zero = np.zeros(len(space), np.int64)
        self.choices: list[Choice] = []
        self.evaluated = self.fitting = 0
        self.least = (np.inf, 0, 0, 0)  # bytes, row, choice, ZeRO stage

    def add(self, rows: Integers, number: int, zero: int, seconds: Floats, held: Floats, fits: Flags) -> None:
        self.evaluated += len(rows)
        self.fitting += int(np.count_nonzero(fits))
        better = fits & (seconds < self.seconds[rows])
        won = rows[better]
        self.seconds[won] = seconds[better]
        self.bytes[won] = held[better]
        self.choice[won] = number
        self.zero[won] = zero

    def note_least(self, rows: Integers, number: int, zero: int, held: Floats) -> None:
        place = int(np.argmin(held))
        if held[place] < self.least[0]:
            self.least = (float(held[place]), int(rows[place]), number, zero)

    def layouts(self, rows: Integers, choice: Integers, zero: Integers) -> Layouts:
        picked = [self.choices[i] for i in choice]
        columns: dict[str, Any] = {
            f.name: np.array([getattr(c, f.name) for c in picked]) for f in fields(Choice)
        }
        columns |= {name: values[rows] for name, values in self.space.degrees.items()}
        for name in ("global_batch", "sequence_length", "flash"):
            columns[name] = np.full(len(rows), getattr(self.space, name))
        return Layouts(**columns, zero=zero)

    def ranking(self, keep: int, begun: float) -> Ranking:
        fits = np.isfinite(self.seconds)
        cost = np.where(fits, self.seconds * self.weight, np.inf)
        order = np.lexsort((self.bytes, self.seconds, cost, ~fits))[: min(keep, int(fits.sum()))]
        _, row, choice, zero = self.least
        smallest = self.layouts(*(np.array([x]) for x in (row, choice, zero))) if self.choices else None
        found = self.layouts(order, self.choice[order], self.zero[order])
        return Ranking(
            found,
            self.seconds[order],
            self.bytes[order],
            self.size,
            self.evaluated,
            self.fitting,
            time.perf_counter() - begun,
            int(self.space.chips[fits].max(initial=0)),
            self.least[0],
            smallest if smallest is not None else found,
        )


class _Sweep:
    """Evaluates chunks of degrees under all choices.

    Memory does not depend on what overlaps: it is computed once for all layouts that differ in nothing else.
    """

    def __init__(self, task: Task, space: Space, best: _Best) -> None:
        self.task, self.space, self.best = task, space, best
        self.shapes = Shapes.of(task.config)
        self.systems = Systems.of(task.system)
        self.coefficients = task.calibration.coefficients(self.systems)

    def chunk(
        self, rows: Integers, choices: list[Choice], zeros: tuple[int, ...], bound: Floats | None = None
    ) -> None:
        """Evaluates the rows; `bound` takes the fastest step of each, whether it fits or not."""
        for _, alike in itertools.groupby(choices, _decides_memory):
            held: dict[int, tuple[Floats, Flags]] = {}
            for choice in alike:
                number = len(self.best.choices)
                self.best.choices.append(choice)
                self._choice(rows, choice, number, zeros, held, bound)

    def _choice(
        self,
        rows: Integers,
        choice: Choice,
        number: int,
        zeros: tuple[int, ...],
        held: dict[int, tuple[Floats, Flags]],
        bound: Floats | None,
    ) -> None:
        for zero in zeros:
            layouts = self.space.layouts(rows, choice, zero)
            if zero not in held:
                total = memory(self.shapes, layouts, self.task.framework, self.task.slice_chips).total
                held[zero] = total, total <= self.task.usable_bytes
                self.best.note_least(rows, number, zero, total)
            seconds = evaluate(self.shapes, layouts, self.systems, self.coefficients).step_seconds
            self.best.add(rows, number, zero, seconds, *held[zero])
            if bound is not None:
                bound[rows] = np.minimum(bound[rows], seconds)


def _decides_memory(choice: Choice) -> tuple[float, bool, bool]:
    return choice.recompute_layers, choice.recompute_attention, choice.sequence_parallel
