"""`pippin compare`."""

from __future__ import annotations

import sys
from pathlib import Path

import typer

from pippin.report.comparison import Comparison, compare_paths
from pippin.report.units import significant
from pippin.report.verdict import interval, named, times


def run(a: str, b: str, *, as_json: bool, out: Path | None, open_page: bool) -> None:
    """Prints the comparison, or JSON of it. Sides that cannot be compared end with status 2."""
    found, left, right = compare_paths(a, b)
    if as_json:
        print(found.model_dump_json(indent=2))
    elif found.comparable:
        print(text(found))
    if not found.comparable:
        print(f"pippin: not comparable: {'; '.join(found.reasons)}", file=sys.stderr, flush=True)
        raise typer.Exit(2)
    if open_page and out is None:
        out = Path("comparison.html")
    if out is None:
        return
    from pippin.report.compare_page import write_page

    assert left is not None and right is not None
    write_page(found, left, right, out)
    print(f"page: {out}", file=sys.stderr)
    if open_page:
        from pippin.cli.report import show

        show(out.resolve().as_uri())


def text(found: Comparison) -> str:
    """The comparison in a screenful."""
    lines = []
    for label, side in (("A", found.a), ("B", found.b)):
        if side:
            runs = "1 run" if side.runs == 1 else f"{side.runs} runs"
            lines.append(f"{label}  {side.chip}, {runs}, {side.windows} windows: {_places(side.paths)}")
    lines.append("")
    width = max(len(named(key)) for key in found.ratios)
    for key, ratio in found.ratios.items():
        ends = interval(ratio) or "no interval"
        lines.append(
            f"{named(key):>{width}}  {times(ratio.ratio):>6}  {ends:<16}  "
            f"A {significant(ratio.a)}, B {significant(ratio.b)} {ratio.unit}"
        )
    lines += ["", found.verdict]
    lines += [f"{named(key).capitalize()}: {ratio.basis}." for key, ratio in found.ratios.items()]
    lines += [f"No interval for {why}." for why in _no_interval(found)]
    if scores := found.held_out:
        lines.append(f"Held out: {scores.difference:+.3f} {scores.basis}.")
    lines += [f"Not in the table: {why}." for path, why in found.unknown.items() if _left_out(path)]
    lines += [f"Note: {note}." for note in found.notes]
    if found.differences:
        lines += ["", "What differs beside the speed:"]
        lines += [f"  {row.what}: {row.a} | {row.b}" for row in found.differences]
    return "\n".join(lines)


def _no_interval(found: Comparison) -> list[str]:
    reasons = {key: found.unknown.get(f"ratios.{key}.low") for key in found.ratios}
    return [f"{named(key)}: {why}" for key, why in reasons.items() if why]


def _left_out(path: str) -> bool:
    """Not the ends of an interval: the verdict gives their reason."""
    return not path.endswith((".low", ".high"))


def _places(paths: tuple[str, ...]) -> str:
    return paths[0] if len(paths) == 1 else f"{paths[0]} and {len(paths) - 1} more"
