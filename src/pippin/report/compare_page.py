"""The page of a comparison: two sides beside one another, in one file that loads nothing."""

from __future__ import annotations

import base64
from collections.abc import Callable
from pathlib import Path

from pippin import __version__
from pippin.report.compare_figures import make_figures
from pippin.report.comparison import Comparison
from pippin.report.html import render_template
from pippin.report.schema import Report
from pippin.report.sides import Side
from pippin.report.units import bits, count, moment, significant
from pippin.report.verdict import interval, named, sentences, times
from pippin.report.wording import Tile, chip_line
from pippin.storage import write_atomic


def render_page(found: Comparison, a: Side, b: Side) -> str:
    """The HTML page of two sides that are comparable."""
    return render_template(
        "pippin.report",
        "compare.html.j2",
        found=found,
        sentences=sentences(found.ratios, found.unknown),
        sides=(a, b),
        facts=[chip_line(side.first) for side in (a, b)],
        version=__version__,
        command=f"pippin compare {_named(a)} {_named(b)}",
        tiles=[_tile(key, found) for key in found.ratios],
        figures=make_figures(found, a, b),
        rows=[(name, *(value(side.first) for side in (a, b))) for name, value in _ROWS.items()],
        left_out=[why for path, why in found.unknown.items() if not path.endswith((".low", ".high"))],
        download=base64.b64encode(found.model_dump_json(indent=2).encode()).decode(),
    )


def write_page(found: Comparison, a: Side, b: Side, path: Path) -> None:
    """Writes the page, whole or not at all.

    Raises:
        PippinError: the file system refused.
    """
    write_atomic(path, render_page(found, a, b))


def _named(side: Side) -> str:
    return ",".join(side.paths)


def _tile(key: str, found: Comparison) -> Tile:
    ratio = found.ratios[key]
    ends = interval(ratio)
    if ends is None:
        return Tile(
            named(key).capitalize(),
            times(ratio.ratio),
            "×",
            f"no interval: {found.unknown[f'ratios.{key}.low']}",
        )
    told = "" if ratio.can_tell else "; no difference can be told"
    return Tile(named(key).capitalize(), times(ratio.ratio), "×", f"95 % interval {ends}{told}")


_ROWS: dict[str, Callable[[Report], str]] = {
    "Assayed": lambda r: moment(r.created),
    "Chip": lambda r: r.chip.name,
    "Devices": lambda r: f"{r.chip.num_devices:,}",
    "Logical cores": lambda r: "unknown" if r.chip.cores is None else f"{r.chip.cores:,}",
    "Model": lambda r: f"{r.workload.preset}, {count(r.workload.num_parameters)} parameters",
    "Tokens a step": lambda r: f"{r.workload.batch_size:,} × {r.workload.sequence_length:,}",
    "Steps": lambda r: f"{r.steps:,}",
    "Tokens/s in the steps": lambda r: significant(r.tokens_per_second),
    "Tokens/s end to end": lambda r: significant(r.tokens_per_second_end_to_end),
    "Windows": lambda r: f"{len(r.speed.windows):,}",
    "Share of wall time in steps": lambda r: f"{100 * r.goodput:.0f} %",
    "Held-out text, bits/byte": lambda r: bits(r.held_out.bits_per_byte),
    "Compute dtype": lambda r: r.basis.compute_dtype,
    "Command": lambda r: r.command,
}
