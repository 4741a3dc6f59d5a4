"""The roofline on the page: what the chip's matrix rate and memory allow, and where the job's parts lie."""

from __future__ import annotations

from pippin.report.figure import Figure, Words, make_figure
from pippin.report.microbenchmarks import Microbenchmarks, Operation
from pippin.report.schema import Report
from pippin.report.svg import SMALL_PX, Canvas, colour
from pippin.report.units import SPACE, percent, si, si_parts, significant

_KEY_ROW = 22


def roofline_figure(report: Report) -> list[Figure]:
    """The figure, or none where it was not measured."""
    micro = report.microbenchmarks
    if micro is None or not micro.operations:
        return []
    operations = sorted(micro.operations, key=_intensity)

    def height(narrow: bool) -> float:
        rows = len(operations) if narrow else -(-len(operations) // 2)
        return (300 if narrow else 380) + _KEY_ROW * rows + 8

    return [
        make_figure(
            "roofline",
            _words(report, micro, operations),
            lambda canvas: _draw(report, operations, canvas),
            height,
        )
    ]


def _intensity(operation: Operation) -> float:
    return operation.flops / max(operation.bytes, 1)


def roof(report: Report, intensity: float) -> float | None:
    """FLOP/s that the measured rates allow at so many FLOPs a byte; None where neither is known."""
    peak = report.basis.measured_peak_flops_per_second
    bandwidth = report.memory_bandwidth.bytes_per_second
    known = [limit for limit in (peak, bandwidth and bandwidth * intensity) if limit]
    return min(known, default=None)


def _words(report: Report, micro: Microbenchmarks, operations: list[Operation]) -> Words:
    bandwidth, peak = (
        report.memory_bandwidth.bytes_per_second,
        report.basis.measured_peak_flops_per_second,
    )
    if bandwidth and peak:
        ridge = peak / bandwidth
        below = sum(_intensity(operation) < ridge for operation in operations)
        finding = (
            f"Below {significant(ridge)} FLOPs a byte memory is the limit here ({si(bandwidth, 'B/s')}), "
            f"above it the matrix rate ({si(peak, 'FLOP/s')}): {below} of {len(operations)} parts of the "
            "step lie below."
        )
    else:
        finding = f"{len(operations)} parts of the step, by their FLOPs a byte and the rate they reach."
    rows = [
        (
            f"{number}. {operation.name}",
            significant(_intensity(operation)),
            si(operation.flops_per_second, "FLOP/s"),
            _share(report, operation),
            si(operation.bytes_per_second, "B/s"),
            si(operation.seconds, "s"),
            f"{operation.calls:,}",
        )
        for number, operation in enumerate(operations, start=1)
    ]
    note = (
        "Each part is a program of its own: FLOPs and bytes are counted, bytes as arrays in and out of it. "
        "What a part leaves in the cache for the next is not seen: it may lie above the roof. Calls: in "
        "a micro-batch; 0 for a form that is timed for comparison."
    )
    columns = ("Part", "FLOPs a byte", "Rate", "Of the roof", "Bytes", "One call", "Calls")
    return Words("Roofline", finding, note, columns, rows)


def _share(report: Report, operation: Operation) -> str:
    limit = roof(report, _intensity(operation))
    return percent(operation.flops_per_second / limit) if limit else "unknown"


def _draw(report: Report, operations: list[Operation], canvas: Canvas) -> None:
    from matplotlib.ticker import FixedLocator, FuncFormatter

    top = 300 if canvas.narrow else 380
    canvas.text(0, 10, "FLOP/s", fontweight="bold")
    canvas.text(
        canvas.width - 8, top - 14, "FLOPs a byte", ha="right", fontsize=SMALL_PX, color=colour("muted")
    )
    axes = canvas.axes(66, 30, canvas.width - 78, top - 84)
    across = [max(_intensity(operation), 1e-6) for operation in operations]
    up = [max(operation.flops_per_second, 1.0) for operation in operations]
    limits = min(across) / 2, max(across) * 2
    line = [(x, limit) for x in _powers(*limits) if (limit := roof(report, x))]
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.grid(color=colour("grid"), linewidth=1)
    axes.plot([x for x, _ in line], [y for _, y in line], color=colour("model"), linewidth=2)
    axes.plot(across, up, linestyle="none", marker="o", markersize=12, color=colour("other"))
    for number, (x, y) in enumerate(zip(across, up, strict=True), start=1):
        axes.annotate(
            f"{number}", (x, y), ha="center", va="center", fontsize=SMALL_PX - 2, color=colour("ink")
        )
    axes.set_xlim(*limits)
    highest = max([*up, *(y for _, y in line)])
    axes.set_ylim(min(up) / 2, 2 * highest)
    for axis, (low, high) in ((axes.xaxis, limits), (axes.yaxis, (min(up) / 2, 2 * highest))):
        axis.set_major_locator(FixedLocator(_decades(low, high)))
        axis.set_minor_locator(FixedLocator([]))
        axis.set_major_formatter(FuncFormatter(lambda value, _: _tick(value)))
    _key(operations, canvas, top)


def _key(operations: list[Operation], canvas: Canvas, top: float) -> None:
    rows = len(operations) if canvas.narrow else -(-len(operations) // 2)
    for index, operation in enumerate(operations):
        x = (index // rows) * canvas.width / 2
        y = top + 12 + _KEY_ROW * (index % rows)
        canvas.text(x + 18, y, f"{index + 1}", ha="right", fontsize=SMALL_PX, color=colour("muted"))
        canvas.text(x + 28, y, operation.name, fontsize=SMALL_PX)


def _powers(low: float, high: float, count: int = 97) -> list[float]:
    """Values from low to high, evenly apart on a logarithmic axis."""
    return [low * (high / low) ** (index / (count - 1)) for index in range(count)]


def _decades(low: float, high: float) -> list[float]:
    found = [10.0**power for power in range(-6, 22) if low <= 10.0**power <= high]
    return found[:: -(-len(found) // 7)] if found else [low]


def _tick(value: float) -> str:
    if value < 1:
        return f"{value:g}"
    scaled, prefix = si_parts(value)
    return f"{scaled:g}{SPACE}{prefix}".rstrip(SPACE)
