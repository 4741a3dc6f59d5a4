"""Draws the report's plots. What they say in words, and their tables, is in `figures`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from pippin.report.drawing import Box, bar, label_end, offset, panel
from pippin.report.schema import Report
from pippin.report.sections import MatrixProduct
from pippin.report.svg import SMALL_PX, Canvas, colour
from pippin.report.units import bits, duration, percent, si, significant

if TYPE_CHECKING:
    pass

TIME_LABELS = {
    "step": "training steps",
    "compile": "compiling",
    "data": "waiting for data",
    "evaluation": "scoring",
    "checkpoint": "saving",
    "restart": "restarting",
    "idle": "everything else",
}


def shape_label(product: MatrixProduct) -> str:
    """`2048³` for a product of squares, else `m×k×n`."""
    if product.m == product.k == product.n:
        return f"{product.m}³"
    return f"{product.m}×{product.k}×{product.n}"


def model_label(report: Report) -> str:
    """The preset's name, cut so that it fits beside a bar."""
    name = report.workload.preset
    return name if len(name) <= 16 else name[:15] + "…"


def held_out_scores(report: Report) -> list[tuple[str, float]]:
    """Predictors of the held-out text with their bits per byte, fewest bits first; unknown ones left out."""
    held_out = report.held_out
    scores = [
        (model_label(report), held_out.bits_per_byte),
        ("xz, primed", held_out.xz_primed_bits_per_byte),
        ("xz -9", held_out.xz_bits_per_byte),
        ("zstd -19", held_out.zstd_bits_per_byte),
        ("trigram counts", held_out.trigram_bits_per_byte),
        ("unigram counts", held_out.unigram_bits_per_byte),
    ]
    return sorted(((name, score) for name, score in scores if score is not None), key=lambda item: item[1])


def running_mean(values: Sequence[float], width: int) -> list[float]:
    """Mean over a centred window of an odd `width`, cut off where the values end."""
    half = width // 2
    windows = [values[max(0, index - half) : index + half + 1] for index in range(len(values))]
    return [sum(window) / len(window) for window in windows]


