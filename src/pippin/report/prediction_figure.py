"""The figure of the prediction: the planner's interval, its value, and what was measured."""

from __future__ import annotations

from collections.abc import Callable

from pippin.report.drawing import bar
from pippin.report.figure import Figure, Words, make_figure
from pippin.report.prediction import Prediction
from pippin.report.svg import SMALL_PX, Canvas
from pippin.report.units import byte_size, duration, moment, percent, si

_ROW, _KEY = 84, 30


def error_words(error: float) -> str:
    """How far a measured value is from the predicted one: '12 % more'."""
    return f"{percent(abs(error))} {'more' if error >= 0 else 'less'}"


def figures(said: Prediction | None) -> list[Figure]:
    """The figure, or none where the planner could not tell."""
    if said is None:
        return []
    return [make_figure("prediction", words(said), lambda canvas: draw(said, canvas), height)]


def words(said: Prediction) -> Words:
    """What the figure says, and its table."""
    inside = "inside" if said.step_inside else "outside"
    finding = (
        f"Before the run the planner expected {si(said.step_seconds, 's')} a step "
        f"({si(said.step_seconds_low, 's')} to {si(said.step_seconds_high, 's')}); measured were "
        f"{si(said.measured_step_seconds, 's')}, {error_words(said.step_error)}, {inside} the interval."
    )
    rows = [
        (
            "Step",
            si(said.step_seconds, "s"),
            f"{si(said.step_seconds_low, 's')} to {si(said.step_seconds_high, 's')}",
            si(said.measured_step_seconds, "s"),
            error_words(said.step_error),
        ),
        (
            "Memory of a device",
            byte_size(said.memory_bytes),
            _between(memory_ends(said)),
            "unknown" if said.measured_memory_bytes is None else byte_size(said.measured_memory_bytes),
            "unknown" if said.memory_error is None else error_words(said.memory_error),
        ),
    ]
    rows += [(f"Step: {part.name}", si(part.seconds, "s"), "", "", "") for part in said.parts]
    note = (
        f"Made {moment(said.made)}. Rates: {said.basis}. Coefficients: {said.calibration}. "
        f"Interval: {said.interval}. Memory: {said.memory_basis}; its interval: {said.memory_interval}"
    )
    if said.measured_memory_method:
        note += f"; measured: {said.measured_memory_method}"
    columns = ("Quantity", "Predicted", "Interval", "Measured", "Off by")
    return Words("Prediction", finding, f"{note}.", columns, rows)


def memory_ends(said: Prediction) -> tuple[float, float] | None:
    """Of the memory's interval; None where it has none."""
    low, high = said.memory_bytes_low, said.memory_bytes_high
    return None if low is None or high is None else (low, high)


def _between(ends: tuple[float, float] | None) -> str:
    return f"{byte_size(ends[0])} to {byte_size(ends[1])}" if ends else "none"


def height(narrow: bool) -> float:
    return 2 * _ROW + _KEY


def draw(said: Prediction, canvas: Canvas) -> None:
    """A line for the step and one for the memory, each from zero; below them the key."""
    ends = (said.step_seconds_low, said.step_seconds_high)
    _row(canvas, 0, "Step time", said.step_seconds, said.measured_step_seconds, ends, _seconds)
    measured = said.measured_memory_bytes
    _row(canvas, _ROW, "Memory of a device", said.memory_bytes, measured, memory_ends(said), byte_size)
    y = 2 * _ROW + 12
    for x, name, text in ((0, "grid", "interval"), (92, "ink", "predicted"), (192, "model", "measured")):
        bar(canvas, x, y - 6, 12, 12, name)
        canvas.text(x + 20, y, text, fontsize=SMALL_PX)


def _seconds(value: float) -> str:
    return duration(value) if value >= 100 else f"{si(value, 's')}"


def _row(
    canvas: Canvas,
    top: float,
    label: str,
    value: float,
    measured: float | None,
    ends: tuple[float, float] | None,
    text: Callable[[float], str],
) -> None:
    full = max(value, measured or 0, ends[1] if ends else 0) or 1.0
    scale = (canvas.width - 24) / full
    said = f"predicted {text(value)}, " + (f"measured {text(measured)}" if measured else "measured unknown")
    canvas.text(0, top + 10, label, fontweight="bold")
    canvas.text(0 if canvas.narrow else 170, top + (30 if canvas.narrow else 10), said, fontsize=SMALL_PX)
    y = top + 46
    bar(canvas, 0, y + 9, canvas.width - 12, 1, "grid")
    if ends:
        bar(canvas, ends[0] * scale, y, (ends[1] - ends[0]) * scale, 19, "grid")
    bar(canvas, value * scale - 1.5, y - 3, 3, 25, "ink")
    if measured:
        bar(canvas, measured * scale - 4, y + 3, 8, 13, "model")