def smoothing_width(report: Report) -> int:
    """Points of the loss curve that the running mean spans: an odd number, about a fortieth of them."""
    return 2 * (len(report.losses) // 80) + 1


def training_height(report: Report, narrow: bool) -> float:
    return 260 * (2 if report.validations else 1) if narrow else 300


def draw_training(report: Report, canvas: Canvas) -> None:
    """Loss of the steps and score on validation text over the tokens trained on, a panel each."""
    first, second = _two_panels(canvas) if report.validations else ((0, 0, canvas.width, canvas.height), None)
    _draw_loss(report, canvas, first)
    if second:
        _draw_validation(report, canvas, second)


def _two_panels(canvas: Canvas) -> tuple[Box, Box]:
    if canvas.narrow:
        half = canvas.height / 2
        return (0, 0, canvas.width, half), (0, half, canvas.width, half)
    gap = 36
    half = (canvas.width - gap) / 2
    return (0, 0, half, canvas.height), (half + gap, 0, half, canvas.height)


def _draw_loss(report: Report, canvas: Canvas, box: Box) -> None:
    axes = panel(canvas, box, "Training loss, nats per token")
    tokens = [point.tokens for point in report.losses]
    losses = [point.loss for point in report.losses]
    smooth = running_mean(losses, smoothing_width(report))
    axes.plot(tokens, losses, color=colour("model"), linewidth=1, alpha=0.35)
    axes.plot(tokens, smooth, color=colour("model"), linewidth=2)
    axes.set_xlim(0, 1.02 * tokens[-1])
    label_end(axes, tokens[-1], smooth[-1], significant(smooth[-1]), "model")


def _draw_validation(report: Report, canvas: Canvas, box: Box) -> None:
    axes = panel(canvas, box, "Validation, bits per byte")
    xz = report.held_out.xz_bits_per_byte
    axes.axhline(xz, color=colour("muted"), linewidth=1, linestyle=(0, (4, 3)))
    axes.annotate(
        f"xz -9: {bits(xz)}", (1, xz), (0, 5), ha="right", color=colour("muted"), **offset("axes fraction")
    )
    tokens = [point.tokens for point in report.validations]
    scores = [point.bits_per_byte for point in report.validations]
    axes.plot(tokens, scores, color=colour("second"), linewidth=2, marker="o", markersize=4.5)
    label_end(axes, tokens[-1], scores[-1], bits(scores[-1]), "second")
    axes.set_xlim(0, 1.02 * report.losses[-1].tokens)
    low, high = axes.get_ylim()
    axes.set_ylim(low - 0.06 * (high - low), high + 0.1 * (high - low))


def held_out_height(report: Report, narrow: bool) -> float:
    return len(held_out_scores(report)) * (52 if narrow else 38) + 8


def draw_held_out(report: Report, canvas: Canvas) -> None:
    """One bar for each predictor of the held-out text, the model's in its own colour."""
    scores = held_out_scores(report)
    left = 0 if canvas.narrow else 132
    row = (canvas.height - 8) / len(scores)
    thick = 16 if canvas.narrow else 22
    full = canvas.width - left - 64
    for index, (name, score) in enumerate(scores):
        own = name == model_label(report)
        weight = {"fontweight": "bold"} if own else {}
        top = index * row + (24 if canvas.narrow else (row - thick) / 2)
        length = full * score / scores[-1][1]
        bar(canvas, left, top, length, thick, "model" if own else "other")
        if canvas.narrow:
            canvas.text(0, top - 12, name, **weight)
        else:
            canvas.text(left - 14, top + thick / 2, name, ha="right", **weight)
        canvas.text(left + length + 8, top + thick / 2, bits(score), **weight)


def time_height(narrow: bool) -> float:
    return 252 if narrow else 196


def draw_time(report: Report, canvas: Canvas) -> None:
    """One bar, as long as the wall time, cut by what the seconds were spent on; below it the key."""
    seconds = report.seconds_by_category.model_dump()
    total = sum(seconds.values()) or 1.0
    left = 0.0
    for name, value in seconds.items():
        width = canvas.width * value / total
        bar(canvas, left, 0, width, 48, name, gap=1.5)
        if width > 52:
            canvas.text(left + 12, 24, percent(value / total), color=colour("paper"), fontweight="bold")
        left += width
    columns = 1 if canvas.narrow else 2
    rows = -(-len(seconds) // columns)
    column_width = canvas.width / columns
    for index, (name, value) in enumerate(seconds.items()):
        x = (index // rows) * column_width
        y = 78 + 27 * (index % rows)
        bar(canvas, x, y - 6, 12, 12, name)
        canvas.text(x + 22, y, TIME_LABELS[name])
        right = x + column_width - (0 if canvas.narrow else 48)
        canvas.text(right - 64, y, duration(value), ha="right")
        canvas.text(right, y, percent(value / total), ha="right", color=colour("muted"))


def throughput_height(narrow: bool) -> float:
    return 220 if narrow else 210


def draw_throughput(report: Report, canvas: Canvas) -> None:
    """The training rate of separate windows, from zero, with their median."""
    axes = panel(canvas, (0, 0, canvas.width, canvas.height), "Tokens per second", x_label="step")
    windows = report.speed.windows
    rates = sorted(window.tokens_per_second for window in windows)
    middle = median(rates)
    axes.axhline(middle, color=colour("muted"), linewidth=1, linestyle=(0, (4, 3)))
    axes.hlines(
        [window.tokens_per_second for window in windows],
        [window.start_step for window in windows],
        [window.stop_step for window in windows],
        color=colour("model"),
        linewidth=4,
    )
    axes.set_xlim(0, windows[-1].stop_step)
    axes.set_ylim(0, 1.25 * rates[-1] or 1)
    axes.annotate(
        f"median {significant(middle)}",
        (1, middle),
        (0, 10),
        ha="right",
        color=colour("ink"),
        fontweight="bold",
        **offset("axes fraction"),
    )


def median(ordered: Sequence[float]) -> float:
    """Median of values that are sorted already."""
    half = len(ordered) // 2
    return ordered[half] if len(ordered) % 2 else (ordered[half - 1] + ordered[half]) / 2


def matmul_groups(report: Report) -> dict[str, list[MatrixProduct]]:
    """Matrix products by number format, each from the smallest to the largest."""
    groups: dict[str, list[MatrixProduct]] = {}
    for product in sorted(report.matmul, key=lambda item: item.m * item.k * item.n):
        groups.setdefault(product.dtype, []).append(product)
    return dict(sorted(groups.items(), key=lambda item: item[0] != report.basis.compute_dtype))


_MATMUL_ROW, _MATMUL_HEAD = 26, 34


def matmul_height(report: Report) -> float:
    return _MATMUL_HEAD * (len(matmul_groups(report)) + 1) + _MATMUL_ROW * (len(report.matmul) + 1)


def draw_matmul(report: Report, canvas: Canvas) -> None:
    """A bar for what training delivers and one for each matrix product, with the spread of its repeats."""
    left = 120 if canvas.narrow else 150
    delivered = report.model_flops_per_second
    label = si(delivered, "FLOP/s")
    if report.measured_peak_share is not None:
        label += f" · {percent(report.measured_peak_share)}" + ("" if canvas.narrow else " of measured peak")
    rates = [max(product.flops_per_second or 0, product.high or 0) for product in report.matmul]
    full = canvas.width - left - 20
    scale = min((full - 7 * len(label)) / (delivered or 1), (full - 76) / (max(rates, default=0) or 1))
    y = _matmul_head(canvas, -8, "Training, model FLOPs only")
    bar(canvas, left, y + 4, delivered * scale, 18, "model")
    style = {"fontweight": "bold", "fontsize": SMALL_PX}
    canvas.text(left - 12, y + 13, model_label(report), ha="right", **style)
    canvas.text(left + delivered * scale + 8, y + 13, label, **style)
    y += _MATMUL_ROW
    for dtype, products in matmul_groups(report).items():
        y = _matmul_head(canvas, y, f"Matrix product, {dtype}")
        for product in products:
            _matmul_row(canvas, product, left, y, scale)
            y += _MATMUL_ROW


def _matmul_head(canvas: Canvas, y: float, text: str) -> float:
    canvas.text(0, y + 18, text, color=colour("muted"), fontsize=SMALL_PX)
    return y + _MATMUL_HEAD


def _matmul_row(canvas: Canvas, product: MatrixProduct, left: float, y: float, scale: float) -> None:
    length = (product.flops_per_second or 0) * scale
    bar(canvas, left, y + 4, length, 18, "other")
    end = length
    if product.low is not None and product.high is not None:
        end = max(length, product.high * scale)
        bar(canvas, left + product.low * scale, y + 12.25, end - product.low * scale, 1.5, "ink")
    canvas.text(left - 12, y + 13, shape_label(product), ha="right", fontsize=SMALL_PX)
    ran = product.flops_per_second is not None
    label = si(product.flops_per_second or 0, "FLOP/s") if ran else "does not run here"
    canvas.text(left + end + 8, y + 13, label, fontsize=SMALL_PX)
